"""How much of the time the engine's streams have a batch in work while parts wait for them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.goals import Goal, at_least, told
from tests.benchmarks.stand import Stand
from tests.servers import metrics
from tests.store import rows

LOOK_S = 0.25
WANTED = 97


@dataclass(frozen=True)
class _Look:
    at_s: float
    busy_s: float
    waiting: int


class Watch:
    """Looks again and again at the queue and at the worker that metrics `port` belongs to."""

    def __init__(self, stand: Stand, port: int) -> None:
        self._stand = stand
        self._port = port
        self._looks: list[_Look] = []
        self._streams = 0.0
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """It looks while the block runs."""
        # Now: the goal may be asked for when the worker has ended.
        [self._streams] = metrics.values(self._port, "hearsight_device_streams")
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def goal(self) -> Goal:
        """The share of the time while parts waited that the streams were at work, on average."""
        what = "streams of the engine at work while parts wait"
        waited_s = sum(later.at_s - one.at_s for one, later in self._while_parts_wait())
        if not waited_s:
            return told(what, "no part had to wait")
        busy_s = sum(later.busy_s - one.busy_s for one, later in self._while_parts_wait())
        share = 100 * busy_s / self._streams / waited_s
        return at_least(what, WANTED, share, "%", remark=f" of {waited_s:.1f} s", digits=1)

    def _while_parts_wait(self) -> list[tuple[_Look, _Look]]:
        return [
            (one, later)
            for one, later in zip(self._looks, self._looks[1:], strict=False)
            if one.waiting and later.waiting
        ]

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            [found] = rows(
                self._stand.database,
                "SELECT count(*) AS count FROM tasks"
                " WHERE kind = 'transcribe' AND state = 'waiting'",
            )
            began = time.perf_counter()
            [busy_s] = metrics.values(self._port, "hearsight_device_busy_seconds_total")
            at_s = (began + time.perf_counter()) / 2
            self._looks.append(_Look(at_s, busy_s, int(str(found["count"]))))
