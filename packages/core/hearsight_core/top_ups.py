"""Sends the hints that are due on behalf of whoever made work: one look for all who ask at once.

A look costs more than storing a job does. Many jobs that come together need one look after the last
of them, not one each.
"""

import threading
import time
from collections.abc import Iterable

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.errors import DatabaseError
from hearsight_core.jobs import Priority

log = structlog.get_logger(__name__)

REST_S = 0.02
"""Pause after a look: who asks meanwhile shares the next. It is short for a worker, which has a
hint waiting for each of its slots, and long against the time that a look takes."""


class TopUps:
    """The thread that tops up queues when it is asked to."""

    def __init__(self, hints: HintSender) -> None:
        self._hints = hints
        self._asked: dict[str, bool] = {}
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="top-ups", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after what was asked for is sent."""
        self._ended = True
        self._wake.set()
        self._thread.join()

    def ask(self, queues: Iterable[str], priority: Priority = "normal") -> None:
        """Has the hints sent that are due by now on these queues; waits for nothing.

        `priority` is that of who asks: where it is high, hints that nobody has taken yet are
        recalled, since what they are for may come later.
        """
        with self._guard:
            for queue in queues:
                self._asked[queue] = self._asked.get(queue, False) or priority == "high"
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            # Cleared before the queues are read: who asks after that is heard in the next turn.
            self._wake.clear()
            with self._guard:
                asked, self._asked = self._asked, {}
            for queue, anew in asked.items():
                try:
                    self._hints.top_up(queue, anew=anew)
                except DatabaseError as error:
                    # The jobs are stored; only their hints are late.
                    log.warning("hints are left to the dispatcher", error=str(error))
                except Exception:
                    # The thread must outlive whatever one look met; it is told, and repaired.
                    log.exception("a top-up met something nobody foresaw")
            if self._ended and not self._asked:
                return
            time.sleep(REST_S)
