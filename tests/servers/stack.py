"""The real local stack, as `hearsight up` runs it, on free ports and in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hearsight.stack.home import Home, State
from hearsight.stack.plan import WORKERS, answers_well
from hearsight.stack.ports import HOST, free_port
from tests.client import Client
from tests.servers import metrics

START_S = 120
STOP_S = 60


@dataclass(frozen=True)
class Stack(Client):
    """A running stack, and a client of its API."""

    home: Home
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def state(self) -> State:
        """What the stack tells of itself right now."""
        state = self.home.state()
        assert state is not None, self.log.read_text()
        return state

    def pid(self, name: str) -> int:
        """The process id of one of its programs, waiting for it if it is just being started."""
        deadline = time.monotonic() + START_S
        while name not in self.state.pids:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return self.state.pids[name]

    def kill(self, name: str) -> int:
        """Ends one of its programs with SIGKILL; returns the pid it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def metric(self, series: str, /, **labels: str) -> float:
        """What all processes say of a series, added up."""
        programs = ("api metrics", "download", "asr")
        return sum(
            value
            for program in programs
            for value in metrics.values(self.state.ports[program], series, **labels)
        )

    def until(self, true: Callable[[], bool], *, within_s: float = START_S) -> None:
        """Waits until it is so; fails with the stack's log if that does not come."""
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def await_worker(self, name: str) -> None:
        """Waits until a worker is ready."""
        url = f"http://{HOST}:{self.state.ports[name]}/readyz"
        self.until(lambda: answers_well(url))

    def await_api(self) -> None:
        """Waits until the API is ready (again)."""
        self.until(lambda: answers_well(f"{self.state.url}/readyz"))


@contextmanager
def running_stack(home: Path, **environment: str) -> Iterator[Stack]:
    """Runs `hearsight up` with these variables on top, and stops it as Ctrl-C does."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "stack.log"
    with log.open("ab") as output:
        said_before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "hearsight", "up", "--no-sample"],
            env={
                **os.environ,
                "HEARSIGHT_HOME": str(home),
                "HEARSIGHT_PORT": str(free_port()),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while b"HearSight is up" not in log.read_bytes()[said_before:]:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        state = Home(home).state()
        assert state is not None
        with httpx.Client(base_url=state.url, timeout=30, trust_env=False) as http:
            stack = Stack(http, Home(home), process, log)
            for worker in WORKERS:
                stack.await_worker(worker)
            yield stack
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
