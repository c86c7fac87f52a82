"""Word times: what the model's alignment says, corrected by where the audio is audible."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hearsight_asr_worker.pauses import FRAME_MS, runs
from hearsight_asr_worker.segmentation import TimedWord, settled

_PAUSE = 24
"""A silence of so many frames does not belong to a word; the closures of stops are shorter."""
_BREATH = 20
"""Sounds closer than this, in frames, are heard as one."""


def placed(words: Sequence[TimedWord], audible: NDArray[np.bool_]) -> list[TimedWord]:
    """`words` in order inside their chunk, each cut back to where the chunk is audible.

    The model's alignment stretches words over the pause beside them.

    Args:
        words: As the model aligned them, milliseconds from the chunk's start.
        audible: Whether each frame of the chunk may hold speech.
    """
    within = settled(words, 0, len(audible) * FRAME_MS)
    return [_cut_back(word, audible) for word in within]


def longest_unheard(words: Sequence[TimedWord], audible: NDArray[np.bool_]) -> int:
    """Frames of the longest sound of the chunk that no word covers: speech that was left out."""
    left = audible.copy()
    for first, last in runs(~audible):
        if last - first < _BREATH:
            left[first:last] = True
    for word in words:
        left[word.start_ms // FRAME_MS : -(-word.end_ms // FRAME_MS)] = False
    return max((last - first for first, last in runs(left)), default=0)


def _cut_back(word: TimedWord, audible: NDArray[np.bool_]) -> TimedWord:
    """`word` on the louder side of every pause that its time spans."""
    start, end = word.start_ms, word.end_ms
    while (pause := _longest_pause(audible, start, end)) is not None:
        before = np.count_nonzero(audible[start // FRAME_MS : pause[0] // FRAME_MS])
        after = np.count_nonzero(audible[pause[1] // FRAME_MS : -(-end // FRAME_MS)])
        if before == after == 0:
            break
        start, end = (start, pause[0]) if before > after else (pause[1], end)
    return replace(word, start_ms=start, end_ms=end)


def _longest_pause(
    audible: NDArray[np.bool_], start_ms: int, end_ms: int
) -> tuple[int, int] | None:
    """The longest stretch of start_ms..end_ms without sound, if it lasts for a pause."""
    first = start_ms // FRAME_MS
    quiet = runs(~audible[first : -(-end_ms // FRAME_MS)])
    begin, stop = max(quiet, key=lambda run: run[1] - run[0], default=(0, 0))
    if stop - begin < _PAUSE:
        return None
    return max(start_ms, (first + begin) * FRAME_MS), min(end_ms, (first + stop) * FRAME_MS)
