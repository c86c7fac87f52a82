"""A real OTLP collector, small: takes traces over HTTP and shows the spans it got.

`with collector() as one:` in a test, or `python -m tests.servers.collector` as a program of its
own. Needs the standard library and `opentelemetry-proto`, which every service has.

    POST /v1/traces    an ExportTraceServiceRequest as protobuf, gzipped or not
    GET  /spans        every span so far, as JSON; `?trace_id=...`: those of one trace
    GET  /healthz      ok
"""

import argparse
import gzip
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Span = dict[str, Any]  # Any: JSON as it goes out

WAIT_S = 60.0


def _values(pairs: "list[KeyValue]") -> dict[str, Any]:
    """Attributes as a plain dictionary; of the kinds of value those that have one field."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = _values(list(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield {
                    "service": resource["service.name"],
                    "instance": resource["service.instance.id"],
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_span_id": span.parent_span_id.hex() or None,
                    "name": span.name,
                    "kind": SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    "start_ns": span.start_time_unix_nano,
                    "end_ns": span.end_time_unix_nano,
                    "attributes": _values(list(span.attributes)),
                    "events": [event.name for event in span.events],
                    "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    "error": span.status.message or None,
                }


class Collector:
    """The spans that came, and the server that takes them."""

    def __init__(self, host: str, port: int) -> None:
        self._got: list[Span] = []
        self._guard = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self._answer("application/x-protobuf", answer)

            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                if asked.path == "/spans":
                    trace_id = parse_qs(asked.query).get("trace_id", [None])[0]
                    spans = collector.spans(trace_id=trace_id)
                    self._answer("application/json", json.dumps(spans).encode())
                else:
                    self._answer("text/plain", b"ok")

            def _answer(self, media_type: str, body: bytes) -> None:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """What matters can be asked for."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keeps the spans of an export."""
        with self._guard:
            self._got += _spans(request)

    def spans(self, *, trace_id: str | None = None) -> list[Span]:
        """The spans so far, in the order they began; those of one trace if one is named."""
        with self._guard:
            found = [one for one in self._got if trace_id in {None, one["trace_id"]}]
        return sorted(found, key=lambda one: (one["start_ns"], one["end_ns"]))

    def trace(self, trace_id: str, until: Callable[[list[Span]], bool]) -> list[Span]:
        """The spans of a trace, once they are such as is waited for.

        Raises:
            AssertionError: they did not become so; the message names them.
        """
        deadline = time.monotonic() + WAIT_S
        while not until(found := self.spans(trace_id=trace_id)):
            assert time.monotonic() < deadline, [(one["service"], one["name"]) for one in found]
            time.sleep(0.1)
        return found

    def serve(self) -> None:
        """Takes spans until closed."""
        self._server.serve_forever()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """A collector on 127.0.0.1 for the length of the block."""
    one = Collector("127.0.0.1", port)
    thread = threading.Thread(target=one.serve, name="collector", daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.close()
        thread.join()


def main() -> None:
    """Serves until ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4318)
    chosen = parser.parse_args()
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Collector(chosen.host, chosen.port).serve()


if __name__ == "__main__":
    main()
