"""Traces: one a job, from the request that brings it to the transaction that ends it.

A span's context travels with the work as a W3C `traceparent`: in a request's header to the API, in
a task's row from there on. So it makes no difference which process claims a task, or how often.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hearsight_core import __version__
from hearsight_core.contract import TaskKind
from hearsight_core.errors import HearSightError, Interruption
from hearsight_core.settings import masked

log = structlog.get_logger(__name__)

JOB_ID = "hearsight.job_id"
TASK_ID = "hearsight.task_id"
ATTEMPT = "hearsight.attempt"
PART_INDEX = "hearsight.part_index"
QUEUE = "hearsight.queue"
OUTCOME = "hearsight.outcome"
REQUEST_ID = "hearsight.request_id"
URL_QUERY = "url.query"
"""Attributes of spans; those of HTTP are named as OpenTelemetry's conventions have them."""

SEND_HINT = "send hint"

API_SERVICE = "hearsight-api"
WORKER_SERVICE = {
    TaskKind.DOWNLOAD: "hearsight-download-worker",
    TaskKind.TRANSCRIBE: "hearsight-asr-worker",
}

EXPORT_TIMEOUT_S = 5.0
"""How long a batch of spans may take to be handed over, tries again included."""
FLUSH_S = 3.0
"""How long a process that ends waits for its last spans to be taken."""

_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("hearsight", __version__)


@contextmanager
def tracing(service: str, endpoint: str | None) -> Iterator[None]:
    """Spans of this process have ids within the block, and go to `endpoint` if there is one.

    Once a process. OpenTelemetry's own variables say the rest: headers, sampling, attributes.

    Args:
        service: What the process is, such as `hearsight-api`.
        endpoint: Where OTLP is taken over HTTP, such as `http://collector:4318`.
    """
    # It would tell of every batch it can't hand over and of every header it can't read.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = TracerProvider(
        resource=Resource.create(
            {
                SERVICE_NAME: service,
                SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{os.getpid()}",
                SERVICE_VERSION: __version__,
            }
        ),
        shutdown_on_exit=False,
    )
    if endpoint is not None:
        provider.add_span_processor(BatchSpanProcessor(_Exporter(endpoint)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # In a thread, as the library waits for half a minute: what is not taken soon is lost.
        ending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(FLUSH_S)


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span]:
    """A span for the length of the block, below `parent`, a traceparent; None: below the current.

    One that names no span, such as an empty one, begins a new trace.

    An exception that leaves the block makes it one of an error; an interruption is none.
    """
    with _tracer.start_as_current_span(
        name,
        context=None if parent is None else _context_of(parent),
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Interruption:
            raise
        except Exception as error:
            failed(
                current, error.code if isinstance(error, HearSightError) else type(error).__name__
            )
            raise


def failed(failing: Span, code: str) -> None:
    """Makes `failing` a span of an error, named by its code."""
    failing.set_attribute("error.type", code)
    failing.set_status(StatusCode.ERROR, code)


def here() -> str | None:
    """The current span as a traceparent; None outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace that a traceparent of ours names, 32 hexadecimal digits."""
    return traceparent.split("-")[1] if traceparent else None


def log_fields() -> dict[str, str]:
    """What the log's lines say of the current span, if there is one."""
    trace_id = trace_id_of(here())
    return {} if trace_id is None else {"trace_id": trace_id}


def _context_of(traceparent: str) -> context.Context:
    return _propagator.extract({_HEADER: traceparent})


class _Exporter(SpanExporter):
    """Hands spans over by OTLP, and says once when that fails and once when it works again.

    Spans that can't be handed over are lost: nothing waits for them.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = masked(endpoint)
        self._to = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hands over a batch."""
        result = self._to.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("traces are exported again", lost_spans=self._lost)
            self._lost = 0
        else:
            if not self._lost:
                log.warning("traces are not exported: spans are lost", endpoint=self._endpoint)
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Ends it."""
        self._to.shutdown()  # type: ignore[no-untyped-call]  # the library has left it out

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Holds nothing back."""
        return self._to.force_flush(timeout_millis)
