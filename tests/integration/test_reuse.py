"""What was recognised once of an audio is not recognised again, within one owner."""

import threading
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import text

from hearsight_core import sound
from hearsight_core.contract import JobStatus, Segment, Word
from hearsight_core.jobs import Job, ModelUsed, Part
from hearsight_core.keys import DEFAULT_OWNER
from hearsight_core.store import control, leases, listing, outcomes, reuse, work
from hearsight_core.store.database import Database
from tests.store import AT_ONCE, CHUNK_MS, EN, accepted, claimed, die_alone, rows

MODEL = ModelUsed(name="tiny.en", revision="1", device="cpu", compute_type="int8")
WAY = "a way"
DIGEST = sound.digest(b"speech", [(0, CHUNK_MS), (CHUNK_MS, 2 * CHUNK_MS)], DEFAULT_OWNER)


def chunk(start_ms: int, *texts: str) -> tuple[Segment, ...]:
    """What was understood of a chunk: a segment a second, each a word."""
    return tuple(
        Segment(
            start_ms=start_ms + 1000 * place,
            end_ms=start_ms + 1000 * place + 900,
            text=said,
            words=(
                Word(
                    start_ms=start_ms + 1000 * place,
                    end_ms=start_ms + 1000 * place + 800,
                    word=said,
                    probability=0.9,
                ),
            ),
            avg_logprob=-0.2,
            no_speech_prob=0.01,
            compression_ratio=1.4,
        )
        for place, said in enumerate(texts)
    )


class Recorded:
    """A job of one part, which is cut; its part can be recognised."""

    def __init__(
        self,
        database: Database,
        *,
        owner: str = DEFAULT_OWNER,
        start_ms: int = 0,
        digest: str | None = DIGEST,
        channel: int | None = None,
    ) -> None:
        self._database = database
        taken = accepted(database, owner=owner)
        self.download = claimed(database, taken.task_id).task
        self.job_id = taken.job.id
        ends = [start_ms + CHUNK_MS, start_ms + 2 * CHUNK_MS]
        self.part = Part(
            job_id=self.job_id,
            index=0,
            start_ms=start_ms,
            end_ms=ends[-1],
            speech_ms=2 * CHUNK_MS,
            object_key=f"jobs/{self.job_id}/parts/0.wav",
            chunks=((start_ms, ends[0]), (ends[0], ends[1])),
            chunks_done=0,
            channel=channel,
            audio_digest=digest,
        )
        self.task_id = str(uuid.uuid4())
        work.add_part(database, self.download, self.part, task_id=self.task_id)
        work.finish_cut(database, self.download, ends[-1])
        outcomes.finish(database, self.download, EN)
        self._start_ms = start_ms

    @property
    def job(self) -> Job:
        """As it stands."""
        return listing.get(self._database, self.job_id)

    def recognise(self, *ways: str | None, language: str = "en", chunks: int = 2) -> "Recorded":
        """Has so many chunks recognised, in these ways, and the task left in work."""
        task = claimed(self._database, self.task_id).task
        work.set_language(self._database, task, language, 0.75, MODEL)
        said = [
            chunk(self._start_ms + 500, "One", " two"),
            chunk(self._start_ms + CHUNK_MS, " three"),
        ]
        for index in range(chunks):
            work.add_segments(
                self._database,
                task,
                self.part,
                chunk_index=index,
                found=said[index],
                language=EN,
                way=(ways or (WAY,) * 2)[index],
            )
        self.task = task
        return self

    def finish(self) -> "Recorded":
        """Completes the job."""
        outcomes.finish(self._database, self.task, EN)
        assert self.job.status is JobStatus.COMPLETED
        return self


def found(database: Database, wanting: Recorded, way: str = WAY) -> reuse.Reusable | None:
    return reuse.reusable(database, wanting.job, wanting.part, way)


def test_the_same_audio_is_found_with_its_times_where_it_now_is(database: Database) -> None:
    source = Recorded(database, start_ms=5_000, channel=1).recognise().finish()
    later = found(database, Recorded(database, start_ms=65_000))
    assert later is not None
    assert later.job_id == source.job_id
    assert (later.language, later.language_probability) == ("en", 0.75)
    first, second = later.chunks
    moved = [chunk(65_500, "One", " two"), chunk(65_000 + CHUNK_MS, " three")]
    told = [tuple(one.model_copy(update={"channel": None}) for one in got) for got in later.chunks]
    assert told == moved
    assert (len(first), len(second)) == (2, 1)
    earlier = found(database, Recorded(database, start_ms=0))
    assert earlier is not None
    assert earlier.chunks[0][0].start_ms == 500


def test_audio_in_which_nothing_was_understood_is_found_too(database: Database) -> None:
    source = Recorded(database)
    task = claimed(database, source.task_id).task
    work.set_language(database, task, "en", 0.0, MODEL)
    for index in range(2):
        work.add_segments(
            database, task, source.part, chunk_index=index, found=(), language=EN, way=WAY
        )
    source.task = task
    source.finish()
    silent = found(database, Recorded(database))
    assert silent is not None
    assert silent.chunks == ((), ())


def _cancelled(database: Database, source: Recorded) -> None:
    source.recognise()
    control.cancel(database, source.job_id, EN)
    outcomes.let_go(database, source.task, EN)
    assert source.job.status is JobStatus.CANCELLED


def _failed(database: Database, source: Recorded) -> None:
    source.recognise()
    for attempt in range(AT_ONCE.max_failures):
        if attempt:
            source.task = claimed(database, source.task_id).task
        die_alone(database, source.task)
        leases.take_back(database, AT_ONCE, EN)
    assert source.job.status is JobStatus.FAILED


def _deleted(database: Database, source: Recorded) -> None:
    source.recognise().finish()
    control.mark_deleted(database, source.job_id, EN)


NO_SOURCE: dict[str, Callable[[Database, Recorded], object]] = {
    "not begun": lambda _, source: source,
    "half recognised": lambda _, source: source.recognise(chunks=1),
    "not completed": lambda _, source: source.recognise(),
    "cancelled": _cancelled,
    "failed": _failed,
    "deleted": _deleted,
    "recognised otherwise": lambda _, source: source.recognise("other", "other").finish(),
    "recognised in two ways": lambda _, source: source.recognise(WAY, "other").finish(),
    "recognised in two ways, the last right": lambda _, source: source.recognise(
        "other", WAY
    ).finish(),
    "recognised by a worker that does not say how": lambda _, source: source.recognise(
        None, None
    ).finish(),
}


@pytest.mark.parametrize("come_to", NO_SOURCE.values(), ids=NO_SOURCE.keys())
def test_what_is_not_whole_and_certain_is_no_source(
    database: Database, come_to: Callable[[Database, Recorded], object]
) -> None:
    come_to(database, Recorded(database))
    assert found(database, Recorded(database)) is None


def test_another_owners_job_is_no_source_even_under_the_same_digest(database: Database) -> None:
    Recorded(database, owner="alice").recognise().finish()
    assert found(database, Recorded(database, owner="bob")) is None
    assert found(database, Recorded(database, owner="alice")) is not None


def test_the_same_audio_of_two_owners_has_two_digests() -> None:
    spans = [(0, 1000)]
    assert sound.digest(b"pcm", spans, "alice") == sound.digest(b"pcm", spans, "alice")
    others = {
        sound.digest(b"pcm", spans, "alice"),
        sound.digest(b"pcm", spans, "bob"),
        sound.digest(b"pcN", spans, "alice"),
        sound.digest(b"pcm", [(0, 500), (500, 1000)], "alice"),
        sound.digest(b"pcm", [], "alice"),
    }
    assert len(others) == 5


def test_audio_that_was_cut_by_an_earlier_version_is_recognised(database: Database) -> None:
    Recorded(database, digest=None).recognise().finish()
    assert found(database, Recorded(database, digest=None)) is None


def test_a_job_whose_language_is_decided_takes_only_that(database: Database) -> None:
    Recorded(database).recognise(language="de").finish()
    wanting = Recorded(database)
    task = claimed(database, wanting.task_id).task
    work.set_language(database, task, "en", 0.9, MODEL)
    assert found(database, wanting) is None
    Recorded(database).recognise(language="en").finish()
    assert found(database, wanting) is not None


def test_a_source_that_is_removed_meanwhile_is_found_whole_or_not_at_all(
    database: Database,
) -> None:
    sources = [Recorded(database).recognise().finish() for _ in range(20)]
    wanting = Recorded(database)

    def remove() -> None:
        for source in sources:
            control.mark_deleted(database, source.job_id, EN)
            control.purge(database, source.job_id)

    removing = threading.Thread(target=remove)
    removing.start()
    seen = 0
    while (whole := found(database, wanting)) is not None:
        assert [len(one) for one in whole.chunks] == [2, 1]
        seen += 1
    removing.join()
    assert seen
    assert found(database, wanting) is None


def test_the_source_is_looked_up_by_an_index(database: Database) -> None:
    wanting = Recorded(database)
    rows(
        database,
        "INSERT INTO parts (job_id, part_index, start_ms, end_ms, speech_ms, object_key, chunks,"
        " chunks_done, audio_digest, way) SELECT :id, n, n, n + 1, 1, 'x', '[[0, 1]]', 1,"
        " md5(n::text), md5((n % 3)::text) FROM generate_series(1, 20000) AS n RETURNING 1",
        id=wanting.job_id,
    )
    with database.begin() as connection:
        connection.execute(text("ANALYZE parts"))
        connection.execute(text("ANALYZE jobs"))
        query = reuse.source_of(wanting.job, wanting.part, WAY).compile(
            connection, compile_kwargs={"literal_binds": True}
        )
        plan = "\n".join(connection.execute(text(f"EXPLAIN {query}")).scalars())
    assert "ix_parts_reusable" in plan
    assert "Seq Scan on parts" not in plan


def test_what_is_taken_counts_as_recognised_and_as_taken(database: Database) -> None:
    wanting = Recorded(database)
    task = claimed(database, wanting.task_id).task
    for index, taken in enumerate((True, False)):
        work.add_segments(
            database,
            task,
            wanting.part,
            chunk_index=index,
            found=(),
            language=EN,
            way=WAY,
            reused=taken,
        )
    job = wanting.job
    assert (job.recognised_ms, job.reused_ms) == (2 * CHUNK_MS, CHUNK_MS)
