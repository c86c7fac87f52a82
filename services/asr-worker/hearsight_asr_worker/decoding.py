"""From features to words: decoding a batch with Whisper, and once more what came out badly."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations
from numpy.typing import NDArray

from hearsight_asr_worker.alignment import longest_unheard, placed
from hearsight_asr_worker.decoded import Decoded, best, joined, squeezed_share
from hearsight_asr_worker.pauses import audible_frames, pieces
from hearsight_asr_worker.request import FULL_FRAMES, Request
from hearsight_asr_worker.segmentation import TimedWord
from hearsight_asr_worker.trust import compression_ratio

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  marks of other scripts
"""Marks that belong to the word after or before them (openai/whisper, timing.py)."""

_PAD = 300
"""Frames of silence that a short window holds after the speech at first.

The less of it, the cheaper; but with little of it tiny.en tends to say the whole text twice (3 s: 7
of 77 utterances in noise 15 dB below them). The second time has no room in the audio, so it shows.
"""
_LONG_PAD = 800
"""Frames of silence for every other look.

With tiny.en and speech in noise (10 to 30 dB below it) 8 s cost no words against the full window;
7 s cost up to 2 % of them, 3 s up to 36 % where nobody looks again.
"""
_STEP = 250
"""Windows differ by so many frames at least, so that much of the speech shares a batch."""
_FRAMES_A_SECOND = 100
_TOKENS_A_SECOND = 40
_TOKENS_MORE = 50
"""No text is longer than this allows, so that a loop over a short sound ends soon. Fast speech has
some ten tokens a second, and up to four times as many in scripts that take bytes for tokens."""
_SECOND_LOOK = 500
"""Longest piece of a second look, frames: one sentence or two."""
_LESS_PROBABLE = 0.3
"""How much less probable (in avg_logprob) a more complete text may be."""


class Decoder:
    """Decodes batches. Holds nothing that changes, so that many threads may use one.

    Text is decoded without timestamp tokens, which in batches cost words, and aligned with the
    audio afterwards.
    """

    def __init__(self, model: WhisperModel, *, fit_window: bool) -> None:
        """A decoder of `model`.

        Args:
            model: Loaded weights.
            fit_window: Encode only as much of the 30 s window as the speech fills, and some
                silence, which saves most of the work on short stretches. Text that does not fit
                into the speech is decoded again with more silence, doubtful text in the full
                window.
        """
        self._model = model
        self._fit_window = fit_window
        self._tokenizer = lru_cache(maxsize=256)(self._new_tokenizer)

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mel bands by frames of 10 ms; the last frame is the extractor's own padding."""
        features: NDArray[np.float32] = self._model.feature_extractor(samples)[..., :-1]
        return features

    def window(self, features: NDArray[np.float32], pad: int = _PAD) -> int:
        """How many frames to encode for `features`, with `pad` frames of silence after them."""
        if not self._fit_window:
            return FULL_FRAMES
        steps = math.ceil((features.shape[-1] + pad) / _STEP)
        return int(min(FULL_FRAMES, steps * _STEP))

    def decode(self, request: Request, features: Sequence[NDArray[np.float32]]) -> list[Decoded]:
        """What is said in each of `features` (mel bands by frames of 10 ms, at most a window)."""
        results = self._attempt(request, features, request.temperatures[0])
        if request.window < FULL_FRAMES:
            self._look_longer(request, features, results)
        self._look_again(request, features, results)
        self._try_again(request, features, results)
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

    def _look_longer(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        results: list[Decoded],
    ) -> None:
        """Decodes with more silence what holds more words than there is time for."""
        todo = [(index, 0, features[index]) for index, one in enumerate(results) if one.crammed]
        for index, _, one in self._in_long_windows(request, todo, len(features)):
            results[index] = one

    def _look_again(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        results: list[Decoded],
    ) -> None:
        """Decodes what is suspicious in pieces, and puts that in its place if it is better.

        In a long window Whisper may lose its place: it skips a sentence or says one again.
        """
        cuts = {
            index: pieces(audible_frames(features[index]), _SECOND_LOOK)
            for index, result in enumerate(results)
            if result.suspicious
        }
        todo = [
            (index, first, features[index][:, first:last])
            for index, parts in cuts.items()
            if len(parts) > 1
            for first, last in parts
        ]
        done: dict[int, list[tuple[int, Decoded]]] = {}
        for index, first, one in self._in_long_windows(request, todo, len(features)):
            done.setdefault(index, []).append((first, one))
        for index, parts in done.items():
            second = joined(sorted(parts, key=itemgetter(0)))
            if _is_better(second, results[index]):
                results[index] = second

    def _in_long_windows(
        self,
        request: Request,
        todo: Sequence[tuple[int, int, NDArray[np.float32]]],
        batch_size: int,
    ) -> Iterator[tuple[int, int, Decoded]]:
        """What is said in the features of each of `todo`, with the two numbers before them.

        Batches take no more room on the device than `batch_size` windows of the request's do.
        """
        windows = [self.window(part, _LONG_PAD) for *_, part in todo]
        for window in sorted(set(windows)):
            alike = [one for one, fits in zip(todo, windows, strict=True) if fits == window]
            size = max(1, batch_size * request.window // window)
            for begin in range(0, len(alike), size):
                some = alike[begin : begin + size]
                again = self._attempt(
                    replace(request, window=window),
                    [part for *_, part in some],
                    request.temperatures[0],
                )
                yield from (
                    (index, first, one) for (index, first, _), one in zip(some, again, strict=True)
                )

    def _try_again(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        results: list[Decoded],
    ) -> None:
        """Decodes what is doubtful anew: in the full window, then ever more freely."""
        tries = {index: [result] for index, result in enumerate(results) if result.doubtful}
        full = replace(request, window=FULL_FRAMES)
        encoded: tuple[list[int], StorageView] | None = None
        for temperature in request.temperatures[1 if request == full else 0 :]:
            left = [index for index, tried in tries.items() if tried[-1].doubtful]
            if not left:
                break
            some = [features[index] for index in left]
            if encoded is None or encoded[0] != left:
                # Most of a try's time, and the same at every temperature.
                encoded = left, self._encode(full, some)
            again = self._decode(full, some, encoded[1], temperature)
            for index, result in zip(left, again, strict=True):
                tries[index].append(result)
        for index, tried in tries.items():
            results[index] = best(tried)

    def _attempt(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        temperature: float,
    ) -> list[Decoded]:
        return self._decode(request, features, self._encode(request, features), temperature)

    def _encode(self, request: Request, features: Sequence[NDArray[np.float32]]) -> StorageView:
        return self._model.encode(_stacked(features, request.window))

    def _decode(
        self,
        request: Request,
        features: Sequence[NDArray[np.float32]],
        encoded: StorageView,
        temperature: float,
    ) -> list[Decoded]:
        tokenizer, suppressed = self._tokenizer(request.language, request.task)
        sizes = [one.shape[-1] for one in features]
        prompt = self._prompt(tokenizer, request)
        may_write = _TOKENS_MORE + _TOKENS_A_SECOND * max(sizes) // _FRAMES_A_SECOND
        generated = self._model.model.generate(
            encoded,
            [prompt] * len(features),
            max_length=min(self._model.max_length, len(prompt) + may_write),
            suppress_tokens=suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **request.decoding(temperature),
        )
        texts = [
            [token for token in one.sequences_ids[0] if token < tokenizer.eot] for one in generated
        ]
        alignments = self._model.find_alignment(tokenizer, texts, encoded, sizes)
        decoded: list[Decoded] = []
        for mel, one, text, alignment in zip(features, generated, texts, alignments, strict=True):
            aligned = _words(alignment)
            audible = audible_frames(mel)
            words = tuple(placed(aligned, audible))
            tokens = len(one.sequences_ids[0])
            decoded.append(
                Decoded(
                    words=words,
                    tokens=tokens,
                    # CTranslate2 divides by the tokens without the end of the text, Whisper with.
                    avg_logprob=one.scores[0] * tokens / (tokens + 1),
                    no_speech_prob=one.no_speech_prob,
                    compression_ratio=compression_ratio(tokenizer.decode(text).strip()),
                    squeezed=squeezed_share(aligned),
                    unheard=longest_unheard(words, audible),
                    thresholds=request.thresholds,
                )
            )
        return decoded

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
    """All in one array, filled up with silence, which is the least that features hold."""
    return np.stack(
        [
            np.pad(
                one,
                ((0, 0), (0, frames - one.shape[-1])),
                constant_values=np.float32(one.min()),
            )
            for one in features
        ]
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


def _is_better(second: Decoded, first: Decoded) -> bool:
    """Whether a look in pieces heard at least as much, and can be trusted."""
    if second.doubtful or second.silent:
        return False
    return first.doubtful or (
        second.unheard <= first.unheard and second.avg_logprob >= first.avg_logprob - _LESS_PROBABLE
    )
