"""Uploads: a file goes from the socket to the object store, one buffer at a time."""

import hashlib
import time
import unicodedata
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

import multipart
from fastapi import APIRouter, Depends, Request, Response
from multipart import MultipartSegment, PushMultipartParser
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from hearsight_api.access import MaySubmit
from hearsight_api.keyring import Caller
from hearsight_api.media_type import HEAD_BYTES, sniff
from hearsight_api.options import JobOptions
from hearsight_api.problems import responses
from hearsight_api.routes.jobs import ACCEPTED_RESPONSES, accept, answer
from hearsight_api.schemas import Accepted
from hearsight_api.services import Injected, Services
from hearsight_core.contract import STAGE_PERCENT, JobStatus, ProgressData, Stage
from hearsight_core.errors import (
    InvalidRequestError,
    JobConflictError,
    RequestError,
    UploadRefusedError,
    UploadTooLargeError,
)
from hearsight_core.messages import render
from hearsight_core.storage import ObjectWriter, upload_prefix
from hearsight_core.store import listing, quotas
from hearsight_core.store.submission import Submission, Upload

router = APIRouter(prefix="/api", tags=["jobs"])

MAX_FIELD_BYTES = 16 * 1024
MAX_FIELDS = 32
MAX_FORM_BYTES = MAX_FIELDS * MAX_FIELD_BYTES
"""What a body may hold beside the file's own bytes."""
MAX_FILENAME = 200
TELL_EVERY_S = 1.0
"""Pause between two pieces of news about an upload in flight."""
IN_FLIGHT_TTL_S = 60
"""News of an upload outlives its last byte this long; if the API dies, it does not linger."""


def safe_filename(given: str | None) -> str:
    """The last step of a path as any system writes it, fit for headers and screens."""
    last = PureWindowsPath(PurePosixPath(given or "").name).name
    kept = "".join(c for c in last if unicodedata.category(c) not in {"Cc", "Cf", "Cs"}).strip()
    return "upload" if kept in {"", ".", ".."} else kept[:MAX_FILENAME]


class _Form:
    """The form as it arrives: fields are kept, the file goes on to the store."""

    def __init__(
        self, services: Services, caller: Caller, writer: ObjectWriter, total_bytes: int | None
    ) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size_bytes = 0
        self.media_type = ""
        self.sha256 = hashlib.sha256()
        self.limit_bytes = services.settings.max_upload_bytes
        self._services = services
        self._caller = caller
        self._writer = writer
        self._total_bytes = total_bytes
        self._job_id: int | None = None
        self._part: MultipartSegment | None = None
        self._held = bytearray()
        self._told = 0.0

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """Handles one step of the parser: a part begins, brings bytes, or ends."""
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is None:
            await self._end()
        elif self._is_file:
            await self._file_bytes(bytes(event))
        else:
            self._held += event
            if len(self._held) > MAX_FIELD_BYTES:
                raise InvalidRequestError(field=self._name, detail=f"{self._name}: too long")

    @property
    def _name(self) -> str:
        return str(self._part.name) if self._part else ""

    @property
    def _is_file(self) -> bool:
        return self._name == "file"

    async def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        self._held.clear()
        if self._is_file:
            if self.filename is not None:
                raise InvalidRequestError(field="file", detail="file: send one file a request")
            self.filename = safe_filename(part.filename)
            # What came before the file is judged before the file is taken.
            options = self.options()
            self._services.pool(options.pool)
            self._job_id = options.job_id
            await self._refuse_anothers_number()

    async def _refuse_anothers_number(self) -> None:
        """Refuses a number that another owner's job has, before news of the upload goes under it.

        Raises:
            JobConflictError: as it would be once the file is here.
        """
        if self._job_id is not None and await run_in_threadpool(
            listing.is_taken, self._services.database, self._job_id, owner=self._caller.owner
        ):
            raise JobConflictError(job_id=self._job_id, field="job_id")

    async def _file_bytes(self, block: bytes) -> None:
        self.size_bytes += len(block)
        if self.size_bytes > self.limit_bytes:
            raise UploadTooLargeError(field="file", limit_bytes=self.limit_bytes)
        self.sha256.update(block)
        if not self.media_type:
            self._held += block
            if len(self._held) < HEAD_BYTES:
                return
            block = self._recognised()
        await self._writer.write(block)
        await self._tell()

    def _recognised(self) -> bytes:
        """The head held back so far, now that it is known to be media."""
        head = bytes(self._held)
        self._held.clear()
        media_type = sniff(head)
        if media_type is None:
            raise UploadRefusedError(field="file")
        self.media_type = media_type
        return head

    async def _end(self) -> None:
        if self._is_file:
            if not self.media_type:
                await self._writer.write(self._recognised())
        elif self._name in self.fields:
            raise InvalidRequestError(field=self._name, detail=f"{self._name}: given twice")
        else:
            try:
                self.fields[self._name] = self._held.decode()
            except UnicodeDecodeError as error:
                raise InvalidRequestError(
                    field=self._name, detail=f"{self._name}: not UTF-8"
                ) from error
        self._part = None

    async def _tell(self) -> None:
        """Shows an upload in flight to those who know its number: a client that chose it."""
        if self._job_id is None or time.monotonic() < self._told:
            return
        self._told = time.monotonic() + TELL_EVERY_S
        stage = Stage.UPLOAD_PROCESSING
        news = ProgressData(
            job_id=self._job_id,
            owner=self._caller.owner,
            status=JobStatus.PENDING,
            stage=stage,
            progress_percent=STAGE_PERCENT[stage],
            filename=self.filename,
            message=render(f"progress.{stage}", self._services.settings.language),
            current_bytes=self.size_bytes,
            total_bytes=self._total_bytes,
        )
        # Version 0: whatever is stored of a job with this number is newer.
        await run_in_threadpool(self._services.news.publish, news, ttl_s=IN_FLIGHT_TTL_S)

    def options(self) -> JobOptions:
        """The fields, checked as those of a JSON request are.

        Raises:
            InvalidRequestError: one is unknown or of the wrong form.
        """
        try:
            return JobOptions.model_validate(self.fields)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(step) for step in first["loc"])
            raise InvalidRequestError(field=field, detail=f"{field}: {first['msg']}") from error


def _boundary(request: Request) -> str:
    kind, options = multipart.parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or "boundary" not in options:
        raise InvalidRequestError(
            field="content-type", detail="send multipart/form-data with the file in `file`"
        )
    return str(options["boundary"])


def _announced_bytes(request: Request, services: Injected) -> int | None:
    """The body's length, if the client says it; one that can't fit is refused before it is read."""
    announced = request.headers.get("content-length", "")
    if not announced.isdigit():
        return None
    limit = services.settings.max_upload_bytes
    if int(announced) > limit + MAX_FORM_BYTES:
        raise UploadTooLargeError(field="file", limit_bytes=limit)
    return int(announced)


async def _receive(request: Request, form: _Form) -> None:
    """Runs the whole body through `form`.

    Raises:
        InvalidRequestError: it is no well-formed form, or is cut off.
        UploadTooLargeError: it goes on and on, whatever it holds.
    """
    limit = form.limit_bytes
    left = limit + MAX_FORM_BYTES
    try:
        with PushMultipartParser(
            _boundary(request), max_segment_count=MAX_FIELDS, max_header_size=8192
        ) as parser:
            async for block in request.stream():
                left -= len(block)
                if left < 0:
                    raise UploadTooLargeError(field="file", limit_bytes=limit)
                for event in parser.parse(block):
                    await form.take(event)
    except multipart.MultipartError as error:
        raise InvalidRequestError(field="body", detail=f"body: {error}") from error
    except ClientDisconnect as error:
        raise InvalidRequestError(field="body", detail="body: broken off") from error
    if form.filename is None:
        raise InvalidRequestError(field="file", detail="file: Field required")


@asynccontextmanager
async def _place(services: Services, caller: Caller) -> AsyncIterator[None]:
    """One of the places for uploads; for nothing that would be refused once it is here.

    Raises:
        OverloadError: there is none, or there are too many jobs.
        QueuedJobsError, AudioMinutesError: the owner has what it may have.
    """
    with services.limits.uploads.taken():
        await run_in_threadpool(services.limits.queue.require_room)
        quota = services.limits.quota(caller)
        await run_in_threadpool(quotas.check, services.database, caller.owner, quota)
        yield


_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    **JobOptions.model_json_schema()["properties"],
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "The recording; send it last, so that its progress can be"
                        " shown under the job_id.",
                    },
                },
                "additionalProperties": False,
            }
        }
    },
}


@router.post(
    "/upload",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        **ACCEPTED_RESPONSES,
        **responses(
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
    },
    openapi_extra={"requestBody": _FORM},
    summary="Transcribe a file",
)
async def upload(
    request: Request,
    response: Response,
    services: Injected,
    caller: MaySubmit,
    total_bytes: Annotated[int | None, Depends(_announced_bytes)],
) -> Accepted:
    """Stores the file as it arrives and takes the job; fields are those of a URL's request."""
    key = f"{upload_prefix()}{uuid.uuid4()}"
    async with _place(services, caller), services.storage.writer(key) as writer:
        form = _Form(services, caller, writer, total_bytes)
        await _receive(request, form)
        options = form.options()
        pool = services.pool(options.pool)
    wanted = Submission(
        url=None,
        upload=Upload(
            key=key,
            filename=form.filename or "",
            size_bytes=form.size_bytes,
            media_type=form.media_type,
            sha256=form.sha256.hexdigest(),
        ),
        options=options.recognition(),
        priority=options.priority,
        owner=caller.owner,
        pool=pool,
    )
    try:
        accepted = await run_in_threadpool(accept, services, caller, wanted, options.job_id)
    except RequestError:
        await run_in_threadpool(services.storage.delete, key)
        raise
    # After any other error the job may be stored and only the answer lost, and then it needs its
    # media: the object is left to the housekeeper, which asks the database.
    if not accepted.created:
        await run_in_threadpool(services.storage.delete, key)
    return answer(accepted, response)
