"""The real local stack, as `hearsight up` runs it, on free ports and in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from httpx_sse import connect_sse

from hearsight.stack.home import Home, State
from hearsight.stack.plan import WORKERS, answers_well
from hearsight.stack.ports import HOST, free_port

START_S = 120
STOP_S = 60


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    home: Home
    process: "subprocess.Popen[bytes]"
    log: Path
    http: httpx.Client

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

    def await_worker(self, name: str) -> None:
        """Waits until a worker is ready."""
        url = f"http://{HOST}:{self.state.ports[name]}/readyz"
        deadline = time.monotonic() + START_S
        while not answers_well(url):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def await_api(self) -> None:
        """Waits until the API is ready (again)."""
        deadline = time.monotonic() + START_S
        while not answers_well(f"{self.state.url}/readyz"):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def submit(self, url: str, **options: object) -> int:
        """Submits a URL; returns the job's number."""
        answer = self.http.post("/api/tasks/process", json={"url": url, **options})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return int(answer.json()["job_id"])

    def upload(self, path: Path, **options: object) -> int:
        """Uploads a file; returns the job's number."""
        with path.open("rb") as file:
            answer = self.http.post(
                "/api/upload",
                data={name: str(value) for name, value in options.items()},
                files={"file": (path.name, file)},
            )
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return int(answer.json()["job_id"])

    def events(
        self, job_id: int, *, after: int = 0
    ) -> Iterator[tuple[str, int, dict[str, object]]]:
        """The job's events as (kind, id, data), until the terminal one."""
        with connect_sse(
            self.http,
            "GET",
            f"/api/progress/task/{job_id}/events",
            headers={"Last-Event-ID": str(after)},
            timeout=60,
        ) as source:
            for event in source.iter_sse():
                if event.data:  # a comment that keeps the connection alive has none
                    yield event.event, int(event.id), event.json()

    def outcome(self, job_id: int) -> dict[str, object]:
        """Follows the job to its end; returns the terminal event's ProgressData."""
        *_, (kind, _, last) = self.events(job_id)
        assert kind == "end", last
        return last

    def transcript(self, job_id: int) -> dict[str, object]:
        """The job's transcript as JSON."""
        answer = self.http.get(f"/api/jobs/{job_id}/transcript")
        assert answer.is_success, answer.text
        found: dict[str, object] = answer.json()
        return found


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
            stack = Stack(Home(home), process, log, http)
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
