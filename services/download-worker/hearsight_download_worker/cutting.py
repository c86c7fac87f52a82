"""Cuts a recording into parts at silences, while it is being decoded.

The audio is looked at in windows of up to a few minutes. The speech in a window is put together
into chunks of up to 30 s, as Whisper takes them, and a part is made of the first chunks that hold
as much speech as was asked for. The next window begins where that part ends, and nothing but what
the VAD thought of its sound is carried over: so cutting can go on after any part, and gives the
same parts again where as many workers are idle.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hearsight_download_worker.voice_activity import (
    SAMPLES_PER_MS,
    SpeechOptions,
    VoiceActivity,
)

_OPEN_END_MS: Final = 440
"""Speech that ends so near to a window's end may go on after it, with the silence that ends a span
and the VAD's padding on top."""

_SKIPPED: Final = 60_000 * SAMPLES_PER_MS

_DOUBLINGS: Final = 8
"""After so many a part is longer than any setting asks for."""

_EARLIEST: Final = 0.75
_LATEST: Final = 1.25
"""A part is cut at the longest silence between these shares of the speech asked for."""


@dataclass(frozen=True)
class CutOptions:
    """How to cut.

    Attributes:
        part_target_s: Speech a part aims to hold at most, seconds.
        vad_threshold: Probability from which the VAD takes sound for speech.
        min_speech_ms: Shorter sounds are no speech.
        min_silence_ms: Silence that ends a span of speech. 160 ms are what faster-whisper's batched
            pipeline asks of the VAD.
        speech_pad_ms: Sound that is kept before and after a span. 400 ms are faster-whisper's own.
        part_shortest_s: Speech a part aims to hold at least, however many workers are idle.
        max_chunk_s: Longest chunk, seconds; Whisper's window.
        bridge_s: Longest silence within a chunk, seconds, between the VAD's padded spans. A chunk
            costs the same however much of it is silence, so bridging saves work; but long silence
            makes Whisper invent words. 2 s is the silence that faster-whisper leaves within
            speech by default (`VadOptions.min_silence_duration_ms`).
    """

    part_target_s: float
    vad_threshold: float
    min_speech_ms: int = 0
    min_silence_ms: int = 160
    speech_pad_ms: int = 400
    part_shortest_s: float = 15
    max_chunk_s: float = 30
    bridge_s: float = 2

    def target_s(self, index: int, left_s: float | None, idle: int) -> float:
        """Speech that part `index` aims to hold, seconds.

        The first is the shortest, so that its words can be read soon. So is the first for each idle
        worker, and the next ones are twice as long each time: all begin early, and none has to wait
        until its next part is cut.

        Parts become shorter towards the recording's end, so that all workers end together: each is
        half of what an idle worker's share of the rest would be ("factoring" of S. Flynn Hummel, E.
        Schonberg, L. E. Flynn, CACM 35(8), 1992). Where nobody is idle, they stay long: short ones
        would only cost more.

        Args:
            index: The part's number, from 0.
            left_s: What is left of the recording, seconds; None if nobody knows.
            idle: How many parts could be recognised at once.
        """
        shortest_s = min(self.part_shortest_s, self.part_target_s)
        if not idle:
            return self.part_target_s if index else shortest_s
        doublings = min(index // idle, _DOUBLINGS)
        target_s = min(self.part_target_s, shortest_s * (1 << doublings))
        if idle > 1 and left_s is not None and left_s > 0:
            target_s = min(target_s, left_s / (2 * idle))
        return max(target_s, shortest_s)

    @property
    def open_end_ms(self) -> int:
        """How near to a window's end speech may still go on after it."""
        return self.min_silence_ms + self.speech_pad_ms + _OPEN_END_MS


@dataclass(frozen=True, eq=False)
class Part:
    """A stretch of the recording that begins and ends with speech.

    Attributes:
        index: Its number, from 0.
        start_ms: Where it begins in the recording.
        end_ms: Where it ends.
        samples: Its sound: mono int16 at 16 kHz, 16 samples a millisecond.
        chunks: (start_ms, end_ms) in the recording of each piece to recognise; in order, apart,
            none longer than `max_chunk_s`.
        speech_ms: How much of it the VAD takes for speech.
        outsized: Whether that is more than was asked for: nobody paused for so long.
    """

    index: int
    start_ms: int
    end_ms: int
    samples: NDArray[np.int16]
    chunks: tuple[tuple[int, int], ...]
    speech_ms: int
    outsized: bool


@dataclass
class _Chunk:
    """A piece to recognise, in milliseconds from the window's start."""

    start: int
    end: int
    speech: int


class Cutter:
    """Cuts one recording, from the start or from after a part that is there already.

    Args:
        options: How to cut.
        start_ms: Where in the recording the audio given to `cut` begins: 0, or the last part's end.
        first_index: The first part's number.
    """

    def __init__(self, options: CutOptions, *, start_ms: int = 0, first_index: int = 0) -> None:
        self._options = options
        self._speech = SpeechOptions(
            threshold=options.vad_threshold,
            min_speech_ms=options.min_speech_ms,
            min_silence_ms=options.min_silence_ms,
            pad_ms=options.speech_pad_ms,
            longest_ms=round(options.max_chunk_s * 1000),
        )
        self._index = first_index
        self.start_ms = start_ms
        """Where the audio given to `cut` has to begin."""
        self.duration_ms = start_ms
        """How much of the recording has been seen; all of it, once `cut` has ended."""

    @property
    def next_index(self) -> int:
        """The number of the part after the last one."""
        return self._index

    def cut(
        self,
        blocks: Iterable[NDArray[np.int16]],
        *,
        length_ms: int | None = None,
        idle: Callable[[], int] = lambda: 0,
    ) -> Iterator[Part]:
        """The parts of the recording, each as soon as it is known; none for silence.

        Holds one window of audio: as long as the speech asked for, a quarter more, and a chunk.

        Args:
            blocks: The audio from `start_ms` on, mono int16 at 16 kHz, in pieces of any size.
            length_ms: How long the recording is, if its header says so.
            idle: How many parts could be recognised at once; asked before each part.
        """
        window, voice = Window(blocks), VoiceActivity(self.start_ms, self._speech)
        position_ms = self.start_ms
        while True:
            left_s = None if length_ms is None else (length_ms - position_ms) / 1000
            target_s = self._options.target_s(self._index, left_s, idle())
            samples, is_last = window.fill(self._window_ms(target_s) * SAMPLES_PER_MS)
            self.duration_ms = position_ms + len(samples) // SAMPLES_PER_MS
            spans = voice.spans(samples, position_ms, is_last=is_last)
            chunks = self._chunks(spans, target_s)
            count = self._cut_after(
                chunks, len(samples) // SAMPLES_PER_MS, target_s, is_last=is_last
            )
            if count:
                yield self._part(samples, chunks[:count], position_ms, target_s)
                used_ms = chunks[count - 1].end
            elif is_last:
                return
            else:
                used_ms = self._silence(chunks, target_s)
            window.drop(used_ms * SAMPLES_PER_MS)
            position_ms += used_ms

    def _longest_chunk_s(self, target_s: float) -> float:
        """How far spans are put together: no chunk is longer than a part should be.

        One span of speech without a pause may be.
        """
        return min(self._options.max_chunk_s, target_s)

    def _window_ms(self, target_s: float) -> int:
        options = self._options
        whole_s = max(target_s * _LATEST + self._longest_chunk_s(target_s), options.max_chunk_s)
        return round((whole_s + options.bridge_s) * 1000 + options.open_end_ms)

    def _chunks(self, spans: Iterable[tuple[int, int]], target_s: float) -> list[_Chunk]:
        """The window's speech in chunks as long as they may be."""
        longest_ms = self._longest_chunk_s(target_s) * 1000
        chunks: list[_Chunk] = []
        for start, end in spans:
            last = chunks[-1] if chunks else None
            if (
                last is not None
                and end - last.start <= longest_ms
                and start - last.end <= self._options.bridge_s * 1000
            ):
                last.end = end
                last.speech += end - start
            else:
                chunks.append(_Chunk(start, end, end - start))
        return chunks

    def _cut_after(
        self, chunks: list[_Chunk], window_ms: int, target_s: float, *, is_last: bool
    ) -> int:
        """How many of the chunks make the next part; 0: the window holds none that is whole."""
        target = target_s * 1000
        closed = len(chunks) if is_last else self._closed(chunks, window_ms)
        starts = [one.start for one in chunks[1:]] + [math.inf if is_last else window_ms]
        speech = 0
        best, longest = 0, -1.0
        for count, chunk in enumerate(chunks[:closed], start=1):
            speech += chunk.speech
            if best and speech > target * _LATEST:
                break
            silence = starts[count - 1] - chunk.end
            if speech >= target * _EARLIEST and silence > longest:
                best, longest = count, silence
        return best or closed

    def _closed(self, chunks: list[_Chunk], window_ms: int) -> int:
        """How many chunks can't grow any more by what comes after the window."""
        grows_until = window_ms - self._options.open_end_ms - self._options.bridge_s * 1000
        return sum(one.end < grows_until for one in chunks[-1:]) + len(chunks[:-1])

    def _part(
        self, samples: NDArray[np.int16], chunks: list[_Chunk], position_ms: int, target_s: float
    ) -> Part:
        start, end = chunks[0].start, chunks[-1].end
        speech_ms = sum(one.speech for one in chunks)
        part = Part(
            index=self._index,
            start_ms=position_ms + start,
            end_ms=position_ms + end,
            samples=samples[start * SAMPLES_PER_MS : end * SAMPLES_PER_MS].copy(),
            chunks=tuple((position_ms + one.start, position_ms + one.end) for one in chunks),
            speech_ms=speech_ms,
            outsized=speech_ms > target_s * 1000 * _LATEST,
        )
        self._index += 1
        return part

    def _silence(self, chunks: list[_Chunk], target_s: float) -> int:
        """How much of a window without a whole chunk can go: all up to its first speech."""
        if chunks:
            return chunks[0].start
        return self._window_ms(target_s) - self._options.open_end_ms


class Window:
    """The stretch of audio that is being looked at."""

    def __init__(self, blocks: Iterable[NDArray[np.int16]]) -> None:
        self._blocks = iter(blocks)
        self._held: NDArray[np.int16] = np.empty(0, np.int16)

    def fill(self, wanted: int) -> tuple[NDArray[np.int16], bool]:
        """The next `wanted` samples, and whether the recording ends with them."""
        pieces, length = [self._held], len(self._held)
        is_last = False
        while length <= wanted and not is_last:
            block = next(self._blocks, None)
            is_last = block is None
            if block is not None:
                pieces.append(block)
                length += len(block)
        self._held = np.concatenate(pieces)
        return self._held[:wanted], is_last

    def drop(self, count: int) -> None:
        """Forgets the first `count` samples."""
        self._held = self._held[count:].copy()

    def skip(self, count: int) -> None:
        """Goes past `count` samples, few of which are held at a time."""
        is_last = False
        while count > 0 and not is_last:
            samples, is_last = self.fill(min(count, _SKIPPED))
            self.drop(len(samples))
            count -= len(samples)
