"""Who works in a process: as many tasks as it has slots, or one alone.

A process that died says nothing of which of its tasks was to blame. So a task whose earlier
attempts ended with their process has its last try alone: if the process dies again, it was this
one, and no other task is given up for it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hearsight_core.errors import Draining
from hearsight_core.lease import Lease

LOOK_S = 0.25
"""How often one who waits looks whether it still should."""


class Room:
    """The tasks that this process is about to claim, and those that it holds."""

    def __init__(self, draining: threading.Event) -> None:
        self._draining = draining
        self._changed = threading.Condition()
        self._inside = 0
        self._leases: dict[str, Lease] = {}
        self._alone: Lease | None = None

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """A place for the length of the block, once nobody has the room alone; claim inside.

        False if the process drains: there is nothing to come in for.
        """
        with self._changed:
            while self._alone is not None and not self._draining.is_set():
                self._changed.wait(LOOK_S)
            self._inside += 1
        try:
            yield not self._draining.is_set()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def held(self, lease: Lease) -> Iterator[None]:
        """The lease of whoever came in, for the length of the block."""
        with self._changed:
            self._leases[lease.task.id] = lease
            if self._alone is not None:
                lease.give_way()
        try:
            yield
        finally:
            with self._changed:
                del self._leases[lease.task.id]
                if self._alone is lease:
                    self._alone = None
                self._changed.notify_all()

    def clear_for(self, lease: Lease) -> None:
        """Lets nobody in until `lease` is done, and waits until all others have given way.

        Those store what they have and go back to the queue, as in a drain.

        Raises:
            Draining: the process ends, or another has the room. LeaseLost, Cancelled: the lease.
        """
        with self._changed:
            if self._alone is not None:
                raise Draining
            self._alone = lease
            for other in self._leases.values():
                if other is not lease:
                    other.give_way()
            while self._inside > 1:
                self._changed.wait(LOOK_S)
                lease.check()

    def leases(self) -> dict[str, Lease]:
        """What is held now, by the task's id."""
        with self._changed:
            return dict(self._leases)
