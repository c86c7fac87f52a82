"""Errors as RFC 9457 problem documents; the only place that knows HTTP statuses."""

import math
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearsight_core.errors import (
    AccessError,
    DiskFullError,
    ForbiddenAddressError,
    HearSightError,
    InvalidRequestError,
    JobConflictError,
    JobNotFoundError,
    JobStateError,
    KeyInvalidError,
    KeyMissingError,
    LimitError,
    MediaRemovedError,
    OverloadError,
    RequestError,
    ScopeMissingError,
    StorageError,
    UnexpectedError,
    UnknownPoolError,
    UnsupportedUrlError,
    UploadRefusedError,
    UploadTooLargeError,
)
from hearsight_core.messages import Language, render
from hearsight_core.telemetry.traces import here, trace_id_of

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[HearSightError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnsupportedUrlError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ForbiddenAddressError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownPoolError: HTTPStatus.UNPROCESSABLE_ENTITY,
    JobNotFoundError: HTTPStatus.NOT_FOUND,
    JobConflictError: HTTPStatus.CONFLICT,
    JobStateError: HTTPStatus.CONFLICT,
    MediaRemovedError: HTTPStatus.GONE,
    UploadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadRefusedError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    KeyMissingError: HTTPStatus.UNAUTHORIZED,
    KeyInvalidError: HTTPStatus.UNAUTHORIZED,
    AccessError: HTTPStatus.FORBIDDEN,
    OverloadError: HTTPStatus.SERVICE_UNAVAILABLE,
    LimitError: HTTPStatus.TOO_MANY_REQUESTS,
    RequestError: HTTPStatus.BAD_REQUEST,
    DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    HearSightError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

HTTP_CODE: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "http.bad_request",
    HTTPStatus.NOT_FOUND: "http.not_found",
    HTTPStatus.REQUEST_TIMEOUT: "http.too_slow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "http.content_too_large",
    HTTPStatus.METHOD_NOT_ALLOWED: "http.method_not_allowed",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "http.range_not_satisfiable",
}
"""Codes of what HTTP alone knows; Python's own names of statuses change between versions."""

CHALLENGE: dict[type[HearSightError], str] = {
    KeyMissingError: "Bearer",
    KeyInvalidError: 'Bearer error="invalid_token"',
    ScopeMissingError: 'Bearer error="insufficient_scope"',
}
"""What `WWW-Authenticate` says (RFC 6750)."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

RETRY_AFTER_S = 5
"""What a client is told to wait when one of our stores is away."""


EVERY_ROUTE = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""How any request can end, whatever it asks for."""


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["url"])
    detail: str = Field(examples=["Field required"])


class Problem(BaseModel):
    """An error, as RFC 9457 lays it out, with HearSight's code and the request's id."""

    type: str = Field(examples=["urn:hearsight:error:job.not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["job.not_found"], description="Stable; see docs/errors.md.")
    detail: str = Field(examples=["There is no job 7. List the jobs with GET /api/jobs."])
    request_id: str = Field(examples=["6f0c2f0e6c5f4c6d8a53e1d7d3c0a1b2"])
    trace_id: str | None = Field(None, examples=["4bf92f3577b34da6a3ce929d0e0e4736"])
    errors: list[FieldProblem] | None = None


def status_of(error: HearSightError) -> HTTPStatus:
    """The HTTP status of an error: that of its nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's type
    """The `responses` of a route that can fail with `statuses`, and as every route can."""
    every = {*statuses, *EVERY_ROUTE}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status.value: {
            "description": status.phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted(every)
    }


def _answer(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=f"urn:hearsight:error:{code}",
        title=status.phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=request.state.request_id,
        trace_id=trace_id_of(here()),
        errors=errors,
    )
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(RETRY_AFTER_S), **(headers or {})}
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer(request: Request, error: HearSightError, language: Language) -> JSONResponse:
    """The problem document of one of our errors."""
    detail = error.text(language)
    field = error.field if isinstance(error, RequestError) else None
    errors = [FieldProblem(field=field, detail=detail)] if field else None
    if not isinstance(error, RequestError):
        log.warning("the request failed", code=error.code, error=str(error))
    headers = {}
    if challenge := CHALLENGE.get(type(error)):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, LimitError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return _answer(request, status_of(error), error.code, detail, errors=errors, headers=headers)


def _field(where: str, *steps: str | int, fault: str) -> str:
    """The field's name, dotted; where there is none, the part of the request: body, query, path."""
    # Of a body that is no JSON, the parser names the character it stumbled over.
    return ".".join(map(str, steps)) if steps and fault != "json_invalid" else where


def install(app: FastAPI, language: Language) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(HearSightError)
    def on_known(request: Request, error: HearSightError) -> JSONResponse:
        return answer(request, error, language)

    @app.exception_handler(RequestValidationError)
    def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            FieldProblem(field=_field(*found["loc"], fault=found["type"]), detail=found["msg"])
            for found in error.errors()
        ]
        named = "; ".join(f"{found.field}: {found.detail}" for found in errors)
        invalid = InvalidRequestError(detail=named)
        return _answer(
            request, status_of(invalid), invalid.code, invalid.text(language), errors=errors
        )

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status is HTTPStatus.NO_CONTENT:
            return Response(status_code=status)
        code = HTTP_CODE[status]
        response = _answer(request, status, code, render(code, language))
        response.headers.update(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(_methods(request))
        return response


def _methods(request: Request) -> list[str]:
    """The methods that the request's path takes; the framework names those of one route alone."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]


class LastResort:
    """ASGI middleware: what no handler knows is told in the log, and answered as a problem too.

    Starlette's own place for this lies outside all other middleware, so that the answer would have
    neither a request id nor a line in the log, and its connection would be cut.
    """

    def __init__(self, app: ASGIApp, language: Language) -> None:
        self._app = app
        self._language: Language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if begun or scope["type"] != "http":
                raise
            log.exception("the request met something nobody foresaw")
            unexpected = UnexpectedError()
            detail = unexpected.text(self._language)
            response = _answer(Request(scope), status_of(unexpected), unexpected.code, detail)
            await response(scope, receive, send)
