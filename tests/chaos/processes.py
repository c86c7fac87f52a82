"""Processes under the driver's own control: started, killed, stopped, continued, started again.

One thread starts them all: the kernel ends a child when the thread that started it has ended, and
that is how none outlives the driver.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from hearsight.stack.program import Program

POLL_S = 0.02
START_S = 90
LAST_WORDS = 4000


class Process:
    """One program, whichever process it is at the moment."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self.wanted = True
        self.starts = 0
        self.codes: list[int] = []
        self.memory_mib: int | None = None
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        running = self._running
        return running.pid if running is not None and running.poll() is None else None

    def signal(self, what: signal.Signals) -> int | None:
        """Sends a signal; returns the process id that got it, None if there was none."""
        running = self._running
        if running is None or running.poll() is not None:
            return None
        running.send_signal(what)
        return running.pid

    def kill(self) -> int | None:
        """SIGKILL."""
        return self.signal(signal.SIGKILL)

    def await_ready(self, timeout_s: float = START_S) -> None:
        """Waits until it does its work.

        Raises:
            AssertionError: it does not, in time.
        """
        deadline = time.monotonic() + timeout_s
        while self.pid is None or not self.program.ready():
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.last_words()}"
            time.sleep(POLL_S)

    def last_words(self) -> str:
        """The end of what it has printed."""
        return self.log.read_text(errors="replace")[-LAST_WORDS:] if self.log.exists() else ""

    def tend(self) -> None:
        """Starts it if it should run and does not; called by the keeper alone."""
        running = self._running
        if running is not None:
            code = running.poll()
            if code is None:
                self._limit_memory(running)
                return
            self.codes.append(code)
            self._running = None
        if self.wanted:
            self._start()

    def _limit_memory(self, running: "subprocess.Popen[bytes]") -> None:
        """Kills it when it takes more memory than it may, as the kernel does in a container."""
        if self.memory_mib is None:
            return
        try:
            pages = int(Path(f"/proc/{running.pid}/statm").read_text("ascii").split()[1])
        except (OSError, IndexError):
            return  # it ends at this moment
        if pages * os.sysconf("SC_PAGE_SIZE") > self.memory_mib * 1024 * 1024:
            running.kill()

    def _start(self) -> None:
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self.program.command(),
                env=dict(self.program.environment),
                cwd=self.program.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def collect(self, timeout_s: float) -> None:
        """Waits for its end, and ends it if it takes too long."""
        running = self._running
        if running is None:
            return
        try:
            running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()

    def children(self) -> list[int]:
        """The process ids of its children, now."""
        pid = self.pid
        if pid is None:
            return []
        try:
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
            threads = Path(f"/proc/{pid}/task").iterdir()
            for thread in threads:
                found += (thread / "children").read_text("ascii").split()
        except OSError:
            return []
        return sorted({int(child) for child in found})


class Keeper:
    """Starts processes, and starts again what died, as any supervisor does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Process] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        kept = list(self._kept.values())
        for process in reversed(kept):
            process.wanted = False
            process.signal(signal.SIGCONT)
            process.signal(process.program.stop_signal)
            process.collect(5)
        self._ended.set()
        self._thread.join()

    def keep(self, program: Program) -> Process:
        """Starts a program and keeps it running."""
        process = Process(program, self._folder / f"{program.name}.log")
        self._kept[program.name] = process
        return process

    def _keep(self) -> None:
        while not self._ended.wait(POLL_S):
            for process in list(self._kept.values()):
                process.tend()


def until(reached: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
    """Waits until something is so.

    Raises:
        AssertionError: it is not, in time; `what` tells more.
    """
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, what()
        time.sleep(POLL_S * 5)


def exists(pid: int) -> bool:
    """Whether a process id is taken."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
