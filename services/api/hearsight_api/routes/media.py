"""The original recording, whole or in ranges, as players ask for it."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hearsight_api.access import MayRead
from hearsight_api.keyring import Caller
from hearsight_api.problems import responses
from hearsight_api.routes.jobs import PathJobId
from hearsight_api.services import Injected, Services
from hearsight_core.errors import DatabaseError, JobStateError, MediaRemovedError
from hearsight_core.store import listing

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["transcripts"])

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range that a `Range` header asks for, as [start, end); None: the whole.

    Forms that are not understood, several ranges among them, are ignored, as RFC 9110 allows.

    Raises:
        HTTPException: 416, the range begins beyond the end.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise HTTPException(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


_SENT_AS: dict[str, Any] = {"*/*": {}}
"""As what its first bytes or its name tell that it is; else as `application/octet-stream`."""


@router.get(
    "/media",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The whole recording.", "content": _SENT_AS},
        206: {"description": "The range asked for.", "content": _SENT_AS},
        **responses(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.GONE,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
    summary="Fetch the recording",
)
async def media(
    job_id: PathJobId,
    services: Injected,
    caller: MayRead,
    wanted: Annotated[str | None, Header(alias="range", description="One byte range.")] = None,
) -> StreamingResponse:
    """As it was fetched or uploaded; known as soon as it is stored."""
    job = await run_in_threadpool(listing.get, services.database, job_id, owner=caller.sees)
    if job.media_removed_at is not None:
        raise MediaRemovedError(job_id=job_id)
    if job.media_key is None:
        raise JobStateError(job_id=job_id, status=job.status, wanted="past its download")
    size = await run_in_threadpool(services.storage.size, job.media_key)
    part = byte_range(wanted, size)
    start, end = part or (0, size)
    name = quote(job.filename or "media", safe="")
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "Content-Disposition": f"inline; filename*=UTF-8''{name}",
        # What people upload is never run as a page of ours.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        _while_allowed(services, caller, services.storage.read_range(job.media_key, start, end)),
        status_code=HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK,
        media_type=job.media_type or "application/octet-stream",
        headers=headers,
    )


async def _while_allowed(
    services: Services, caller: Caller, blocks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """The blocks, until the caller's key is revoked; then the body breaks off."""
    async for block in blocks:
        try:
            await services.keyring.confirm(caller)
        except DatabaseError as error:
            # Known to be good a moment ago; PostgreSQL's absence must not break a download off.
            log.warning("a key can't be looked after", error=str(error))
        yield block
