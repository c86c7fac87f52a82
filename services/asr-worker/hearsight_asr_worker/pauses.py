"""Where a chunk is audible and where it pauses, seen in its mel bands (frames of 10 ms)."""

import numpy as np
from numpy.typing import NDArray

FRAME_MS = 10

# Whisper's features divide the logarithm of power by four: 1 is 40 dB.
_QUIET = 35 / 40
"""What lies this far below the loud frames (their 90th percentile) is no speech ..."""
_ABOVE_NOISE = 6 / 40
"""... nor what lies less than this above the noise (the 5th percentile) ..."""
_LOUD = 15 / 40
"""... but nothing that is nearer than this to the loud frames is called a pause."""
_CUT_PAUSE = 30
"""Shortest pause to cut a chunk at, frames: longer than the closure of a stop."""
_LEAST_PIECE = 80
"""Shortest piece to cut off, frames."""
_UTTERANCE = 1000
_UTTERANCE_PAUSE = 50
"""Between utterances one pauses for half a second or more; within them for less."""
_OFF_CENTRE = 0.1
"""Frames of pause that a cut may be shorter by to lie a frame nearer to the middle."""


def audible_frames(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """For each frame of `features` (mel bands by frames) whether it may hold speech."""
    if not features.shape[-1]:
        return np.zeros(0, dtype=np.bool_)
    levels = features.max(axis=0)
    noise, loud = np.percentile(levels, (5, 90))
    bound = min(max(noise + _ABOVE_NOISE, loud - _QUIET), loud - _LOUD)
    return np.asarray(levels > bound, dtype=np.bool_)


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches of `flags` that are set, as (first, one after the last)."""
    steps = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return [(int(begin), int(end)) for begin, end in np.flatnonzero(steps).reshape(-1, 2)]


def pieces(audible: NDArray[np.bool_], longest: int) -> list[tuple[int, int]]:
    """A chunk cut at pauses until no piece is over `longest` frames, or has no pause to cut at.

    Cuts lie in the middle of pauses, of the long ones near the middle first. The pieces are (first
    frame, one after the last), in order, and cover the whole chunk.
    """
    return _cut(runs(~audible), 0, len(audible), longest, always=len(audible))


def utterances(audible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """A chunk cut, as `pieces` is, at every pause between utterances and into 10 s at most."""
    return _cut(runs(~audible), 0, len(audible), _UTTERANCE, always=_UTTERANCE_PAUSE)


def _cut(
    pauses: list[tuple[int, int]], begin: int, end: int, longest: int, *, always: int
) -> list[tuple[int, int]]:
    enough = _CUT_PAUSE if end - begin > longest else always
    fit = [
        (first, last)
        for first, last in pauses
        if last - first >= enough and first >= begin + _LEAST_PIECE and last <= end - _LEAST_PIECE
    ]
    if not fit:
        return [(begin, end)]
    centre = (begin + end) / 2
    first, last = max(
        fit,
        key=lambda pause: (
            pause[1] - pause[0] - _OFF_CENTRE * abs((pause[0] + pause[1]) / 2 - centre)
        ),
    )
    middle = (first + last) // 2
    return _cut(pauses, begin, middle, longest, always=always) + _cut(
        pauses, middle, end, longest, always=always
    )
