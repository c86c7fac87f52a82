"""Jobs on their way through the store: short words for the long way to a state."""

import uuid
from collections.abc import Sequence
from typing import cast

from sqlalchemy import text

from hearsight_core.contract import (
    DEFAULT_POOL,
    Hint,
    RecognitionOptions,
    Segment,
    TaskKind,
    queue_of,
)
from hearsight_core.jobs import Job, Part, Priority, Task
from hearsight_core.keys import DEFAULT_OWNER
from hearsight_core.messages import Language
from hearsight_core.store import leases, outcomes, submission, work
from hearsight_core.store.database import Database
from hearsight_core.store.leases import Claim
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.store.submission import Accepted, Submission, Upload
from hearsight_core.store.work import Media

EN: Language = "en"
AT_ONCE = RetryPolicy(max_failures=3, max_store_failures=5, backoff_s=0, backoff_max_s=0)
"""Three tries, five where a store is to blame, without a pause between."""
LATER = RetryPolicy(max_failures=3, max_store_failures=3, backoff_s=600, backoff_max_s=600)
"""A pause that no test waits for."""

DOWNLOAD = queue_of(TaskKind.DOWNLOAD)
ASR = queue_of(TaskKind.TRANSCRIBE)

CHUNK_MS = 10_000


def rows(database: Database, query: str, **values: object) -> list[dict[str, object]]:
    """What a plain SELECT finds, or what an UPDATE ... RETURNING changed."""
    with database.begin() as connection:
        return [dict(row) for row in connection.execute(text(query), values).mappings()]


def states(database: Database, job_id: int) -> list[str]:
    """The states of a job's tasks: the download, then the parts in order."""
    return [
        cast("str", row["state"])
        for row in rows(
            database,
            "SELECT state FROM tasks WHERE job_id = :id ORDER BY part_index NULLS FIRST",
            id=job_id,
        )
    ]


def request(
    url: str = "https://example.org/talk.mp4",
    *,
    priority: Priority = "normal",
    owner: str = DEFAULT_OWNER,
    pool: str = DEFAULT_POOL,
    options: RecognitionOptions | None = None,
) -> Submission:
    """A request to transcribe what lies at `url`."""
    return Submission(
        url=url,
        upload=None,
        options=options or RecognitionOptions(),
        priority=priority,
        owner=owner,
        pool=pool,
    )


def upload(key: str) -> Submission:
    """A request to transcribe a file that lies in the object store."""
    sent = Upload(key=key, filename="talk.mp3", size_bytes=1, media_type="audio/mpeg", sha256=key)
    return Submission(url=None, upload=sent, options=RecognitionOptions(), priority="normal")


def accepted(
    database: Database,
    *,
    job_id: int | None = None,
    priority: Priority = "normal",
    owner: str = DEFAULT_OWNER,
    pool: str = DEFAULT_POOL,
    options: RecognitionOptions | None = None,
) -> Accepted:
    """A new job, not worked on yet."""
    wanted = request(priority=priority, owner=owner, pool=pool, options=options)
    return submission.accept(database, wanted, EN, job_id=job_id)


def fill(
    database: Database,
    jobs: int,
    *,
    owners: Sequence[str] = (DEFAULT_OWNER,),
    url: str = "https://example.org/talk.mp4",
) -> None:
    """Puts many jobs into the queue at once, a millisecond apart, their owners in turn.

    They are as `submission.accept` makes them, but by the thousand.
    """
    rows(
        database,
        "WITH numbered AS ("
        " SELECT nextval('job_id_seq') AS id, n,"
        " (CAST(:owners AS text[]))[1 + n % cardinality(CAST(:owners AS text[]))] AS owner,"
        " now() - make_interval(secs => (:jobs - n) / 1000.0) AS at"
        " FROM generate_series(0, :jobs - 1) AS n"
        "), made AS ("
        " INSERT INTO jobs (id, status, stage, stage_percent, message, source_url, options,"
        " priority, request_digest, owner, created_at)"
        " SELECT id, 'pending', 'download_start', 0, 'Waiting', :url, CAST(:options AS jsonb),"
        " 'normal', md5(id::text), owner, at FROM numbered RETURNING id, owner, created_at"
        ") INSERT INTO tasks (id, job_id, kind, queue, state, rank_at, job_owner, created_at,"
        " ready_at)"
        " SELECT gen_random_uuid(), id, 'download', 'download', 'waiting', created_at, owner,"
        " created_at, created_at FROM made RETURNING 1",
        jobs=jobs,
        owners=list(owners),
        url=url,
        options=RecognitionOptions().model_dump_json(),
    )


def claim(
    database: Database, task_id: str, *, owner: str = "worker", lease_s: float = 60
) -> Claim | None:
    """The task, under whichever attempt it waits."""
    [row] = rows(database, "SELECT attempt FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    hint = Hint(task_id=task_id, attempt=cast("int", row["attempt"]))
    return leases.claim(database, hint, owner=owner, lease_s=lease_s)


def claimed(
    database: Database, task_id: str, *, owner: str = "worker", lease_s: float = 60
) -> Claim:
    """As `claim`, for a task that surely waits."""
    found = claim(database, task_id, owner=owner, lease_s=lease_s)
    assert found is not None
    return found


def downloading(
    database: Database,
    *,
    job_id: int | None = None,
    pool: str = DEFAULT_POOL,
    options: RecognitionOptions | None = None,
) -> Claim:
    """A new job whose download is claimed."""
    taken = accepted(database, job_id=job_id, pool=pool, options=options)
    return claimed(database, taken.task_id)


def fetched(database: Database, download: Task) -> Job:
    """The job, whose media is stored by now."""
    media = Media(
        key=f"jobs/{download.job_id}/media/1",
        filename="talk.mp4",
        size_bytes=1,
        media_type="video/mp4",
    )
    return work.set_media(database, download, media, "stored")


def a_part(job_id: int, index: int, *, chunks: int = 2) -> Part:
    """A part of `chunks` chunks of speech without a pause between."""
    start = index * chunks * CHUNK_MS
    spans = tuple((start + n * CHUNK_MS, start + (n + 1) * CHUNK_MS) for n in range(chunks))
    return Part(
        job_id=job_id,
        index=index,
        start_ms=start,
        end_ms=start + chunks * CHUNK_MS,
        speech_ms=chunks * CHUNK_MS,
        object_key=f"jobs/{job_id}/parts/{index}.flac",
        chunks=spans,
        chunks_done=0,
    )


def add_part(
    database: Database, download: Task, index: int, *, chunks: int = 2, ahead: bool = False
) -> str:
    """Adds a part to the job; returns the id of the task that transcribes it."""
    task_id = str(uuid.uuid4())
    part = a_part(download.job_id, index, chunks=chunks)
    work.add_part(database, download, part, task_id=task_id, ahead=ahead)
    return task_id


def cut(
    database: Database,
    *,
    parts: int,
    chunks: int = 2,
    job_id: int | None = None,
    pool: str = DEFAULT_POOL,
) -> tuple[Job, list[str]]:
    """A job that is downloaded and cut, and the ids of the tasks that transcribe its parts."""
    download = downloading(database, job_id=job_id, pool=pool).task
    ids = [add_part(database, download, index, chunks=chunks) for index in range(parts)]
    work.finish_cut(database, download, parts * chunks * CHUNK_MS)
    return outcomes.finish(database, download, EN), ids


def said(*texts: str) -> tuple[Segment, ...]:
    """Recognised segments, one second each."""
    return tuple(
        Segment(
            start_ms=1000 * place,
            end_ms=1000 * (place + 1),
            text=words,
            avg_logprob=-0.2,
            no_speech_prob=0.01,
            compression_ratio=1.4,
        )
        for place, words in enumerate(texts)
    )


def recognise(database: Database, claimed_part: Claim, *, chunks: int | None = None) -> None:
    """Stores one segment for each of the part's chunks that is not done yet."""
    part = claimed_part.part
    assert part is not None
    for index in range(part.chunks_done, len(part.chunks) if chunks is None else chunks):
        found = said(f"part {part.index} chunk {index}")
        work.add_segments(
            database, claimed_part.task, part, chunk_index=index, found=found, language=EN
        )


def transcribed(database: Database, task_id: str, *, owner: str = "worker") -> Job:
    """Claims, recognises and finishes a part."""
    part = claimed(database, task_id, owner=owner)
    recognise(database, part)
    return outcomes.finish(database, part.task, EN)


def expire(database: Database, task_id: str) -> None:
    """Lets a lease run out now."""
    rows(
        database,
        "UPDATE tasks SET lease_until = now() - interval '1 second'"
        " WHERE id = CAST(:id AS uuid) RETURNING id",
        id=task_id,
    )


def die_alone(database: Database, task: Task) -> None:
    """As `expire`, for a worker that did nothing else."""
    leases.mark_alone(database, task)
    expire(database, task.id)


def queued(database: Database, queue: str) -> list[str]:
    """The ids of the waiting tasks of a queue."""
    return [
        str(row["id"])
        for row in rows(
            database,
            "SELECT id FROM tasks WHERE queue = :queue AND state = 'waiting' ORDER BY rank_at, id",
            queue=queue,
        )
    ]
