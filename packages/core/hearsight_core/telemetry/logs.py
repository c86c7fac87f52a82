"""Structured logs: one line an event, for people (`console`) or machines (`json`)."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

_NOISY = (
    *(
        "httpx",
        "httpcore",
        "httpx2",
        "httpcore2",
        "urllib3",
        "kombu",
        "amqp",
        "celery.utils.functional",
    ),
    # Asked for the database's schema four times a minute, it would say so.
    "alembic.runtime.migration",
    # Their lines for each task name neither job nor attempt; the worker's own do.
    *("celery.worker.strategy", "celery.app.trace"),
)


def configure(*, log_format: Literal["console", "json"], level: str, colors: bool) -> None:
    """Sends every log of this process, libraries' included, to stdout in one form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(
            fmt="iso" if log_format == "json" else "%H:%M:%S", utc=log_format == "json"
        ),
    ]
    if log_format == "json":
        ending: list[Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        # The default formatter shows the values of variables: settings, and passwords in them.
        ending = [
            structlog.dev.ConsoleRenderer(
                colors=colors,
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
