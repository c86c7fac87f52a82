"""10,000 short jobs leave the memory of API and workers where it was.

The jobs are real: uploaded, decoded, cut, recognised, stored, told of. Only the engine is a
stand-in (`tests.chaos.told_asr`), which says what it heard at once: what a model holds is measured
by `python -m tests.benchmarks.recognition memory`.
"""

import os

from tests.benchmarks import growth
from tests.benchmarks.goals import Goal
from tests.benchmarks.stand import Stand
from tests.speech import SAMPLE_RATE, joined, wav

JOBS = int(os.environ.get("LOAD_SHORT_JOBS", "10000"))
SECONDS = 2


def measure(stand: Stand) -> list[Goal]:
    """Two seconds of speech, over and over; a few samples of each are its own."""
    speech = joined(10, seed=4).audio[: SECONDS * SAMPLE_RATE]

    def content(number: int) -> bytes:
        clip = speech.copy()
        clip[:2] = divmod(number, 2**14)
        return wav(clip)

    return growth.measure(stand, JOBS, "tests.chaos.told_asr", content, CHAOS_PACE="0")
