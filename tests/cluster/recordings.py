"""What is spoken in the cluster tests: a few recordings as MP3, and their words."""

import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Final

import imageio_ffmpeg

from tests.speech import SAMPLE_RATE, joined

COUNT: Final = 3
LENGTH_S: Final = 60.0
BIT_RATE: Final = "32k"
"""All of them together stay below what a ConfigMap may hold, 1 MiB."""
WORST_WORD_ERROR_RATE: Final = 0.15
"""tiny.en on these clips: mostly 0; 0.1 where it writes one counted row of digits as a number."""


@dataclass(frozen=True)
class Spoken:
    """A recording as a file: its name, its content (MP3), and what is said in it."""

    name: str
    content: bytes
    text: str


@cache
def recordings() -> tuple[Spoken, ...]:
    """The recordings, each of other clips in another order."""
    return tuple(_spoken(seed) for seed in range(COUNT))


def _spoken(seed: int) -> Spoken:
    recording = joined(LENGTH_S, seed=seed)
    raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-")
    encoded = ("-b:a", BIT_RATE, "-f", "mp3", "-")
    ffmpeg = (imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error")
    done = subprocess.run(
        [*ffmpeg, *raw, *encoded],
        input=recording.audio.astype("<i2").tobytes(),
        capture_output=True,
        check=True,
    )
    return Spoken(f"speech-{seed}.mp3", done.stdout, recording.text)
