"""The right to work on a task, as the work sees it: ask before every step that could take long."""

import threading
from typing import Protocol

from hearsight_core.contract import TERMINAL
from hearsight_core.errors import Cancelled, Draining, LeaseLost
from hearsight_core.jobs import Job, Part, Task
from hearsight_core.store.leases import Claim


class Holder(Protocol):
    """The process that holds leases, as far as its leases need to know it."""

    lease_s: float
    draining: threading.Event

    def heartbeat_age_s(self) -> float:
        """Seconds since a heartbeat last came through."""
        ...


class Lease:
    """The right to work on a task, until `check` says otherwise."""

    def __init__(self, claim: Claim, holder: Holder) -> None:
        self.task: Task = claim.task
        self.job: Job = claim.job
        self.part: Part | None = claim.part
        self.trace_parent: str | None = None
        """The span of this attempt: what it asks others to do is told below it."""
        self._holder = holder
        self._stop = threading.Event()
        self._give_way = threading.Event()
        self._lost = threading.Event()

    def check(self) -> None:
        """A checkpoint: call it between any two steps that could take long.

        Raises:
            Draining: this process is about to end, or another task needs it for itself.
            LeaseLost, Cancelled: as `check_held`.
        """
        if not self.goes_on():
            raise Draining

    def goes_on(self) -> bool:
        """As `check`, for work that has its own way to end: False where that says Draining."""
        self.check_held()
        return not (self._holder.draining.is_set() or self._give_way.is_set())

    def check_held(self) -> None:
        """A checkpoint that a drain passes, for work that is done and only has to be stored.

        Raises:
            LeaseLost: another worker owns the task, or heartbeats have not come through for so long
                that one may.
            Cancelled: the job is to stop.
        """
        if self._lost.is_set() or self._holder.heartbeat_age_s() > self._holder.lease_s:
            raise LeaseLost
        if self._stop.is_set():
            raise Cancelled

    def saw(self, job: Job) -> None:
        """Notes what a write brought back of the job: quicker than the next heartbeat."""
        if job.cancel_requested or job.status in TERMINAL:
            self.stop()

    def lose(self) -> None:
        """Notes that the heartbeat found the task in other hands."""
        self._lost.set()

    def give_way(self) -> None:
        """Notes that the task has to go back to the queue, as in a drain."""
        self._give_way.set()

    def stop(self) -> None:
        """Notes that the heartbeat found the job cancelled, failed or deleted."""
        self._stop.set()
