"""Every Prometheus instrument, with its unit and meaning; `docs/metrics.md` lists the same.

Buckets are chosen so that the usual values fall into the middle ones and the settings' limits into
the last: a quantile is told no more exactly than the bucket it falls into.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from hearsight_core.contract import JobStatus, TaskKind
from hearsight_core.errors import HearSightError, WorkerLostError

_LEADER = "; told by the dispatcher that leads"

SOURCES = ("url", "upload")
"""Where a job's media comes from."""
OUTCOMES = ("done", "given_back", "lost", "stopped")
"""How an attempt ends if not with an error's code."""
FATES = ("sent", "lost", "stale")
STORES = ("postgresql", "redis", "objects")
STAGES = {
    TaskKind.DOWNLOAD: ("fetch", "store_media", "cut"),
    TaskKind.TRANSCRIBE: ("read_part", "recognise"),
}
"""What an attempt at a task goes through."""


class ReadCounter(Collector):
    """A counter that is kept elsewhere, and read when metrics are asked for."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name = name
        self._meaning = meaning
        self._read: Callable[[], float] | None = None
        REGISTRY.register(self)

    def read_from(self, read: Callable[[], float]) -> None:
        """Begins to be told; `read` never gives less than before."""
        self._read = read

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The counter without its value."""
        yield CounterMetricFamily(self._name, self._meaning)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counter, if anybody keeps it."""
        if self._read is not None:
            yield CounterMetricFamily(self._name, self._meaning, value=self._read())


# Jobs
JOBS_ACCEPTED = Counter("hearsight_jobs_accepted_total", "Jobs accepted", ["source"])
JOBS = Gauge("hearsight_jobs", f"Jobs stored, by status and source{_LEADER}", ["status", "source"])
JOBS_FINISHED = Counter(
    "hearsight_jobs_finished_total",
    "Jobs ended, counted by the process that ended them; the code is empty unless they failed",
    ["status", "code"],
)
JOB_SECONDS = Histogram(
    "hearsight_job_seconds",
    "Time from a job's acceptance to its end",
    ["status"],
    # A clip takes seconds, a long recording or a full queue hours.
    buckets=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400),
)

# Tasks
TASKS_WAITING = Gauge(
    "hearsight_tasks_waiting", f"Tasks of live jobs that wait to be claimed{_LEADER}", ["queue"]
)
TASKS_IN_WORK = Gauge(
    "hearsight_tasks_in_work", f"Tasks in work as the database has them{_LEADER}", ["queue"]
)
TASKS_OLDEST_WAITING_SECONDS = Gauge(
    "hearsight_tasks_oldest_waiting_seconds",
    f"Age of the task that waits longest{_LEADER}",
    ["queue"],
)
TASK_SLOTS = Gauge("hearsight_task_slots", f"Slots of the workers that live{_LEADER}", ["queue"])
TASK_WAIT_SECONDS = Histogram(
    "hearsight_task_wait_seconds",
    "Time from when a task could be claimed to its claim",
    ["queue"],
    # An idle worker claims within a tenth of a second; one that must be started takes minutes.
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
)
ATTEMPTS = Counter(
    "hearsight_task_attempts_total",
    "Attempts at tasks, by queue and outcome (done, given_back, lost, stopped or an error code)",
    ["queue", "outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "hearsight_task_attempt_seconds",
    "Time an attempt at a task took",
    ["queue"],
    # The last is HEARSIGHT_DOWNLOAD_TIMEOUT_S.
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 14400),
)
TASKS_RUNNING = Gauge("hearsight_tasks_running", "Tasks this process is busy with", ["queue"])
RETRIES = Counter(
    "hearsight_retries_total", "Attempts that failed and will be tried again", ["queue", "code"]
)
HINTS = Counter(
    "hearsight_hints_total", "Hints, by queue and fate (sent, lost, stale)", ["queue", "fate"]
)
LEASES_TAKEN_BACK = Counter("hearsight_leases_taken_back_total", "Leases that ran out")
EXPIRED = Counter(
    "hearsight_expired_total", "Jobs deleted, and media removed, after their time", ["what"]
)
NEWS_LOST = Counter("hearsight_news_lost_total", "Progress that could not be published")

# Work
STAGE_SECONDS = Histogram(
    "hearsight_stage_seconds",
    "Time in a stage of a task's work, also where it failed",
    ["stage"],
    # Reading a part takes milliseconds, cutting hours of a recording minutes.
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400),
)
DOWNLOADED_BYTES = Counter("hearsight_downloaded_bytes_total", "Bytes of media stored")
AUDIO_SECONDS = Counter("hearsight_audio_seconds_total", "Seconds of speech recognised")
REUSED_AUDIO_SECONDS = Counter(
    "hearsight_reused_audio_seconds_total",
    "Seconds of speech whose text was taken from an earlier job",
)
SEGMENTS = Counter("hearsight_segments_total", "Segments stored")
REAL_TIME_FACTOR = Histogram(
    "hearsight_real_time_factor",
    "Seconds of work for a second of speech, by attempt at a part",
    # A small model on a GPU needs a hundredth, a large one on a CPU more than one.
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10),
)
BATCH_CHUNKS = Histogram(
    "hearsight_batch_chunks",
    "Pieces recognised in one batch",
    # Up to the largest HEARSIGHT_ASR_BATCH_SIZE.
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
BATCH_SECONDS = Histogram(
    "hearsight_batch_seconds",
    "Time the device spent on one batch",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
)
BUSY_SECONDS = ReadCounter(
    "hearsight_device_busy_seconds_total",
    "Time that the engine's streams have had a batch in work, added up",
)
STREAMS = Gauge("hearsight_device_streams", "Batches that the engine can have in work at once")
DEVICE_MEMORY_BYTES = Gauge(
    "hearsight_device_memory_bytes",
    "Memory in use: on cuda that of the GPU, on cpu what this process holds",
    ["device"],
)
MODEL_INFO = Gauge(
    "hearsight_model_info",
    "1 while the model is loaded, 0 while it is given back for want of work",
    ["name", "device", "compute_type"],
)

# The API
WATCHERS = Gauge("hearsight_event_watchers", "Open event streams")
HTTP_SECONDS = Histogram(
    "hearsight_http_request_seconds",
    "Time until the answer began, by route template, method and status",
    ["route", "method", "status"],
    # An upload is answered when its last byte is here.
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
STORE_UP = Gauge("hearsight_store_up", "1 while a store answers this process, else 0", ["store"])
SCHEMA_BEHIND = Gauge(
    "hearsight_schema_behind", "1 while the database lacks tables that this version reads, else 0"
)
# Registered by `begin_api` where they have something to tell: a 0 would say that the store is full.
STORAGE_FREE_BYTES = Gauge(
    "hearsight_storage_free_bytes",
    "Room left for objects, where they lie in a folder",
    registry=None,
)
STORAGE_SIZE_BYTES = Gauge(
    "hearsight_storage_size_bytes",
    "Room in all for objects, where they lie in a folder",
    registry=None,
)
DISPATCHER_LEADS = Gauge(
    "hearsight_dispatcher_leads", "1 while the dispatcher of this process leads, else 0"
)


def begin_api(queues: Iterable[str], *, in_a_folder: bool) -> None:
    """Lets the API's counters begin at 0: what first appears as 1 is no increase to Prometheus.

    Args:
        queues: The queues that tasks go to.
        in_a_folder: Whether objects lie in a folder, whose room is told.
    """
    if in_a_folder:
        REGISTRY.register(STORAGE_FREE_BYTES)
        REGISTRY.register(STORAGE_SIZE_BYTES)
    for source in SOURCES:
        JOBS_ACCEPTED.labels(source=source)
    for what in ("job", "media"):
        EXPIRED.labels(what=what)
    for queue in queues:
        _begin_hints(queue)
        RETRIES.labels(queue=queue, code=WorkerLostError.code)
    _begin_ends()


def begin_worker(kind: TaskKind, queue: str) -> None:
    """As `begin_api`, for a worker that does tasks of `kind` from `queue`."""
    for outcome in (*OUTCOMES, *HearSightError.codes()):
        ATTEMPTS.labels(queue=queue, outcome=outcome)
    for code in HearSightError.codes(retryable=True):
        RETRIES.labels(queue=queue, code=code)
    for stage in STAGES[kind]:
        STAGE_SECONDS.labels(stage=stage)
    for histogram in (ATTEMPT_SECONDS, TASK_WAIT_SECONDS):
        histogram.labels(queue=queue)
    TASKS_RUNNING.labels(queue=queue)
    _begin_hints(queue)
    _begin_ends()


def _begin_hints(queue: str) -> None:
    for fate in FATES:
        HINTS.labels(queue=queue, fate=fate)


def _begin_ends() -> None:
    for status in (JobStatus.COMPLETED, JobStatus.CANCELLED):
        JOBS_FINISHED.labels(status=status, code="")
        JOB_SECONDS.labels(status=status)
    for code in HearSightError.codes():
        JOBS_FINISHED.labels(status=JobStatus.FAILED, code=code)
    JOB_SECONDS.labels(status=JobStatus.FAILED)
