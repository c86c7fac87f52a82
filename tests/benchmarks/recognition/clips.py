"""Ten clips of ten seconds from ten jobs at once, and sixty.

The bare engine takes them one after the other. The API has to answer its health check throughout.
"""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Self

import httpx

from hearsight.stack.ports import free_port
from tests.benchmarks.goals import Goal, at_most, exactly
from tests.benchmarks.recognition import audio, bare
from tests.benchmarks.recognition.busy import Watch
from tests.benchmarks.stand import Stand, Used
from tests.client import Client
from tests.servers.api import Api

ROUNDS = {10: 3, 60: 1}
"""How many clips at once, and how often they are."""
SECONDS = 10
WANTED = 0.5

PROBE_EVERY_S = 0.1
PROBE_TIMEOUT_S = 1.0
"""A load balancer gives a health check about a second."""


class _Probe:
    """Asks the API's health check all the time, as a load balancer does."""

    def __init__(self, server: Api) -> None:
        self._url = server.url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe")
        self.waits_s: list[float] = []
        self.unanswered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
            while not self._ended.wait(PROBE_EVERY_S):
                asked = time.perf_counter()
                try:
                    is_well = client.get("/healthz").is_success
                except httpx.TransportError:
                    is_well = False
                self.unanswered += not is_well
                self.waits_s.append(time.perf_counter() - asked)


def _all_at_once(server: Api, paths: Sequence[Path]) -> float:
    """Seconds from the first byte sent to the last job's end."""
    ready = threading.Barrier(len(paths) + 1)

    def one(path: Path) -> dict[str, object]:
        with server.client() as http:
            client = Client(http)
            ready.wait()
            return client.outcome(client.upload(path))

    with ThreadPoolExecutor(len(paths)) as people:
        results = [people.submit(one, path) for path in paths]
        ready.wait()
        began = time.perf_counter()
        ends = [result.result() for result in results]
        took_s = time.perf_counter() - began
    assert all(end["status"] == "completed" for end in ends), ends
    return took_s


def measure(stand: Stand) -> Iterator[Goal]:
    """Takes turns: bare, whole path."""
    library, port = bare.model(), free_port()
    with (
        stand.apis(HEARSIGHT_MAX_UPLOADS=str(max(ROUNDS))) as [server],
        stand.workers(1, "hearsight_download_worker"),
        stand.workers(1, "hearsight_asr_worker", HEARSIGHT_METRICS_PORT=str(port)),
    ):
        [first] = audio.clips(stand.folder, 1, SECONDS, seed=1)
        bare.seconds(library, first)
        _all_at_once(server, [first])
        for count, rounds in ROUNDS.items():
            alone_s, whole_s = [], []
            # Of ten, too few have to wait, and for too short a time.
            watch = Watch(stand, port) if count == max(ROUNDS) else None
            with _Probe(server) as probe:
                for number in range(rounds):
                    paths = audio.clips(stand.folder, count, SECONDS, seed=count + number)
                    alone_s.append(sum(bare.seconds(library, path) for path in paths))
                    used = Used([server])
                    with watch.running() if watch else nullcontext():
                        whole_s.append(_all_at_once(server, paths))
                    cost = used.told(count)
            yield at_most(
                f"{count} clips of {SECONDS} s uploaded at once, against bare one after another",
                WANTED,
                statistics.median(w / a for w, a in zip(whole_s, alone_s, strict=True)),
                "times",
                remark=f" ({statistics.median(whole_s):.1f} s,"
                f" {statistics.median(alone_s):.1f} s); {cost}",
            )
            yield exactly(
                "health checks without an answer meanwhile",
                0,
                probe.unanswered,
                "checks",
                remark=f" of {len(probe.waits_s)}, the slowest {max(probe.waits_s) * 1000:.0f} ms",
            )
            if watch:
                yield watch.goal()
