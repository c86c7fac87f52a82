"""Many jobs at once, and the proof that each of them was done, once and as a whole."""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

import httpx

from hearsight_core.contract import TERMINAL, JobStatus
from tests.client import Client
from tests.cluster.outside import Outside
from tests.cluster.recordings import WORST_WORD_ERROR_RATE, Spoken, recordings
from tests.cluster.release import Release
from tests.cluster.waiting import eventually
from tests.speech import word_error_rate

JOBS = 12
END_S = 600.0
OUTAGE_S = 120.0
"""How long the API may be away while its only pod, or PostgreSQL's, is replaced."""


@dataclass(frozen=True)
class Load:
    """Jobs under way: which recording each of them has, by the job's number."""

    release: Release
    client: Client
    spoken: Mapping[int, Spoken]

    @classmethod
    def start(cls, release: Release, client: Client, outside: Outside, count: int = JOBS) -> "Load":
        """Submits `count` jobs, URLs and uploads by turns."""
        spoken = {}
        for number, recording in enumerate(islice(cycle(recordings()), count)):
            if number % 2:
                job_id = upload(client, recording)
            else:
                job_id = client.submit(outside.media_url(recording.name), language="en")
            spoken[job_id] = recording
        return cls(release, client, spoken)

    def await_recognition(self, segments: int = 1) -> None:
        """Waits until so many segments are stored, while at least half of the jobs are to do."""
        eventually(f"{segments} segments", lambda: self._segments() >= segments)
        unfinished = sum(status not in TERMINAL for status in self.statuses().values())
        assert unfinished >= len(self.spoken) / 2, "too late to disturb the work"

    def statuses(self) -> dict[int, str]:
        """How each job stands, as the API tells; an API that is away is asked again."""
        deadline = time.monotonic() + OUTAGE_S
        while True:
            try:
                answer = self.client.http.get("/api/jobs", params={"limit": 200})
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.is_success:
                jobs = answer.json()["jobs"]
                return {j["job_id"]: j["status"] for j in jobs if j["job_id"] in self.spoken}
            assert time.monotonic() < deadline, f"the API stays away: {answer and answer.text}"
            time.sleep(1)

    def assert_all_done_once(self) -> None:
        """Waits for the end of every job; each is completed, whole, and without a repetition."""
        eventually(
            "every job ends",
            lambda: all(status in TERMINAL for status in self.statuses().values()),
            limit_s=END_S,
            describe=lambda: f"{self.statuses()}\n{self.release.kubectl.describe()}",
        )
        assert Counter(self.statuses().values()) == {JobStatus.COMPLETED: len(self.spoken)}
        for job_id, recording in self.spoken.items():
            self._assert_whole(job_id, recording)
        assert not self._parts_not_done()

    def failures(self) -> list[dict[str, object]]:
        """Tasks of which an attempt failed, a lease that ran out included."""
        return self.release.sql(
            "SELECT job_id, kind, part_index, failures, error_code FROM tasks"  # noqa: S608
            f" WHERE job_id IN ({self._ids()}) AND failures > 0"
        )

    def _assert_whole(self, job_id: int, recording: Spoken) -> None:
        transcript = self.client.transcript(job_id)
        assert transcript["partial"] is False
        segments = transcript["segments"]
        assert isinstance(segments, list)
        spans = [(segment["start_ms"], segment["end_ms"]) for segment in segments]
        doubled = [(a, b) for a, b in pairwise(spans) if b[0] < a[1]]
        assert not doubled, f"job {job_id} has stretches twice: {doubled}"
        heard = str(transcript["text"])
        wrong = word_error_rate(recording.text, heard)
        assert wrong < WORST_WORD_ERROR_RATE, f"job {job_id}: {heard!r} for {recording.text!r}"

    def _segments(self) -> int:
        [row] = self.release.sql(
            f"SELECT count(*) FROM segments WHERE job_id IN ({self._ids()})"  # noqa: S608
        )
        return int(row["count"])

    def _parts_not_done(self) -> list[dict[str, object]]:
        """Parts that are not recognised to their last chunk, and tasks that are not done."""
        return self.release.sql(
            "SELECT tasks.job_id, tasks.kind, tasks.part_index, tasks.state, parts.chunks_done"  # noqa: S608
            " FROM tasks LEFT JOIN parts USING (job_id, part_index)"
            f" WHERE job_id IN ({self._ids()}) AND (tasks.state <> 'done'"
            " OR parts.chunks_done <> jsonb_array_length(parts.chunks))"
        )

    def _ids(self) -> str:
        return ",".join(map(str, self.spoken))


def upload(client: Client, recording: Spoken) -> int:
    """Uploads a recording; returns the job's number."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / recording.name
        path.write_bytes(recording.content)
        return client.upload(path, language="en")
