"""Every Prometheus instrument, with its unit and meaning; `docs/metrics.md` lists the same."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

JOBS_ACCEPTED = Counter("hearsight_jobs_accepted_total", "Jobs accepted", ["source"])
JOBS = Gauge(
    "hearsight_jobs", "Jobs stored, by status; told by the dispatcher that leads", ["status"]
)
ATTEMPTS = Counter(
    "hearsight_task_attempts_total",
    "Attempts at tasks, by queue and outcome (done, given_back, lost, stopped or an error code)",
    ["queue", "outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "hearsight_task_attempt_seconds", "Time an attempt at a task took", ["queue"], buckets=_SECONDS
)
TASKS_RUNNING = Gauge("hearsight_tasks_running", "Tasks this process is busy with", ["queue"])
HINTS = Counter(
    "hearsight_hints_total", "Hints, by queue and fate (sent, lost, stale)", ["queue", "fate"]
)
LEASES_TAKEN_BACK = Counter("hearsight_leases_taken_back_total", "Leases that ran out")
NEWS_LOST = Counter("hearsight_news_lost_total", "Progress that could not be published")
DOWNLOADED_BYTES = Counter("hearsight_downloaded_bytes_total", "Bytes of media stored")
AUDIO_SECONDS = Counter("hearsight_audio_seconds_total", "Seconds of speech recognised")
SEGMENTS = Counter("hearsight_segments_total", "Segments stored")
WATCHERS = Gauge("hearsight_event_watchers", "Open event streams")
HTTP_SECONDS = Histogram(
    "hearsight_http_request_seconds",
    "Time until the answer began, by route template, method and status",
    ["route", "method", "status"],
    buckets=_SECONDS,
)
