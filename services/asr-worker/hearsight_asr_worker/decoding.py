"""From features to words: decoding a batch with Whisper, and once more what came out badly."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import (
    get_compression_ratio,
    get_suppressed_tokens,
    merge_punctuations,
)
from numpy.typing import NDArray

from hearsight_asr_worker.segmentation import TimedWord
from hearsight_core.contract import RecognitionOptions

# Whisper's own thresholds and temperatures (openai/whisper, transcribe.py).
_NO_SPEECH_PROB = 0.6
_LOW_LOGPROB = -1.0
_REPETITIVE = 2.4
_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
_BEST_OF = 5

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  marks of other scripts
"""Marks that belong to the word after or before them (openai/whisper, timing.py)."""

FULL_FRAMES = 3000
"""The window Whisper was trained with: 30 s, in frames of 10 ms."""
_FITTED_PAD = 300
"""Frames left empty after the longest chunk of a batch when the window is fitted to it."""

_SQUEEZED_S = 0.04
_SQUEEZED_SHARE = 0.25


@dataclass(frozen=True)
class Request:
    """What all chunks of one batch have in common."""

    language: str
    task: str
    initial_prompt: str | None
    hotwords: str | None

    @classmethod
    def of(cls, options: RecognitionOptions, language: str) -> "Request":
        """The request that `options` make, for speech in `language`."""
        return cls(language, options.task, options.initial_prompt, options.hotwords)


@dataclass(frozen=True)
class Decoded:
    """What the model made of a chunk; `words` are aligned, milliseconds from the chunk's start."""

    words: tuple[TimedWord, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float

    @property
    def silent(self) -> bool:
        """Whether the model heard no speech: it says so, and does not trust its own words."""
        return self.no_speech_prob > _NO_SPEECH_PROB and self.avg_logprob < _LOW_LOGPROB

    @property
    def looped(self) -> bool:
        """Whether the text repeats itself, and without time in the audio to say all that.

        Whisper's bound on compression alone also meets speech that does repeat (counting, refrains)
        and scripts of many bytes; where the text was really said, its words have time.
        """
        squeezed = sum(word.end_ms - word.start_ms <= _SQUEEZED_S * 1000 for word in self.words)
        return self.compression_ratio > _REPETITIVE and squeezed > len(self.words) * _SQUEEZED_SHARE

    @property
    def doubtful(self) -> bool:
        """Whether to try again."""
        return not self.silent and (self.looped or self.avg_logprob < _LOW_LOGPROB)


class Decoder:
    """Decodes batches. Holds nothing that changes, so that many threads may use one.

    Text is decoded without timestamp tokens, which in batches cost words, and aligned with the
    audio afterwards.
    """

    def __init__(self, model: WhisperModel, *, beam_size: int, fit_window: bool) -> None:
        """A decoder of `model`.

        Args:
            model: Loaded weights.
            beam_size: Hypotheses followed.
            fit_window: Encode only as much of the 30 s window as the chunks of a batch fill, and
                3 s more. Saves most of the work on short chunks. Doubtful text is decoded again in
                the full window, so a model that is at a loss in less costs time, not words.
        """
        self._model = model
        self._beam = {"beam_size": beam_size, "patience": 1}
        self._fit_window = fit_window
        self._tokenizer = lru_cache(maxsize=256)(self._new_tokenizer)

    def decode(self, request: Request, features: Sequence[NDArray[np.float32]]) -> list[Decoded]:
        """What is said in each of `features` (mel bands by frames of 10 ms, at most 3000)."""
        frames = FULL_FRAMES
        if self._fit_window:
            frames = min(FULL_FRAMES, max(one.shape[-1] for one in features) + _FITTED_PAD)
        results = self._attempt(request, features, frames, self._beam)
        doubtful = [index for index, result in enumerate(results) if result.doubtful]
        if doubtful:
            better = self._again(
                request,
                [features[index] for index in doubtful],
                [results[index] for index in doubtful],
                full_already=frames == FULL_FRAMES,
            )
            for index, result in zip(doubtful, better, strict=True):
                results[index] = result
        return results

    def detect_language(self, features: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """How probable each language is, over all of `features`."""
        encoded = self._model.encode(_stacked(features, FULL_FRAMES))
        found = self._model.model.detect_language(encoded)
        totals: dict[str, float] = {}
        for languages in found:
            for token, probability in languages:
                code = token.removeprefix("<|").removesuffix("|>")
                totals[code] = totals.get(code, 0.0) + probability / len(found)
        return totals

    def _again(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        first: Sequence[Decoded],
        *,
        full_already: bool,
    ) -> list[Decoded]:
        """Full window first, then by chance at rising temperatures, until no text is doubtful.

        If all are, the most probable of those that don't loop is taken, as Whisper does.
        """
        tries: list[list[Decoded]] = [[one] for one in first]
        attempts: list[dict[str, Any]] = [] if full_already else [self._beam]
        attempts += [
            {
                "beam_size": 1,
                "num_hypotheses": _BEST_OF,
                "sampling_topk": 0,
                "sampling_temperature": temperature,
            }
            for temperature in _TEMPERATURES
        ]
        for decoding in attempts:
            left = [index for index, tried in enumerate(tries) if tried[-1].doubtful]
            if not left:
                break
            results = self._attempt(
                request, [features[index] for index in left], FULL_FRAMES, decoding
            )
            for index, result in zip(left, results, strict=True):
                tries[index].append(result)
        return [_best(tried) for tried in tries]

    def _attempt(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        frames: int,
        decoding: dict[str, Any],  # CTranslate2's own keywords
    ) -> list[Decoded]:
        tokenizer, suppressed = self._tokenizer(request.language, request.task)
        encoded = self._model.encode(_stacked(features, frames))
        generated = self._model.model.generate(
            encoded,
            [self._prompt(tokenizer, request)] * len(features),
            max_length=self._model.max_length,
            suppress_tokens=suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **decoding,
        )
        texts = [
            [token for token in one.sequences_ids[0] if token < tokenizer.eot] for one in generated
        ]
        sizes = [min(one.shape[-1], frames) for one in features]
        aligned = self._model.find_alignment(tokenizer, texts, encoded, sizes)
        return [
            Decoded(
                words=_words(alignment),
                # The score is the mean over the tokens without the end, the model's over all.
                avg_logprob=one.scores[0]
                * len(one.sequences_ids[0])
                / (len(one.sequences_ids[0]) + 1),
                no_speech_prob=one.no_speech_prob,
                compression_ratio=get_compression_ratio(tokenizer.decode(text).strip()),
            )
            for one, text, alignment in zip(generated, texts, aligned, strict=True)
        ]

    def _prompt(self, tokenizer: Tokenizer, request: Request) -> list[int]:
        """Hot words, earlier text and the task; the first two get at most half of the context."""
        room = self._model.max_length // 2 - 1
        hotwords, earlier = (
            tokenizer.encode(f" {text.strip()}") if text and text.strip() else []
            for text in (request.hotwords, request.initial_prompt)
        )
        hotwords = hotwords[: room // 2] if earlier else hotwords[:room]
        earlier = earlier[-(room - len(hotwords)) :] if earlier else []
        before = [tokenizer.sot_prev, *hotwords, *earlier] if hotwords or earlier else []
        return [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]

    def _new_tokenizer(self, language: str, task: str) -> tuple[Tokenizer, list[int]]:
        """A tokenizer, and the tokens never to be written, such as marks of music or speakers."""
        tokenizer = Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task=task,
            language=language,
        )
        return tokenizer, list(get_suppressed_tokens(tokenizer, [-1]))


def _stacked(features: Sequence[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
    return np.stack(
        [np.pad(one[:, :frames], ((0, 0), (0, max(0, frames - one.shape[-1])))) for one in features]
    )


def _words(alignment: list[dict[str, Any]]) -> tuple[TimedWord, ...]:
    """The aligned words with their punctuation; changes `alignment`."""
    merge_punctuations(alignment, _PREPENDED, _APPENDED)
    return tuple(
        TimedWord(
            text=word["word"],
            start_ms=round(float(word["start"]) * 1000),
            end_ms=round(float(word["end"]) * 1000),
            probability=min(1.0, float(word["probability"])),
        )
        for word in alignment
        if word["word"]
    )


def _best(tried: Sequence[Decoded]) -> Decoded:
    if not tried[-1].doubtful:
        return tried[-1]
    return max([one for one in tried if not one.looped] or tried, key=lambda one: one.avg_logprob)
