"""Fetches one medium, in a process of its own.

Forked for it (`forker.py`), or started: `python -m hearsight_download_worker.fetcher`.

What a source answers can bring yt-dlp to a standstill (its patterns take hours over a page of a
megabyte that is made for it) or to all memory (a manifest that unfolds to gigabytes). Python's
pattern matching lets no other thread run meanwhile: in the worker itself, that would stop its
heartbeats and every other task of it. So it runs here, with nothing of the worker's environment,
and with limits on memory and on CPU time: one from a step on the network to the next, and one for
all. The programs it starts (deno, for YouTube) are held to the same.

Standard input is one line of JSON, see `Order`, and stays open: when it closes, whoever asked is
gone. Standard output is a line of JSON for all there is to tell: `{"progress": FetchProgress}`,
`{"said": text}` (yt-dlp's own words, if asked for), and as the last one `{"fetched": Fetched}` or
`{"error": {"kind": name of the class, "detail": text, "values": {...}}}`.
"""

import json
import logging
import os
import resource
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hearsight_core.addresses import AddressGuard
from hearsight_core.errors import HearSightError, RequestError
from hearsight_download_worker.fetch import FetchLimits, fetch

_LEAST_CPU_S: Final = 900
_SLOWEST_BYTES_PER_S: Final = 4 * 1024 * 1024
"""CPU time of a whole fetch: this, and what its largest download takes at this pace."""

_LOOK_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to fetch, from where, into which folder, and what it may take.

    `patience_cpu_s` is the CPU time from one step on the network to the next; real pages take a
    second.
    """

    url: str
    folder: str
    allow_hosts: tuple[str, ...]
    limits: FetchLimits
    language: str | None
    memory_mib: int
    patience_cpu_s: int
    verbose: bool

    @classmethod
    def read(cls, line: bytes) -> "Order":
        """The order that `written` wrote."""
        told = json.loads(line)
        return cls(**{**told, "limits": FetchLimits(**told["limits"])})

    def written(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def run() -> int:
    """As `main`, and ends without a word if nobody listens."""
    try:
        return main()
    except BrokenPipeError:
        return 1


def main() -> int:
    """Fetches what standard input orders; returns the exit code."""
    # Ctrl-C goes to everybody at the terminal; when this one has to end, the worker says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints must not be taken for what we say.
    out = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)
    with open(0, "rb", buffering=0, closefd=False) as orders:
        order = Order.read(orders.readline())

    def tell(**said: object) -> None:
        out.write(json.dumps(said) + "\n")

    if order.verbose:
        _tell_words(tell)
    check = Confined(order)
    try:
        fetched = fetch(
            order.url,
            Path(order.folder),
            guard=AddressGuard(order.allow_hosts),
            limits=order.limits,
            language=order.language,
            on_progress=lambda progress: tell(progress=asdict(progress)),
            check=check,
        )
    except HearSightError as error:
        tell(error=_told(error))
    else:
        tell(fetched={**asdict(fetched), "path": str(fetched.path)})
    return 0


class Confined:
    """Limits this process; called at every step, it renews its CPU time and looks for its end.

    What libraries and programs write for themselves goes into the order's folder, and there they
    look for a home.
    """

    def __init__(self, order: Order) -> None:
        os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "DENO_DIR"), order.folder))
        memory = order.memory_mib * 1024 * 1024
        # Not the address space, of which deno reserves more than any machine has.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._patience_cpu_s = order.patience_cpu_s
        self._cpu_s = _LEAST_CPU_S + order.limits.max_bytes // _SLOWEST_BYTES_PER_S
        self._hangup = select.poll()
        self._hangup.register(0, select.POLLHUP)
        self._due = 0.0
        self()

    def __call__(self) -> None:
        """Ends this process if nobody waits for it; else gives it new CPU time."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_S
        if self._hangup.poll(0):
            os._exit(1)  # nobody waits for it any more
        used_s = int(time.process_time())
        # At the soft limit comes SIGXCPU, at the hard one SIGKILL, which would look like a kill
        # from outside.
        soft_s = min(used_s + self._patience_cpu_s, self._cpu_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft_s, self._cpu_s + 5))


def _told(error: HearSightError) -> dict[str, Any]:
    values = dict(error.values)
    if isinstance(error, RequestError):
        values["field"] = error.field
    return {"kind": type(error).__name__, "detail": error.detail, "values": values}


def _tell_words(tell: Any) -> None:  # noqa: ANN401  a function with any keyword
    class Words(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(said=record.getMessage())

    log = logging.getLogger("hearsight_download_worker.fetch")
    log.addHandler(Words())
    log.setLevel(logging.DEBUG)
    log.propagate = False


if __name__ == "__main__":
    code = run()
    sys.stderr.flush()
    os._exit(code)  # at once: there is nothing to tidy, and threads may still wait for a host
