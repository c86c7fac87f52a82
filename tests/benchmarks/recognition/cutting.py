"""What it costs to cut a recording into parts, against finding the speech in it once."""

import statistics
import time
from collections.abc import Iterator

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from hearsight_download_worker.cutting import CutOptions, Cutter
from tests.benchmarks.goals import Goal, at_most
from tests.benchmarks.stand import Stand
from tests.speech import SAMPLE_RATE, joined

MINUTES = 30
ROUNDS = 5
IDLE = (0, 64)
BLOCK = 30 * SAMPLE_RATE
OPTIONS = CutOptions(part_target_s=150, vad_threshold=0.5)
WANTED = 1.1


def measure(_stand: Stand) -> Iterator[Goal]:
    """Takes turns: the library over the whole recording, the cutter with nobody idle and many."""
    recording = joined(MINUTES * 60, seed=5).audio
    rounds = [
        (_library(recording), *(_cut(recording, idle) for idle in IDLE)) for _ in range(ROUNDS)
    ]
    for place, idle in enumerate(IDLE, start=1):
        ratio = statistics.median(seconds[place] / seconds[0] for seconds in rounds)
        ours, theirs = (statistics.median(seconds[it] for seconds in rounds) for it in (place, 0))
        yield at_most(
            f"{MINUTES} min cut while {idle} streams are idle, against its speech found once (CPU)",
            WANTED,
            ratio,
            "times",
            remark=f" ({ours:.1f} s, {theirs:.1f} s)",
        )


def _library(recording: NDArray[np.int16]) -> float:
    began = time.process_time()
    options = VadOptions(
        threshold=OPTIONS.vad_threshold,
        min_silence_duration_ms=OPTIONS.min_silence_ms,
        max_speech_duration_s=OPTIONS.max_chunk_s,
    )
    assert get_speech_timestamps(recording.astype(np.float32) / 32768, options)
    return time.process_time() - began


def _cut(recording: NDArray[np.int16], idle: int) -> float:
    began = time.process_time()
    blocks = (recording[start : start + BLOCK] for start in range(0, len(recording), BLOCK))
    length_ms = len(recording) * 1000 // SAMPLE_RATE
    assert list(Cutter(OPTIONS).cut(blocks, length_ms=length_ms, idle=lambda: idle))
    return time.process_time() - began
