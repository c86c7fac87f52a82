"""Ends a process whose work hangs where no checkpoint is reached, such as on a device."""

import faulthandler
import sys
import threading
import traceback
from collections.abc import Callable

import structlog

from hearsight_core.errors import EngineHungError, HearSightError

log = structlog.get_logger(__name__)

LOOK_S = 5.0
LOOKS = 4
"""It looks this often within the limit at least."""


class Watchdog:
    """Looks how long the step in work has taken, and ends the process if that is too long.

    `busy_s` tells the seconds since the oldest step in work was begun, 0 if there is none; no step
    may take longer than `limit_s`.
    """

    def __init__(self, busy_s: Callable[[], float], limit_s: float) -> None:
        self._busy_s = busy_s
        self._limit_s = limit_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, abandon: Callable[[HearSightError], object]) -> None:
        """Begins to look; `abandon` is how the process is ended."""
        self._thread = threading.Thread(
            target=self._watch, args=(abandon,), name="watchdog", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()

    def healthy(self) -> str | None:
        """Liveness: no step takes longer than it may."""
        if self._busy_s() > self._limit_s:
            return f"the engine has not come back for {self._busy_s():.0f} s"
        return None

    def _watch(self, abandon: Callable[[HearSightError], object]) -> None:
        look_s = min(LOOK_S, self._limit_s / LOOKS)
        while True:
            # A library that hangs with Python's lock in its hands stops this thread as well. The
            # timer below is set anew with every look, and needs no lock to end the process.
            faulthandler.dump_traceback_later(self._limit_s + 2 * LOOK_S, exit=True)
            if self._ended.wait(look_s):
                return
            if (busy_s := self._busy_s()) > self._limit_s:
                log.critical(
                    "the engine hangs; this process ends, so that a new one can go on",
                    busy_s=round(busy_s),
                    limit_s=self._limit_s,
                    threads=stacks(),
                )
                abandon(EngineHungError(detail=f"no answer for {busy_s:.0f} s"))
                return


def stacks() -> str:
    """Where every thread of this process is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001  CPython's own and documented way
    return "\n".join(
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in frames.items()
    )
