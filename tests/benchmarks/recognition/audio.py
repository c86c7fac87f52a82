"""What is recognised: real speech, different for each job.

So none can be answered with the result of another.
"""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.speech import SAMPLE_RATE, joined, write_wav

_SOURCE_S = 600
_MARK = 80
"""Samples at the beginning that are noise below hearing: 5 ms that make two equal clips differ."""


def marked(clip: NDArray[np.int16], *, seed: int) -> NDArray[np.int16]:
    """The clip with a beginning of its own, which nobody hears."""
    own = clip.copy()
    own[:_MARK] = np.random.default_rng(seed).integers(-3, 4, _MARK)
    return own


def clips(folder: Path, count: int, seconds: float, *, seed: int) -> list[Path]:
    """WAV files of `seconds` each, taken from joined speech wherever chance falls."""
    chance = np.random.default_rng(seed)
    speech = joined(_SOURCE_S, seed=seed).audio
    size = round(seconds * SAMPLE_RATE)
    found = []
    for number in range(count):
        start = int(chance.integers(0, len(speech) - size))
        clip = marked(speech[start : start + size], seed=number)
        found.append(write_wav(folder / f"clip-{seed}-{number}.wav", clip))
    return found


def recording(folder: Path, minutes: float, *, seed: int) -> Path:
    """A FLAC file of so many minutes of speech with pauses."""
    path = folder / f"recording-{minutes:g}-{seed}.flac"
    # By the block: all of three hours as floats would take more memory than the system itself.
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        audio: NDArray[np.int16] = joined(minutes * 60, seed=seed).audio
        for start in range(0, len(audio), SAMPLE_RATE * 60):
            file.write(audio[start : start + SAMPLE_RATE * 60])
    return path
