"""What the model made of a stretch of speech, and how far that can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hearsight_asr_worker.pauses import FRAME_MS
from hearsight_asr_worker.segmentation import TimedWord, needs_space, text_of
from hearsight_asr_worker.trust import WHISPERS, Thresholds, compression_ratio
from hearsight_core.contract import Doubt

_LEFT_OUT = 100
"""Frames (of 10 ms) of sound without words that make a text look incomplete."""

_SQUEEZED_MS = 40
_SQUEEZED_SHARE = 0.25
_CRAMMED_SHARE = 0.2
"""Of 236 utterances (joined clips, clean and in noise, and long narration) tiny.en gave two that
were right so large a share of words without time, and none that was said twice a smaller one."""


@dataclass(frozen=True)
class Decoded:
    """The words of a stretch of speech and the model's trust in them.

    Attributes:
        words: In order, milliseconds from the stretch's start, cut back to where it is audible.
        tokens: How many the model wrote.
        avg_logprob: Mean logarithm of the tokens' probabilities.
        no_speech_prob: How sure the model is that nobody speaks.
        compression_ratio: Length of the text by its length compressed: how repetitive it is.
        squeezed: Share of the words that the alignment gives no time.
        unheard: Frames of the longest sound without words.
        thresholds: From where on that is doubtful.
    """

    words: tuple[TimedWord, ...]
    tokens: int
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    squeezed: float
    unheard: int
    thresholds: Thresholds = WHISPERS

    @property
    def silent(self) -> bool:
        """Whether there is no speech."""
        return self.thresholds.is_silence(
            text_of(self.words),
            no_speech_prob=self.no_speech_prob,
            avg_logprob=self.avg_logprob,
        )

    @property
    def looped(self) -> bool:
        """Whether the text repeats itself without time in the audio to say all that.

        Whisper's bound on compression alone also meets speech that does repeat (counting, refrains)
        and scripts of many bytes; but what was really said has time.
        """
        return (
            self.compression_ratio > self.thresholds.compression_ratio
            and self.squeezed > _SQUEEZED_SHARE
        )

    @property
    def crammed(self) -> bool:
        """Whether the audio has no time for all the words: some may be there twice."""
        return not self.silent and self.squeezed >= _CRAMMED_SHARE

    @property
    def doubtful(self) -> bool:
        """Whether the text is probably wrong, and worth trying again by chance."""
        return not self.silent and (self.looped or self.thresholds.is_low(self.avg_logprob))

    @property
    def doubt(self) -> Doubt | None:
        """What is still wrong with the text, if nothing better was found."""
        if not self.doubtful:
            return None
        return "loop" if self.looped else "improbable"

    @property
    def suspicious(self) -> bool:
        """Whether the text may be wrong or incomplete, and worth a second look in pieces."""
        return not self.silent and (
            self.doubtful
            or self.compression_ratio > self.thresholds.compression_ratio
            or self.unheard > _LEFT_OUT
        )


def squeezed_share(words: Sequence[TimedWord]) -> float:
    """Which share of `words`, as aligned, lasts too short to be said."""
    squeezed = sum(word.end_ms - word.start_ms <= _SQUEEZED_MS for word in words)
    return squeezed / len(words) if words else 0.0


def joined(parts: Sequence[tuple[int, Decoded]]) -> Decoded:
    """Pieces of one chunk put together; each comes with the frame it begins at."""
    heard = [(first, one) for first, one in parts if not one.silent]
    words: list[TimedWord] = []
    for first, one in heard:
        for place, word in enumerate(one.words):
            apart = place == 0 and words and needs_space(words[-1].text, word.text)
            words.append(
                replace(
                    word,
                    text=f" {word.text}" if apart else word.text,
                    start_ms=word.start_ms + first * FRAME_MS,
                    end_ms=word.end_ms + first * FRAME_MS,
                )
            )
    believed = [one for _, one in heard] or [one for _, one in parts]
    tokens = sum(one.tokens + 1 for one in believed)
    return Decoded(
        words=tuple(words),
        tokens=tokens - 1,
        avg_logprob=sum(one.avg_logprob * (one.tokens + 1) for one in believed) / tokens,
        no_speech_prob=min(one.no_speech_prob for one in believed),
        compression_ratio=compression_ratio(text_of(words)),
        squeezed=max(one.squeezed for one in believed),
        unheard=max(one.unheard for one in believed),
        thresholds=parts[0][1].thresholds,
    )


def best(tried: Sequence[Decoded]) -> Decoded:
    """The last if it is not doubtful; else the most probable, of those that don't loop if any.

    That is Whisper's choice (openai/whisper, transcribe.py, decode_with_fallback).
    """
    if not tried[-1].doubtful:
        return tried[-1]
    return max([one for one in tried if not one.looped] or tried, key=lambda one: one.avg_logprob)
