"""How fast a long recording becomes text: the whole path beside what the bare library can do.

In each round all ways take turns with one recording, a new one each round. The whole path is all
that happens from the first byte uploaded to the event that the job is completed. Ratios are medians
of the rounds, so that a machine that slows down meanwhile does not decide.

The engine aligns every word with the sound, which is where its segments' times come from. So bare
does as well, where they are compared; what it takes without is told beside.
"""

import os
import statistics
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment
from numpy.typing import NDArray

from hearsight.stack.ports import free_port
from tests.benchmarks.goals import Goal, at_least, told
from tests.benchmarks.recognition import bare
from tests.benchmarks.recognition.busy import Watch
from tests.benchmarks.stand import Stand, cores
from tests.client import Client
from tests.speech import SAMPLE_RATE, joined, word_error_rate, write_wav

MINUTES = float(os.environ.get("BENCH_MINUTES", "30"))
ROUNDS = 3
SEQUENTIAL_MINUTES = 3
"""Its speed is taken from so much of the recording: it takes three times as long as all others."""
WARM_UP_S = 60
BATCH_SIZES = (8, 16)

WANTED_SEQUENTIAL = 3
WANTED_BATCHED = 1.4
WANTED_BEST = 0.95

SEQUENTIAL = "bare, sequential"
BATCHED = "bare, batched"
WHOLE = "whole path"

Run = Callable[[Path], str]


def _audio(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return samples.astype(np.float32) / np.float32(32768)


def _text(segments: Iterable[Segment]) -> str:
    return " ".join(segment.text.strip() for segment in segments)


def _sequential(model: WhisperModel, path: Path) -> str:
    segments, _ = model.transcribe(str(path), word_timestamps=True)
    return _text(segments)


def _batched(model: WhisperModel, path: Path, *, aligned: bool) -> str:
    """The pipeline as its README uses it."""
    pipeline = BatchedInferencePipeline(model)
    segments, _ = pipeline.transcribe(str(path), language="en", word_timestamps=aligned)
    return _text(segments)


def _streams(model: WhisperModel, path: Path, *, batch_size: int, aligned: bool) -> str:
    """Several pipelines over one model, each with its share of the recording."""

    def share(audio: NDArray[np.float32]) -> str:
        segments, _ = BatchedInferencePipeline(model).transcribe(
            audio, language="en", word_timestamps=aligned, batch_size=batch_size
        )
        return _text(segments)

    streams = _streams_at_once()
    with ThreadPoolExecutor(streams) as pool:
        return " ".join(pool.map(share, np.array_split(_audio(path), streams)))


def _whole(client: Client, path: Path) -> str:
    job_id = client.upload(path)
    last = client.outcome(job_id)
    assert last["status"] == "completed", last
    return str(client.transcript(job_id)["text"])


def _ways(client: Client) -> dict[str, Run]:
    """Every way to recognise; the whole path comes first, of the bare ones the ones compared."""
    on_all = bare.model()
    one_each = bare.model(cpu_threads=1, num_workers=_streams_at_once())
    return {
        WHOLE: partial(_whole, client),
        SEQUENTIAL: partial(_sequential, on_all),
        BATCHED: partial(_batched, on_all, aligned=True),
        **{
            _streams_name(size): partial(_streams, one_each, batch_size=size, aligned=True)
            for size in BATCH_SIZES
        },
        f"{BATCHED}, words not aligned": partial(_batched, on_all, aligned=False),
        f"{_streams_name(BATCH_SIZES[0])}, words not aligned": partial(
            _streams, one_each, batch_size=BATCH_SIZES[0], aligned=False
        ),
    }


def _streams_at_once() -> int:
    """One a core; on a GPU two, so that one's sound is prepared while the other's is recognised."""
    return cores() if bare.device() == "cpu" else 2


def _streams_name(batch_size: int) -> str:
    return f"bare, {_streams_at_once()} streams, batches of {batch_size}"


class _Taken:
    """How fast each way was, times real time, and what share of the words it got wrong."""

    def __init__(self) -> None:
        self.speeds: dict[str, list[float]] = {}
        self.wrong: dict[str, list[float]] = {}

    def take(self, name: str, run: Run, path: Path, text: str) -> None:
        """Recognises the recording."""
        began = time.perf_counter()
        heard = run(path)
        took_s = time.perf_counter() - began
        with wave.open(str(path)) as file:
            length_s = file.getnframes() / SAMPLE_RATE
        self.speeds.setdefault(name, []).append(length_s / took_s)
        self.wrong.setdefault(name, []).append(word_error_rate(text, heard) * 100)

    def speed(self, name: str) -> float:
        return statistics.median(self.speeds[name])

    def told(self, name: str) -> str:
        wrong = statistics.mean(self.wrong[name])
        return f"{self.speed(name):.1f} times real time, {wrong:.2f} % of the words wrong"

    def against(self, name: str) -> float:
        """How many times faster the whole path is."""
        pairs = zip(self.speeds[WHOLE], self.speeds[name], strict=True)
        return statistics.median(whole / other for whole, other in pairs)


def measure(stand: Stand) -> Iterator[Goal]:
    """Rounds, in which every way takes its turn."""
    taken = _Taken()
    port = free_port()
    with (
        stand.apis() as [server],
        stand.workers(1, "hearsight_download_worker"),
        stand.workers(1, "hearsight_asr_worker", HEARSIGHT_METRICS_PORT=str(port)),
        server.client() as http,
    ):
        ways = _ways(Client(http))
        warm = write_wav(stand.folder / "warm.wav", joined(WARM_UP_S, seed=1).audio)
        for run in ways.values():
            run(warm)
        for number in range(ROUNDS):
            long = joined(MINUTES * 60, seed=40 + number)
            short = joined(min(MINUTES, SEQUENTIAL_MINUTES) * 60, seed=40 + number)
            path = write_wav(stand.folder / "long.wav", long.audio)
            beginning = write_wav(stand.folder / "beginning.wav", short.audio)
            for name, run in ways.items():
                if name == SEQUENTIAL:
                    taken.take(name, run, beginning, short.text)
                    continue
                taken.take(name, run, path, long.text)
        # A turn of its own, for the watch takes time from the cores as well.
        watch = Watch(stand, port)
        with watch.running():
            ways[WHOLE](path)
    best = max(map(_streams_name, BATCH_SIZES), key=taken.speed)
    for name, wanted in (
        (SEQUENTIAL, WANTED_SEQUENTIAL),
        (BATCHED, WANTED_BATCHED),
        (best, WANTED_BEST),
    ):
        yield at_least(
            f"{MINUTES:g} min of speech, whole path against {name}",
            wanted,
            taken.against(name),
            "times",
            digits=2,
        )
    for name in ways:
        remark = f" (of the first {SEQUENTIAL_MINUTES} min)" if name == SEQUENTIAL else ""
        yield told(f"{name}{remark}", taken.told(name))
    yield watch.goal()
