"""500 jobs of one to twenty seconds leave the memory of the ASR worker where it was."""

import os

import numpy as np

from tests.benchmarks import growth
from tests.benchmarks.goals import Goal
from tests.benchmarks.recognition.audio import marked
from tests.benchmarks.stand import Stand
from tests.speech import SAMPLE_RATE, joined, wav

JOBS = int(os.environ.get("BENCH_JOBS", "500"))
SECONDS = (1, 20)
"""How long the recordings are, evenly spread."""


def measure(stand: Stand) -> list[Goal]:
    """Speech of a length and from a place that chance decides, with the real engine."""
    chance = np.random.default_rng(7)
    speech = joined(600, seed=7).audio
    lengths = chance.integers(SECONDS[0] * SAMPLE_RATE, SECONDS[1] * SAMPLE_RATE, JOBS)
    starts = chance.integers(0, len(speech) - SECONDS[1] * SAMPLE_RATE, JOBS)

    def content(number: int) -> bytes:
        start, length = int(starts[number]), int(lengths[number])
        return wav(marked(speech[start : start + length], seed=number))

    return growth.measure(stand, JOBS, "hearsight_asr_worker", content)
