"""A worker's part, done by a test: a job recognised bit by bit, and told of as it goes."""

from hearsight_core.contract import JobStatus, Segment
from hearsight_core.jobs import Job, ModelUsed, progress_of
from hearsight_core.store import outcomes, work
from hearsight_core.store.work import Appended
from tests.servers.api import Served
from tests.store import EN, claimed, cut, said

MODEL = ModelUsed(name="tiny.en", revision="1", device="cpu", compute_type="int8")


class Recogniser:
    """A job of one part, being recognised, as an ASR worker does it."""

    def __init__(self, served: Served, *, chunks: int = 100, job_id: int | None = None) -> None:
        self._served = served
        self.job, [task_id] = cut(served.database, parts=1, chunks=chunks, job_id=job_id)
        self._claim = claimed(served.database, task_id, lease_s=600)
        self._next = 0

    @property
    def job_id(self) -> int:
        """The job's number."""
        return self.job.id

    def name_language(self) -> Job:
        """Stores the language and the model."""
        return work.set_language(self._served.database, self._claim.task, "en", 0.98, MODEL)

    def store(self, *segments: Segment) -> Appended:
        """Stores the segments of the next chunk, and tells nobody."""
        part = self._claim.part
        assert part is not None
        appended = work.add_segments(
            self._served.database,
            self._claim.task,
            part,
            chunk_index=self._next,
            found=segments,
            language=EN,
        )
        self._next += 1
        self.job = appended.job
        return appended

    def tell(self, appended: Appended) -> None:
        """Publishes what was stored."""
        self._served.news.publish(
            progress_of(appended.job),
            segments_after=appended.version_before,
            segments=appended.segments,
        )

    def say(self, *texts: str) -> list[int]:
        """Stores and publishes the next chunk; returns the numbers of its segments."""
        appended = self.store(*said(*texts))
        self.tell(appended)
        return [stored.seq for stored in appended.segments]

    def finish(self) -> Job:
        """Completes the job: what is not recognised is taken for silence."""
        self.job = outcomes.finish(self._served.database, self._claim.task, EN)
        assert self.job.status is JobStatus.COMPLETED
        self._served.news.publish(progress_of(self.job))
        return self.job
