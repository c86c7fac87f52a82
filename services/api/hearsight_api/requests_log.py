"""Every request: its id, its log line, its time.

Its span is FastAPI's own, which begins before this and names the route.
"""

import random
import re
import time

import structlog
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearsight_core.telemetry import traces
from hearsight_core.telemetry.metrics import HTTP_SECONDS

log = structlog.get_logger(__name__)

QUIET = frozenset({"/healthz", "/readyz"})
"""Asked every few seconds by machines; worth neither a line nor a span."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """ASGI middleware; a client's own `X-Request-Id` is kept if it is a plain word."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else _new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.monotonic()

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                self._note(scope, int(message["status"]), time.monotonic() - started)
            await send(message)

        span = trace.get_current_span()
        span.set_attribute(traces.REQUEST_ID, request_id)
        if scope["query_string"]:
            # Keys are sent there by mistake, and a trace goes to other people than an answer.
            span.set_attribute(traces.URL_QUERY, "***")
        with structlog.contextvars.bound_contextvars(request_id=request_id, **traces.log_fields()):
            await self._app(scope, receive, tell)

    @staticmethod
    def _note(scope: Scope, status: int, seconds: float) -> None:
        # The route's template, never the path: a label for each job would never stop growing.
        template = getattr(scope.get("route"), "path", "none")
        HTTP_SECONDS.labels(route=template, method=scope["method"], status=status).observe(seconds)
        if scope["path"] not in QUIET:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 1),
            )


def _new_id() -> str:
    """Told apart from others; nothing secret, for which every request would ask the kernel."""
    return f"{random.getrandbits(128):032x}"
