"""Structured logs: one line an event, for people (`console`) or machines (`json`)."""

import io
import json
import logging
import sys
from textwrap import indent
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

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
            structlog.processors.JSONRenderer(_json, ensure_ascii=False),
        ]
    else:
        # The default formatter shows the values of variables: settings, and passwords in them.
        ending = [
            _one_console_line,
            structlog.dev.ConsoleRenderer(
                colors=colors,
                pad_event_to=0,
                exception_formatter=_indented_traceback,
            ),
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


def _one_console_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What strangers sent neither begins a line of its own nor gives a terminal orders."""
    return {
        name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _escaped(text: str, *, kept: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text
    )


def _indented_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """A traceback that shows no variables, none of whose lines can be taken for an entry."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write(indent(_escaped(plain.getvalue(), kept="\n"), "  "))


def _json(event: EventDict, **options: Any) -> str:  # noqa: ANN401  those of json.dumps
    """Escapes what JSON need not: line separators, direction marks, terminals' control codes."""
    line = json.dumps(event, **options)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else _json_escape(c) for c in line)


def _json_escape(c: str) -> str:
    return f"\\u{ord(c):04x}" if c.isascii() else json.dumps(c)[1:-1]
