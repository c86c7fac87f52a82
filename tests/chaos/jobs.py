"""The recordings of every round, and how somebody asks for a job: until there is an answer.

Under a number of their own choice, so that asking twice is asking once.
"""

import io
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hearsight_core.contract import TERMINAL, JobStatus
from tests.chaos.processes import until
from tests.chaos.world import World
from tests.speech import joined, write_wav

SHORT = ("short-0.wav", "short-1.wav", "short-2.wav")
LONG = ("long-0.wav", "long-1.wav")
GARBAGE = "garbage.wav"
SHORT_S, LONG_S = 7.0, 70.0

PATIENCE_S = 300.0
AGAIN_S = 0.2
UPLOAD_BLOCKS = 12


def make_media(folder: Path) -> None:
    """The recordings of every round: a few, so that an undisturbed run of each is soon had."""
    for number, name in enumerate(SHORT):
        write_wav(folder / name, joined(SHORT_S, seed=number).audio)
    for number, name in enumerate(LONG):
        write_wav(folder / name, joined(LONG_S, seed=10 + number).audio)
    noise = random.Random(1).randbytes(50_000)  # noqa: S311  any noise will do
    (folder / GARBAGE).write_bytes(b"RIFF\xff\xff\x00\x00WAVEfmt " + noise)


@dataclass
class Asking:
    """A person's requests about one job, repeated at one API after the other until one answers."""

    world: World
    job_id: int
    _turn: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._turn = iter(range(self.job_id, 10**9))

    def submit(self, url: str) -> None:
        """Asks for a URL to be transcribed, anew: a round has its recordings many times."""
        wanted = {"url": url, "job_id": self.job_id, "reuse": False}
        self._ask(lambda http: http.post("/api/tasks/process", json=wanted))

    def upload(self, path: Path) -> None:
        """Sends a file, slowly; it too is recognised anew."""
        content = path.read_bytes()

        def send(http: httpx.Client) -> httpx.Response:
            self.world.uploads.append(http.base_url)
            try:
                return http.post(
                    "/api/upload",
                    data={"job_id": str(self.job_id), "reuse": "false"},
                    files={"file": (path.name, _Slow(content))},
                )
            finally:
                self.world.uploads.remove(http.base_url)

        self._ask(send)

    def cancel(self) -> None:
        """Asks for the job to be stopped; 409: it has ended before."""
        self._ask(lambda http: http.post(f"/api/jobs/{self.job_id}/cancel"), 409)

    def delete(self) -> None:
        """Asks for all of it to be removed; 404: an earlier request of ours did it."""
        self._ask(lambda http: http.delete(f"/api/jobs/{self.job_id}"), 404)

    def retry(self) -> None:
        """Asks for another try; 409: an earlier request of ours did it, its answer was lost."""
        self._ask(lambda http: http.post(f"/api/jobs/{self.job_id}/retry"), 409)

    def outcome(self) -> JobStatus:
        """Waits for the end, as the database tells it."""
        until(
            lambda: status_of(self.world, self.job_id) in TERMINAL,
            PATIENCE_S,
            lambda: f"job {self.job_id} has not ended",
        )
        status = status_of(self.world, self.job_id)
        assert status is not None
        return status

    def _ask(self, request: Callable[[httpx.Client], httpx.Response], *well: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with self.world.client(next(self._turn)) as http:
                try:
                    answer = request(http)
                except httpx.TransportError:
                    answer = None
            if answer is not None and answer.status_code < 500:
                assert answer.is_success or answer.status_code in well, answer.text
                return
            time.sleep(AGAIN_S)
        raise AssertionError(f"nobody answered about job {self.job_id}")


class _Slow(io.BytesIO):
    """A file that comes over a slow line: about a second for all of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._block = max(1, len(content) // UPLOAD_BLOCKS)

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(1 / UPLOAD_BLOCKS)
        return super().read(self._block if size is None or size < 0 else min(size, self._block))


def status_of(world: World, job_id: int) -> JobStatus | None:
    """The job's status; None: there is no such job."""
    found = world.rows("SELECT status FROM jobs WHERE id = :id", id=job_id)
    return JobStatus(str(found[0]["status"])) if found else None
