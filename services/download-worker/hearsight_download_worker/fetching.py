"""Fetches a medium in a child process, where no source can stop or exhaust the worker.

See `fetcher.py` for what the child is allowed and how it speaks.
"""

import json
import logging
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from hearsight_core.addresses import AddressGuard
from hearsight_core.errors import (
    HearSightError,
    TimedOutError,
    UnexpectedError,
    UnsupportedError,
    WorkerLostError,
)
from hearsight_download_worker.child import Child, Heard
from hearsight_download_worker.fetch import Fetched, FetchLimits, FetchProgress
from hearsight_download_worker.fetcher import Order
from hearsight_download_worker.fetchers import Fetchers

PATIENCE_CPU_S: Final = 60

_GRACE_S: Final = 30
"""How much longer than its time a fetch is waited for: it ends by itself, unless it hangs."""

_MAX_DETAIL_CHARS: Final = 300

logger = logging.getLogger("hearsight_download_worker.fetch")


def fetch_apart(
    url: str,
    folder: Path,
    *,
    fetchers: Fetchers,
    guard: AddressGuard,
    limits: FetchLimits,
    memory_mib: int,
    patience_cpu_s: int = PATIENCE_CPU_S,
    language: str | None = None,
    on_progress: Callable[[FetchProgress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Fetched:
    """As `fetch.fetch`, in a child that ends with the call.

    Args:
        url: As `fetch` takes it.
        folder: As `fetch` takes it.
        fetchers: Begins the child.
        guard: As `fetch` takes it; the hosts it allows are handed on.
        limits: As `fetch` takes them.
        memory_mib: Memory the child may use, MiB.
        patience_cpu_s: CPU time it may use from one step on the network to the next.
        language: As `fetch` takes it.
        on_progress: As `fetch` takes it.
        check: Called at least each half second; it raises to stop.

    Raises:
        UnsupportedError: as `fetch`; or the source made it take too much memory or CPU time, or
            ended it.
        WorkerLostError: it was killed from outside.
        HearSightError: any other that `fetch` raises.
    """
    order = Order(
        url=guard.check_url(url),
        folder=str(folder),
        allow_hosts=guard.allow_hosts,
        limits=limits,
        language=language,
        memory_mib=memory_mib,
        patience_cpu_s=patience_cpu_s,
        verbose=logger.isEnabledFor(logging.DEBUG),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as words, fetchers.fetching(words) as process:
        assert process.stdin is not None  # noqa: S101  it was asked for
        with suppress(BrokenPipeError):  # one that has ended is asked why like any other
            process.stdin.write(order.written())
        return _Fetch(process, words, order, check).result(on_progress)


@dataclass
class _Fetch:
    """A fetch while it lasts."""

    process: Child
    words: IO[bytes]
    order: Order
    check: Callable[[], None]

    def result(self, on_progress: Callable[[FetchProgress], None]) -> Fetched:
        """What was fetched; passes on what is told meanwhile."""
        deadline = time.monotonic() + self.order.limits.timeout_s + _GRACE_S

        def check() -> None:
            self.check()
            if time.monotonic() > deadline:
                raise TimedOutError(host=urlsplit(self.order.url).hostname or "")

        heard = Heard(self.process, check)
        while (line := heard.line()) is not None:
            said: dict[str, Any] = json.loads(line)
            if "progress" in said:
                check()
                on_progress(FetchProgress(**said["progress"]))
            elif "said" in said:
                logger.debug(said["said"])
            elif "error" in said:
                raise _error(said["error"])
            else:
                return Fetched(**{**said["fetched"], "path": Path(said["fetched"]["path"])})
        raise self._failure()

    def _failure(self) -> HearSightError:
        """Why it ended without a word."""
        try:
            code = self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return UnexpectedError(detail="its fetch lives and says nothing that makes sense")
        if code == -signal.SIGXCPU:
            return UnsupportedError(detail="it takes too long to be understood")
        if code == -signal.SIGKILL:
            # No source does this; the kernel does when memory is short, or a person.
            return WorkerLostError(detail="its fetch was killed")
        if code < 0:
            return UnsupportedError(detail=f"it ended its fetch with {signal.Signals(-code).name}")
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        detail = lines[-1] if lines else f"its fetch ended with the code {code}"
        return UnexpectedError(detail=detail[:_MAX_DETAIL_CHARS])


def _error(told: dict[str, Any]) -> HearSightError:
    """The error that the child raised."""
    kinds = {kind.__name__: kind for kind in HearSightError.kinds()}
    return kinds[told["kind"]](detail=told["detail"], **told["values"])
