"""The people of a round: they keep so many jobs of mixed kinds running, and watch some of them."""

import random
import threading
import time

from hearsight_core.contract import TERMINAL, JobStatus
from tests.chaos.jobs import GARBAGE, LONG, PATIENCE_S, SHORT, Asking
from tests.chaos.processes import until
from tests.chaos.wanted import Wanted
from tests.chaos.watching import Watcher
from tests.chaos.world import World

MORE = 3
"""How many more are kept open: a few end while the next are asked for."""
LOOK_S = 0.2
WATCHED_SHARE = 0.5
WATCHED_S = 60.0

REFUSED = "refused"
"""Takes all its tries, one after the other: asked for later than the first twenty, it would be
what a round waits for in the end."""
KINDS = (
    *("short",) * 5,
    *("short upload",) * 4,
    *("long",) * 2,
    *("long upload",) * 1,
    *("missing", "missing", REFUSED, "garbage"),
    *("cancelled", "cancelled"),
    *("retried", "cancelled and retried"),
)
LATER_KINDS = tuple(kind for kind in KINDS if kind != REFUSED)


class People:
    """Those who ask for jobs, cancel some and retry some, whatever happens meanwhile.

    When a job has ended, somebody asks for another, until there are `enough`.
    """

    def __init__(self, world: World, seed: int, first_id: int, at_least: int) -> None:
        self._world = world
        self._seed = seed
        self._first_id = first_id
        self._at_least = at_least
        self._chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
        self._kinds = self._chance.sample(KINDS, len(KINDS))
        self._enough = threading.Event()
        self._gatherer = threading.Thread(target=self._gather, name="people")
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self.jobs: list[Wanted] = []
        self.watchers: list[Watcher] = []

    def start(self) -> None:
        """They begin to ask."""
        self._gatherer.start()

    def await_crowd(self) -> None:
        """Waits until at least so many jobs are accepted and have not ended."""
        until(
            lambda: bool(self.errors) or self._known(ended=False) >= self._at_least,
            PATIENCE_S,
            lambda: f"{self._known(ended=False)} jobs of {len(self.jobs)} run",
        )

    def enough(self) -> None:
        """Nobody comes any more; waits until all who are here have what they asked for.

        Raises:
            AssertionError: one was refused, or not answered in time.
        """
        self._enough.set()
        self._gatherer.join()
        for thread in self._threads:
            thread.join()
        for error in self.errors:
            raise error

    def see_the_end(self) -> None:
        """Waits until the watchers have come to the end of their jobs' events."""
        for watcher in self.watchers:
            watcher.join(WATCHED_S)

    def go(self) -> None:
        """Nobody watches any more, wherever the jobs stand."""
        for watcher in self.watchers:
            watcher.give_up()

    def _gather(self) -> None:
        try:
            while not self._enough.is_set():
                open_jobs = len(self.jobs) - self._known(ended=True)
                for _ in range(self._at_least + MORE - open_jobs):
                    self._come()
                self._enough.wait(LOOK_S)
        except Exception as error:  # noqa: BLE001  `enough` raises it
            self.errors.append(error)

    def _known(self, *, ended: bool) -> int:
        """How many of the accepted jobs have ended, or have not."""
        [found] = self._world.rows(
            "SELECT count(*) AS jobs FROM jobs"
            " WHERE id = ANY(:ids) AND (status = ANY(:terminal)) = :ended",
            ids=[job.job_id for job in self.jobs],
            terminal=[status.value for status in TERMINAL],
            ended=ended,
        )
        return int(str(found["jobs"]))

    def _come(self) -> None:
        """One more, somebody who watches perhaps with them."""
        if not self._kinds:
            self._kinds = self._chance.sample(LATER_KINDS, len(LATER_KINDS))
        job = self._wanted(self._kinds.pop())
        self.jobs.append(job)
        watched = job.has_text and "retried" not in job.kind
        if watched and self._chance.random() < WATCHED_SHARE:
            self.watchers.append(Watcher(self._world, job.job_id))
            self.watchers[-1].start()
        pause_s = self._chance.uniform(0, 1)
        self._threads.append(threading.Thread(target=self._act, args=(job, pause_s)))
        self._threads[-1].start()

    def _wanted(self, kind: str) -> Wanted:
        medium = self._chance.choice(LONG if "long" in kind or "cancelled" in kind else SHORT)
        may_be = {
            "missing": {JobStatus.FAILED},
            REFUSED: {JobStatus.FAILED},
            "garbage": {JobStatus.FAILED},
            "cancelled": {JobStatus.CANCELLED, JobStatus.COMPLETED},
        }.get(kind, {JobStatus.COMPLETED})
        return Wanted(self._first_id + len(self.jobs), kind, medium, frozenset(may_be))

    def _act(self, job: Wanted, pause_s: float) -> None:
        try:
            time.sleep(pause_s)
            self._ask_for(job)
        except Exception as error:  # noqa: BLE001  `join` raises it
            self.errors.append(error)

    def _ask_for(self, job: Wanted) -> None:
        ask = Asking(self._world, job.job_id)
        late = self._world.media_folder / f"late-{job.job_id}.wav"
        url = {
            "missing": "/plain/nothing.wav",
            REFUSED: "/status/503",
            "garbage": f"/plain/{GARBAGE}",
            "retried": f"/plain/{late.name}",
        }.get(job.kind, f"/slow/{job.medium}?rate=400000")
        if "upload" in job.kind:
            ask.upload(self._world.media_folder / job.medium)
        else:
            ask.submit(self._world.media.url(url))
        if "cancelled" in job.kind:
            chance = random.Random(self._seed + job.job_id)  # noqa: S311  as above
            time.sleep(chance.uniform(0.3, 5))
            ask.cancel()
        if "retried" in job.kind:
            status = ask.outcome()
            late.hardlink_to(self._world.media_folder / job.medium)
            if status is not JobStatus.COMPLETED:
                ask.retry()
