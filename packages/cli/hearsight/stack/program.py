"""A program of the stack: how to start it, when it is ready, how to stop it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hearsight.stack.system_user import SystemUser

POLL_S = 0.05
"""Pause between two looks at something that is about to happen."""


@dataclass(frozen=True)
class Program:
    """One program of the stack."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    """Whether it does its work now; called from any thread, never raises."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Its whole environment."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks it to finish; also sent by the kernel when the stack dies."""
    stop_timeout_s: float = 25
    """How long it may take to finish before it is killed."""
    user: SystemUser | None = None
    """The user it runs as; None: the present one."""
    folder: Path | None = None
    """Its working folder; None: the present one."""

    def command(self) -> list[str]:
        """What to run from the main thread of this process, which becomes its parent."""
        return [
            *(sys.executable, "-P", "-m", "hearsight.stack.child"),
            *("--parent", str(os.getpid()), "--death-signal", str(int(self.stop_signal))),
            *(("--uid", str(self.user.uid), "--gid", str(self.user.gid)) if self.user else ()),
            "--",
            *self.argv,
        ]


class StartError(Exception):
    """A program of the stack did not come up; the message holds its last words."""


@contextmanager
def running(program: Program, log: Path, *, timeout_s: float = 60) -> Iterator[int]:
    """Runs `program` alone, for the length of the block, its output in the file `log`.

    Yields:
        Its process id.

    Raises:
        StartError: it ended, or was not ready within `timeout_s`.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command(),
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_ready(program, process, log, timeout_s)
        yield process.pid
    finally:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(
    program: Program, process: "subprocess.Popen[bytes]", log: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not program.ready():
        code = process.poll()
        if code is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            continue
        tail = log.read_text(errors="replace")[-2000:]
        what = "was not ready in time" if code is None else f"ended with code {code}"
        raise StartError(f"{program.name} {what}:\n{tail}")
