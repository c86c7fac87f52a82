"""Where somebody speaks, by Silero VAD, whose model faster-whisper brings along.

A recording is cut in windows that overlap. faster-whisper's `get_speech_timestamps` hears each of
them from its first sample on, which is up to two and a half times the recording where parts are
short; here every frame goes through the model once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from faster_whisper.vad import get_vad_model
from numpy.typing import NDArray

SAMPLES_PER_MS: Final = 16
"""Of the sound that recordings are decoded to, 16 kHz."""

FRAME_MS: Final = 32
"""How much sound has one probability."""

_FRAME: Final = FRAME_MS * SAMPLES_PER_MS
_CONTEXT: Final = 64
"""Samples before a frame that the model looks at as well."""
_STATE: Final = (1, 1, 128)
_FRAMES_AT_ONCE: Final = 1000
"""So many go through the model together: half a minute, and the fastest of 10 to 10,000."""

_FALL: Final = 0.15
_LEAST_THRESHOLD: Final = 0.01
"""Sound counts as silence again from so far below the threshold on, as Silero VAD has it: a voice
that wavers about the threshold is one span."""

_PAUSE_MS: Final = 98
"""Where a span has to be split, it is at a silence longer than that, if there is one: Silero VAD's
`min_silence_at_max_speech`."""


@dataclass(frozen=True)
class SpeechOptions:
    """What is speech, and how much around it is kept.

    Attributes:
        threshold: Probability from which sound is taken for speech.
        min_speech_ms: Shorter sounds are no speech.
        min_silence_ms: Silence that ends a span.
        pad_ms: Sound that is kept before and after a span; of a shorter silence, each side gets
            half.
        longest_ms: No span is longer, the sound around it included.
    """

    threshold: float
    min_speech_ms: int
    min_silence_ms: int
    pad_ms: int
    longest_ms: int


class VoiceActivity:
    """The probabilities of speech in one recording, as its sound comes.

    Frames begin at multiples of 32 ms of the recording. So whoever begins later has the same ones,
    and after a moment the same probabilities: the model's memory is short.

    Args:
        start_ms: Where in the recording the sound begins.
        options: What is speech.
    """

    def __init__(self, start_ms: int, options: SpeechOptions) -> None:
        self._options = options
        self._session = get_vad_model().session
        self._hidden: NDArray[np.float32] = np.zeros(_STATE, np.float32)
        self._cell: NDArray[np.float32] = np.zeros(_STATE, np.float32)
        self._context: NDArray[np.float32] = np.zeros(_CONTEXT, np.float32)
        self._from_ms = _next_frame_ms(start_ms)
        self._known: NDArray[np.float32] = np.empty(0, np.float32)

    def spans(
        self, samples: NDArray[np.int16], position_ms: int, *, is_last: bool
    ) -> list[tuple[int, int]]:
        """Where somebody speaks in a window.

        Args:
            samples: The window, mono int16 at 16 kHz.
            position_ms: Where it begins; no earlier than the one before, and no later than that
                one's end.
            is_last: Whether the recording ends with it.

        Returns:
            (start, end) in milliseconds from the window's start; in order, apart.
        """
        self._forget_before(position_ms)
        self._hear(samples, position_ms, is_last=is_last)
        options = self._options
        longest = (options.longest_ms - 2 * options.pad_ms) // FRAME_MS
        offset_ms = self._from_ms - position_ms
        spans = [
            # Before the first frame there is no more than a piece of one.
            (offset_ms + FRAME_MS * start if start else 0, offset_ms + FRAME_MS * end)
            for run in _runs(self._known, options)
            for start, end in _pieces(run, longest)
        ]
        return _padded(spans, len(samples) // SAMPLES_PER_MS, options.pad_ms)

    def _forget_before(self, position_ms: int) -> None:
        gone = max(0, _next_frame_ms(position_ms) - self._from_ms) // FRAME_MS
        self._known = self._known[gone:]
        self._from_ms += gone * FRAME_MS

    def _hear(self, samples: NDArray[np.int16], position_ms: int, *, is_last: bool) -> None:
        """Asks the model about what it has not heard yet; an end of less than a frame can wait."""
        until_ms = self._from_ms + FRAME_MS * len(self._known)
        new = samples[(until_ms - position_ms) * SAMPLES_PER_MS :]
        rest = len(new) % _FRAME
        new = np.pad(new, (0, _FRAME - rest)) if is_last and rest else new[: len(new) - rest]
        frames = new.reshape(-1, _FRAME)
        found = [
            self._probabilities(frames[start : start + _FRAMES_AT_ONCE])
            for start in range(0, len(frames), _FRAMES_AT_ONCE)
        ]
        self._known = np.concatenate([self._known, *found])

    def _probabilities(self, frames: NDArray[np.int16]) -> NDArray[np.float32]:
        heard = frames.astype(np.float32) / np.float32(32768)
        before = np.vstack([self._context, heard[:-1, -_CONTEXT:]])
        self._context = heard[-1, -_CONTEXT:]
        found, self._hidden, self._cell = self._session.run(
            None, {"input": np.hstack([before, heard]), "h": self._hidden, "c": self._cell}
        )
        return np.asarray(found, np.float32)


def _next_frame_ms(position_ms: int) -> int:
    return -(-position_ms // FRAME_MS) * FRAME_MS


@dataclass(frozen=True)
class _Run:
    """Speech that no silence ends, in frames; `end` is the one after the last.

    `pauses` are the shorter silences within: where each begins, and where speech goes on.
    """

    start: int
    end: int
    pauses: Sequence[tuple[int, int]]


def _runs(known: NDArray[np.float32], options: SpeechOptions) -> list[_Run]:
    silent_below = max(options.threshold - _FALL, _LEAST_THRESHOLD)
    runs: list[_Run] = []
    start: int | None = None
    quiet: int | None = None
    pauses: list[tuple[int, int]] = []
    for frame, probability in enumerate(known.tolist()):
        if probability >= options.threshold:
            if start is None:
                start, pauses = frame, []
            elif quiet is not None:
                pauses.append((quiet, frame))
            quiet = None
        elif start is not None and probability < silent_below:
            quiet = frame if quiet is None else quiet
            if (frame - quiet) * FRAME_MS >= options.min_silence_ms:
                runs.append(_Run(start, quiet, pauses))
                start = quiet = None
    if start is not None:
        runs.append(_Run(start, len(known), pauses))
    return [run for run in runs if (run.end - run.start) * FRAME_MS > options.min_speech_ms]


def _pieces(run: _Run, longest: int) -> Iterator[tuple[int, int]]:
    """Splits a run that is too long at the last pause that allows it, or where it has to end."""
    start = run.start
    while run.end - start > longest:
        latest = start + longest
        fitting = [
            (quiet, after)
            for quiet, after in run.pauses
            if start < quiet <= latest and (after - quiet) * FRAME_MS > _PAUSE_MS
        ]
        end, after = fitting[-1] if fitting else (latest, latest)
        yield start, end
        start = after
    yield start, run.end


def _padded(spans: Sequence[tuple[int, int]], length_ms: int, pad_ms: int) -> list[tuple[int, int]]:
    """The spans with the sound around them; of a silence that is too short each gets half."""
    if not spans:
        return []
    starts, ends = [max(0, spans[0][0] - pad_ms)], []
    for (_, end), (start, _) in pairwise(spans):
        kept_ms = min(pad_ms, (start - end) // 2)
        ends.append(end + kept_ms)
        starts.append(start - kept_ms)
    ends.append(min(length_ms, spans[-1][1] + pad_ms))
    return list(zip(starts, ends, strict=True))
