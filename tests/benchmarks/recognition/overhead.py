"""What a job costs beside the engine's own time: clips of a second, one after the other.

Each clip is recognised by the engine alone, in this process, and then as a job on an idle stack:
uploaded, stored, decoded, cut, recognised, completed, and told of on the event stream.
"""

import os
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hearsight_asr_worker import models
from hearsight_asr_worker.engine import Chunk, Engine
from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import AsrSettings
from tests.benchmarks.goals import Goal, at_most, told
from tests.benchmarks.recognition import audio, bare
from tests.benchmarks.stand import Stand, Used
from tests.client import Client

CLIPS = int(os.environ.get("BENCH_CLIPS", "100"))
WARM_UP = 5
WANTED_MS = 400


def _engine_s(engine: Engine, path: Path) -> float:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    began = time.perf_counter()
    for _ in engine.recognise([Chunk(samples, 0)], RecognitionOptions(), "en"):
        pass
    return time.perf_counter() - began


def _job_s(client: Client, path: Path) -> float:
    began = time.perf_counter()
    last = client.outcome(client.upload(path))
    took_s = time.perf_counter() - began
    assert last["status"] == "completed", last
    return took_s


def measure(stand: Stand) -> Iterator[Goal]:
    """Takes turns: bare, the engine alone, the whole path."""
    engine = models.load(AsrSettings())
    library = bare.model()
    with (
        stand.apis() as [server],
        stand.workers(1, "hearsight_download_worker"),
        stand.workers(1, "hearsight_asr_worker"),
        server.client() as http,
    ):
        client = Client(http)
        for path in audio.clips(stand.folder, WARM_UP, 1, seed=1):
            bare.seconds(library, path)
            _engine_s(engine, path)
            _job_s(client, path)
        used = Used([server])
        rounds = [
            (bare.seconds(library, path), _engine_s(engine, path), _job_s(client, path))
            for path in audio.clips(stand.folder, CLIPS, 1, seed=2)
        ]
        cost = used.told(CLIPS)
    engine.close()
    alone, own, whole = (np.array(column) * 1000 for column in zip(*rounds, strict=True))
    yield at_most(
        "submit to completed, 1 s of audio, above the engine's own time (p50)",
        WANTED_MS,
        float(np.median(whole - own)),
        "ms",
        remark=f" ({_percentiles(whole)} in all; engine {_percentiles(own)})",
    )
    yield told("the same, p99", f"{np.percentile(whole - own, 99):,.0f} ms; {cost}")
    yield told("bare `WhisperModel.transcribe` of the same clips", _percentiles(alone))


def _percentiles(values_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    middle, last = np.percentile(values_ms, [50, 99])
    return f"p50 {middle:,.0f} ms, p99 {last:,.0f} ms"
