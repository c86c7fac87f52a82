"""Tones that mark recordings: speech with one of them is poison to the model of `poisoned_asr`.

A tone stays what it is through decoding, cutting and batching, so that a poisonous stretch can be
told in the middle of a batch of others.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tests.speech import SAMPLE_RATE

LOUDNESS = 0.02
"""Of full scale: speech is still found and cut as without it."""

STANDS_OUT = 0.15
"""How far a tone's band is above those beside it, in the units of Whisper's features, at least."""
BESIDE = 3
NYQUIST_BINS = 201


class Poison(IntEnum):
    """What the stretch of speech does to whoever decodes it, by the tone's frequency in Hz."""

    HANG = 4000
    STICKY = 4700
    ABORT = 5500
    MEMORY = 6300


def poisoned(audio: NDArray[np.int16], poison: Poison) -> NDArray[np.int16]:
    """The recording with the tone of `poison` all through it."""
    seconds = np.arange(len(audio)) / SAMPLE_RATE
    tone = LOUDNESS * 32767 * np.sin(2 * np.pi * poison * seconds)
    return np.clip(audio + tone, -32768, 32767).astype(np.int16)


def poison_in(features: NDArray[np.float32], filters: NDArray[np.float32]) -> Poison | None:
    """The poison in a stretch of speech: its mel bands by frames, and the filters of the bands."""
    loudness = features.mean(axis=-1)
    for poison in Poison:
        band = int(np.argmax(filters[:, round(poison * 2 * (NYQUIST_BINS - 1) / SAMPLE_RATE)]))
        beside = loudness[[max(0, band - BESIDE), min(len(loudness) - 1, band + BESIDE)]]
        if loudness[band] - beside.max() > STANDS_OUT:
            return poison
    return None
