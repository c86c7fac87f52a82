"""A worker as a process: what both kinds do from start to end around their own work."""

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from celery import Celery, signals
from celery.exceptions import SecurityWarning

from hearsight_core import freed_memory
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import CELERY_TASK_NAME, Hint, JobStatus, TaskKind, kind_of
from hearsight_core.errors import ObjectStoreError, StorageError
from hearsight_core.intake import Slots, TakenForGood
from hearsight_core.jobs import Job
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings, masked
from hearsight_core.storage import ObjectStorage, parts_prefix
from hearsight_core.store.database import Database
from hearsight_core.telemetry import logs, metrics
from hearsight_core.telemetry.probes import ProbeServer
from hearsight_core.telemetry.traces import WORKER_SERVICE, tracing
from hearsight_core.watchdog import Watchdog
from hearsight_core.worker import Worker

log = structlog.get_logger(__name__)

EXTRA_CONNECTIONS = 2
"""Database connections on top of one for each task: the heartbeat's, and one for top-ups."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a task's work may use."""

    worker: Worker
    storage: ObjectStorage


Work = Callable[[Lease, Context], None]


def configure_logs(settings: WorkerSettings) -> None:
    """Logs as the settings say; `CELERY_LOG_LEVEL` comes before `HEARSIGHT_LOG_LEVEL`."""
    logs.configure(
        log_format=settings.log_format,
        level=settings.celery_log_level or settings.log_level,
        colors=sys.stdout.isatty(),
    )


def serve(
    queue: str,
    settings: WorkerSettings,
    *,
    slots: int,
    work: Work,
    watchdog: Watchdog | None = None,
) -> int:
    """Runs a worker of `queue` until it is told to end; returns the process's exit code.

    SIGTERM drains: no more tasks are taken, and those in work go back to the queue once what they
    have done is stored. `watchdog` ends the process if the work hangs.
    """
    kind = kind_of(queue)
    metrics.begin_worker(kind, queue)
    with tracing(WORKER_SERVICE[kind], settings.otlp_endpoint), freed_memory.handed_back():
        return _serve(queue, settings, slots=slots, work=work, watchdog=watchdog)


def _serve(
    queue: str, settings: WorkerSettings, *, slots: int, work: Work, watchdog: Watchdog | None
) -> int:
    app = celery_app(settings)
    app.steps["consumer"].add(TakenForGood)
    database = Database(
        settings.database_url,
        pool_size=max(settings.database_pool_size, slots + EXTRA_CONNECTIONS),
        application=f"hearsight-{queue}",
    )
    news = News(settings.redis_url)
    worker = Worker(
        queue=queue,
        slots=slots,
        settings=settings,
        database=database,
        news=news,
        hints=HintSender(app, database, settings),
    )
    log.info(
        "starting",
        database=masked(settings.database_url),
        broker=masked(settings.broker_url),
        redis=masked(settings.redis_url),
        storage=masked(settings.storage_url),
    )
    try:
        context = Context(worker=worker, storage=ObjectStorage.from_settings(settings))
        _register(app, kind_of(queue), context, work)
        worker.start()
    except StorageError as error:
        log.critical("the worker can't start", error=str(error))
        return 1
    probes = ProbeServer(
        settings.metrics_host,
        settings.metrics_port,
        healthy=lambda: worker.healthy() or (watchdog.healthy() if watchdog else None),
        ready=worker.ready,
    )
    if watchdog is not None:
        watchdog.start(worker.abandon)
    log.info("health and metrics", address=f"http://{settings.metrics_host}:{probes.port}")
    try:
        return _consume(app, worker)
    finally:
        if watchdog is not None:
            watchdog.close()
        probes.close()
        worker.close()
        news.close()
        database.close()


def _register(app: Celery, kind: TaskKind, context: Context, work: Work) -> None:
    @app.task(name=CELERY_TASK_NAME[kind])  # type: ignore[untyped-decorator]  # Celery ships no types
    def handle(task_id: str, attempt: int) -> dict[str, object] | None:
        return context.worker.run(
            Hint(task_id=task_id, attempt=attempt),
            lambda lease: work(lease, context),
            lambda job: _drop_parts(context.storage, job),
        )


def _drop_parts(storage: ObjectStorage, job: Job) -> None:
    """Remove the parts of a completed job; whatever stays goes when the job is deleted."""
    if job.status is not JobStatus.COMPLETED:
        return
    try:
        storage.delete_prefix(parts_prefix(job.id))
    except ObjectStoreError as error:
        log.warning("the parts of a completed job stay", error=str(error))


def _consume(app: Celery, worker: Worker) -> int:
    def keep_our_logs(**_: object) -> None:
        """A receiver is enough for Celery to leave logging alone."""

    def drain(**_: object) -> None:
        log.info("draining: tasks in work store what they have done and go back to the queue")
        worker.drain()

    # Celery warns root of pickled messages; we accept JSON alone.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.setup_logging.connect(keep_our_logs, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    consumer = app.Worker(
        pool=Slots,
        concurrency=worker.slots,
        queues=[worker.queue],
        hostname=f"{worker.queue}@{worker.id}",
        loglevel=logging.getLevelName(logging.getLogger().level),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    consumer.start()
    return int(consumer.exitcode or 0)
