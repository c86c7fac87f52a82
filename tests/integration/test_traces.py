"""All that is done for a job is told in its trace, whichever process does it, and however often."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint, JobStatus
from hearsight_core.errors import CorruptError, DnsError
from hearsight_core.jobs import Job
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings
from hearsight_core.store import control, leases, listing, submission, work
from hearsight_core.store.database import Database
from hearsight_core.telemetry import traces
from hearsight_core.worker import Worker
from tests.store import (
    ASR,
    AT_ONCE,
    DOWNLOAD,
    EN,
    a_part,
    claimed,
    expire,
    recognise,
    request,
    rows,
)

Make = Callable[[str], Worker]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
REQUEST = "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{REQUEST}-01"
"""The span of the request that brought the job."""


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Where the spans of this process go; a process has one provider for good."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture(autouse=True)
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """The spans of one test."""
    exporter.clear()
    return exporter


@pytest.fixture
def settings(broker_url: str, redis_url: str) -> WorkerSettings:
    return WorkerSettings(
        broker_url=broker_url, redis_url=redis_url, max_failures=2, retry_backoff_s=0
    )


@pytest.fixture
def make(database: Database, news: News, settings: WorkerSettings) -> Iterator[Make]:
    """Makes workers that have signed on, and ends them."""
    made: list[Worker] = []

    def worker(queue: str) -> Worker:
        hints = HintSender(celery_app(settings), database, settings)
        made.append(
            Worker(
                queue=queue,
                slots=1,
                settings=settings,
                database=database,
                news=news,
                hints=hints,
            )
        )
        made[-1].start()
        return made[-1]

    yield worker
    for one in made:
        one.close()


@pytest.fixture
def job(database: Database) -> Job:
    """A job that a request brought."""
    return submission.accept(database, request(), EN, trace_parent=PARENT).job


def hint(database: Database, job: Job, *, part: int | None = None) -> Hint:
    """A hint for the job's download, or for one of its parts, as it waits now."""
    [row] = rows(
        database,
        "SELECT id, attempt FROM tasks WHERE job_id = :id"
        " AND part_index IS NOT DISTINCT FROM CAST(:part AS integer)",
        id=job.id,
        part=part,
    )
    return Hint(task_id=str(row["id"]), attempt=int(str(row["attempt"])))


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def download(database: Database, *, parts: int = 2) -> Callable[[Lease], None]:
    """What a download worker does, as far as the store knows."""

    def work_on(lease: Lease) -> None:
        for index in range(parts):
            work.add_part(
                database,
                lease.task,
                a_part(lease.job.id, index),
                task_id=str(uuid.uuid4()),
                trace_parent=lease.trace_parent,
            )
        work.finish_cut(database, lease.task, 1000)

    return work_on


def transcribe(database: Database) -> Callable[[Lease], None]:
    """What an ASR worker does, as far as the store knows."""

    def work_on(lease: Lease) -> None:
        part = leases.Claim(task=lease.task, job=lease.job, part=lease.part, waited_s=0)
        recognise(database, part)

    return work_on


def refuse(error: Exception) -> Callable[[Lease], None]:
    def work_on(_: Lease) -> None:
        raise error

    return work_on


def test_one_trace_leads_from_the_request_to_the_part_that_completes_the_job(
    database: Database, make: Make, job: Job, spans: InMemorySpanExporter
) -> None:
    make(DOWNLOAD).run(hint(database, job), download(database))
    asr = make(ASR)
    for part in range(2):
        asr.run(hint(database, job, part=part), transcribe(database))
    [fetched] = named(spans, "download")
    parts = named(spans, "transcribe")
    assert {trace_of(span) for span in (fetched, *parts)} == {TRACE_ID}
    assert {span.kind for span in (fetched, *parts)} == {SpanKind.CONSUMER}
    assert parent_of(fetched) == REQUEST
    assert [parent_of(span) for span in parts] == [id_of(fetched)] * 2
    assert [dict(span.attributes or {})["hearsight.part_index"] for span in parts] == [0, 1]
    assert [[event.name for event in span.events] for span in parts] == [[], ["job completed"]]
    assert listing.get(database, job.id).trace_id == TRACE_ID


def test_a_hint_is_told_in_the_trace_of_the_job_it_is_for_whoever_sends_it(
    database: Database, settings: WorkerSettings, job: Job, spans: InMemorySpanExporter
) -> None:
    impatient = settings.model_copy(update={"hint_resend_s": 0.001})
    sender = HintSender(celery_app(impatient), database, impatient)
    with traces.span("another's"):
        assert sender.top_up(DOWNLOAD) == 1
    rows(database, "UPDATE tasks SET hinted_at = hinted_at - interval '1 hour' RETURNING id")
    assert sender.top_up(DOWNLOAD) == 1
    sent = named(spans, "send hint")
    assert [(trace_of(span), parent_of(span)) for span in sent] == [(TRACE_ID, REQUEST)] * 2
    assert {span.kind for span in sent} == {SpanKind.PRODUCER}
    assert dict(sent[0].attributes or {})["hearsight.task_id"] == hint(database, job).task_id


def test_every_attempt_stays_in_the_jobs_trace(
    database: Database, make: Make, job: Job, spans: InMemorySpanExporter
) -> None:
    worker = make(DOWNLOAD)
    worker.run(hint(database, job), refuse(DnsError(host="example.org")))
    # Another worker claims it and dies; in the end a person has it tried again.
    expire(database, claimed(database, hint(database, job).task_id).task.id)
    leases.take_back(database, AT_ONCE, EN)
    worker.run(hint(database, job), refuse(CorruptError()))
    control.retry(database, job.id, EN)
    make(DOWNLOAD).run(hint(database, job), download(database, parts=0))
    attempts = named(spans, "download")
    assert [(trace_of(span), parent_of(span)) for span in attempts] == [(TRACE_ID, REQUEST)] * 3
    assert [dict(span.attributes or {})["hearsight.attempt"] for span in attempts] == [1, 3, 4]
    assert [dict(span.attributes or {})["hearsight.outcome"] for span in attempts] == [
        "network.dns",
        "media.corrupt",
        "done",
    ]
    assert [[event.name for event in span.events] for span in attempts] == [
        [],
        ["job failed"],
        ["job completed"],
    ]


def test_an_attempt_that_failed_is_a_span_of_an_error_and_says_which(
    database: Database, make: Make, job: Job, spans: InMemorySpanExporter
) -> None:
    make(DOWNLOAD).run(hint(database, job), refuse(CorruptError()))
    [span] = named(spans, "download")
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "media.corrupt"


def test_an_attempt_that_was_stopped_or_lost_is_no_error(
    database: Database, make: Make, job: Job, spans: InMemorySpanExporter
) -> None:
    def stopped(lease: Lease) -> None:
        control.cancel(database, lease.job.id, EN)
        work.report(database, lease.task, lease.job.stage, 0, "")
        lease.saw(listing.get(database, lease.job.id))
        lease.check()

    def lost(lease: Lease) -> None:
        expire(database, lease.task.id)
        leases.take_back(database, AT_ONCE, EN)

    worker = make(DOWNLOAD)
    worker.run(hint(database, job), stopped)
    control.retry(database, job.id, EN)
    worker.run(hint(database, job), lost)
    attempts = named(spans, "download")
    assert [dict(span.attributes or {})["hearsight.outcome"] for span in attempts] == [
        "stopped",
        "lost",
    ]
    assert {span.status.status_code for span in attempts} == {StatusCode.UNSET}
    assert [event.name for event in attempts[0].events] == ["job cancelled"]


def test_what_an_older_version_accepted_is_told_in_a_trace_of_its_own(
    database: Database, make: Make, spans: InMemorySpanExporter
) -> None:
    job = submission.accept(database, request(), EN).job
    assert job.trace_id is None
    make(DOWNLOAD).run(hint(database, job), download(database, parts=1))
    outcome = make(ASR).run(hint(database, job, part=0), transcribe(database))
    assert outcome is not None
    assert outcome["status"] == JobStatus.COMPLETED
    [fetched], [recognised] = named(spans, "download"), named(spans, "transcribe")
    assert fetched.parent is None
    assert (trace_of(recognised), parent_of(recognised)) == (trace_of(fetched), id_of(fetched))
