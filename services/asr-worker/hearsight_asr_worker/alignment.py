"""Word times: what the model's alignment says, corrected by what the audio says."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hearsight_asr_worker.engine import SAMPLES_PER_MS
from hearsight_asr_worker.segmentation import TimedWord, settled

_FRAME_MS = 20
_QUIET = 10 ** (-35 / 20)
"""A frame this much below the loud ones (their 90th percentile) holds no speech."""
_PAUSE_MS = 240
"""A silence as long as this does not belong to a word; the closures of stops are shorter."""


def heard_words(
    words: Sequence[TimedWord], loudness: NDArray[np.float32], start_ms: int
) -> list[TimedWord]:
    """`words` (times from the chunk's start) at their places in the recording.

    The alignment stretches words over the pause beside them; they are cut back to where the audio
    is audible. The result lies in order inside the chunk.

    Args:
        words: As the model aligned them.
        loudness: The chunk's samples, -1 to 1.
        start_ms: Where the chunk begins in the recording.
    """
    duration_ms = len(loudness) // SAMPLES_PER_MS
    audible = audible_frames(loudness)
    tight = [_cut_back(word, audible) for word in settled(words, 0, duration_ms)]
    return [
        TimedWord(word.text, start_ms + word.start_ms, start_ms + word.end_ms, word.probability)
        for word in tight
    ]


def audible_frames(loudness: NDArray[np.float32]) -> NDArray[np.bool_]:
    """For each 20 ms of the samples, whether they are loud enough to be speech."""
    frame = _FRAME_MS * SAMPLES_PER_MS
    whole = np.pad(loudness, (0, -len(loudness) % frame)).reshape(-1, frame)
    levels = np.sqrt(np.mean(np.square(whole), axis=1))
    loud = np.percentile(levels, 90) if len(levels) else 0.0
    return np.asarray(levels > loud * _QUIET, dtype=np.bool_)


def _cut_back(word: TimedWord, audible: NDArray[np.bool_]) -> TimedWord:
    """`word` on one side of the longest pause that its time spans, until it spans none."""
    start, end = word.start_ms, word.end_ms
    while (pause := _longest_pause(audible, start, end)) is not None:
        before = np.count_nonzero(audible[start // _FRAME_MS : pause[0] // _FRAME_MS])
        after = np.count_nonzero(audible[pause[1] // _FRAME_MS : -(-end // _FRAME_MS)])
        if before == after == 0:
            break
        start, end = (start, max(pause[0], start + 1)) if before > after else (pause[1], end)
    return TimedWord(word.text, start, end, word.probability)


def _longest_pause(
    audible: NDArray[np.bool_], start_ms: int, end_ms: int
) -> tuple[int, int] | None:
    """The longest stretch of start_ms..end_ms without sound, if it lasts for a pause."""
    if end_ms - start_ms < _PAUSE_MS:
        return None
    first = start_ms // _FRAME_MS
    quiet = ~audible[first : -(-end_ms // _FRAME_MS)]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    if not len(edges):
        return None
    runs = edges.reshape(-1, 2)
    begin, stop = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    pause = (
        max(start_ms, (first + int(begin)) * _FRAME_MS),
        min(end_ms, (first + int(stop)) * _FRAME_MS),
    )
    return pause if pause[1] - pause[0] >= _PAUSE_MS else None
