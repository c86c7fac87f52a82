"""A client of the API, as tests use it: jobs in, events and transcripts out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from httpx_sse import connect_sse


@dataclass(frozen=True)
class Client:
    """Speaks to the API that `http` has as its base address.

    `always` are options of every job that does not say otherwise: as they are, each job is
    recognised, and not taken from an earlier one of the same sound.
    """

    http: httpx.Client
    always: Mapping[str, object] = field(default_factory=lambda: {"reuse": False}, kw_only=True)

    def submit(self, url: str, **options: object) -> int:
        """Submits a URL; returns the job's number."""
        wanted = {"url": url, **self.always, **options}
        answer = self.http.post("/api/tasks/process", json=wanted)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return int(answer.json()["job_id"])

    def upload(self, path: Path, **options: object) -> int:
        """Uploads a file; returns the job's number."""
        wanted = {**self.always, **options}
        with path.open("rb") as file:
            answer = self.http.post(
                "/api/upload",
                data={
                    name: str(value).lower() if isinstance(value, bool) else str(value)
                    for name, value in wanted.items()
                },
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
