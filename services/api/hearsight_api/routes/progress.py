"""Progress: the snapshot, and the stream of events."""

import re
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hearsight_api.access import MayRead
from hearsight_api.keyring import Caller
from hearsight_api.problems import responses
from hearsight_api.routes.jobs import PathJobId
from hearsight_api.schemas import TranscriptSegment
from hearsight_api.services import Injected, Services
from hearsight_api.watchers import Watcher
from hearsight_core.contract import TERMINAL, JobStatus, ProgressData, Segment
from hearsight_core.errors import JobNotFoundError, KeyInvalidError
from hearsight_core.jobs import progress_of
from hearsight_core.store import listing

router = APIRouter(prefix="/api/progress/task/{job_id}", tags=["progress"])

LOOK_S = 15.0
"""A watcher that heard nothing for so long looks into the database: news can be lost."""

PAGE = 1000
"""Segments read from the database at a time."""

_EVENT_ID = re.compile(r"[0-9]{1,19}")


@router.get(
    "",
    response_model=ProgressData,
    responses={
        404: {"model": ProgressData, "description": "No such job: status `idle`."},
        **responses(HTTPStatus.UNPROCESSABLE_ENTITY),
    },
    summary="How a job stands",
)
async def progress(job_id: PathJobId, services: Injected, caller: MayRead) -> Response:
    """From Redis while it is up to date, from the database where Redis knows less or nothing.

    A snapshot can be old: Redis may have missed the last news, or come back from its file.
    """
    standing = await services.standings.of(job_id)
    found, stored = (
        known if known is not None and caller.sees in {None, known.owner} else None
        for known in (standing.snapshot, standing.stored)
    )
    if standing.away is not None:
        if found is None:
            raise standing.away
        return _told(found)
    if stored is not None:
        return _told(found if found is not None and found.version >= stored.version else stored)
    if found is not None and found.version == 0:
        return _told(found)  # an upload in flight, which may become this job
    missing = JobNotFoundError(job_id=job_id)
    idle = ProgressData(
        job_id=job_id,
        status=JobStatus.IDLE,
        message=missing.text(services.settings.language),
        error_code=missing.code,
    )
    return _told(idle, HTTPStatus.NOT_FOUND)


def _told(progress: ProgressData, status: HTTPStatus = HTTPStatus.OK) -> Response:
    # Written by the model itself: FastAPI would check it once more, at twice the price.
    return Response(progress.model_dump_json(), status, media_type="application/json")


async def _last_seen(
    job_id: PathJobId,
    services: Injected,
    caller: MayRead,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event seen: the rest is replayed.")
    ] = None,
) -> int:
    """The number of the last event the reader has seen; 0: none.

    Raises:
        JobNotFoundError: there is no such job.
        HTTPException: 204, the reader has seen the end; browsers stop reconnecting on it.
    """
    seen = int(last_event_id) if last_event_id and _EVENT_ID.fullmatch(last_event_id) else 0
    job = await run_in_threadpool(listing.get, services.database, job_id, owner=caller.sees)
    if job.status in TERMINAL and seen == job.version:
        raise HTTPException(HTTPStatus.NO_CONTENT)
    # A number that this job has not come to is another's: one of the same id, deleted since.
    return seen if seen <= job.version else 0


async def _place(services: Injected) -> AsyncIterator[None]:
    """One of the places for event streams, until the stream ends.

    Raises:
        OverloadError: there is none.
    """
    with services.limits.watchers.taken():
        yield


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        204: {"description": "You have seen the terminal event already."},
        **responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
    summary="Follow a job as server-sent events",
)
async def events(
    job_id: PathJobId,
    services: Injected,
    caller: MayRead,
    last_seen: Annotated[int, Depends(_last_seen)],
    _: Annotated[None, Depends(_place)],
) -> AsyncIterator[ServerSentEvent]:
    """`progress`: ProgressData. `segment`: a recognised segment, as it is stored. `end`: the last.

    Ids are numbers that grow; send the last one as `Last-Event-ID` and nothing is missed or told
    twice. A comment comes every 15 seconds while nothing happens.
    """
    with (
        services.watchers.watching(job_id) as watcher,
        services.keyring.told(caller, revoked=watcher.fall_behind),
    ):
        stream = _Stream(job_id, services, caller, watcher, last_seen)
        async for event in stream.events():
            yield event


class _Stream:
    """One reader's way through a job: what is stored first, then what happens."""

    def __init__(
        self, job_id: int, services: Services, caller: Caller, watcher: Watcher, last_seen: int
    ) -> None:
        self._job_id = job_id
        self._services = services
        self._caller = caller
        self._watcher = watcher
        self._seen = last_seen
        self._told: ProgressData | None = None

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yields events until the terminal one, until the job is deleted or the key revoked."""
        while True:
            try:
                async for event in self._catch_up():
                    yield event
                    if event.event == "end":
                        return
            except (JobNotFoundError, KeyInvalidError):
                return
            async for event in self._follow():
                yield event
                if event.event == "end":
                    return

    async def _catch_up(self) -> AsyncIterator[ServerSentEvent]:
        """What the database holds beyond what was seen."""
        await self._services.keyring.confirm(self._caller)
        while True:
            news = await run_in_threadpool(
                listing.since,
                self._services.database,
                self._job_id,
                self._seen,
                limit=PAGE,
                owner=self._caller.sees,
            )
            for stored in news.segments:
                yield self._segment(stored.seq, stored.segment)
            if len(news.segments) < PAGE:
                break
        progress = progress_of(news.job)
        snapshot = await run_in_threadpool(self._services.news.snapshot, self._job_id)
        known = snapshot is not None and self._may_see(snapshot)
        if snapshot is not None and known and snapshot.version == progress.version:
            progress = snapshot  # the same change, with the bytes and speeds of the moment
        for event in self._progress(progress):
            yield event

    async def _follow(self) -> AsyncIterator[ServerSentEvent]:
        """What happens, until something may have been missed."""
        while (event := await self._watcher.next(LOOK_S)) is not None:
            if event.segments_after > self._seen or not self._may_see(event.progress):
                return
            for told in event.segments:
                if told.seq > self._seen:
                    yield self._segment(told.seq, told.segment)
            if event.progress.version >= self._seen:
                for shown in self._progress(event.progress):
                    yield shown

    def _may_see(self, progress: ProgressData) -> bool:
        """Whether news is for this reader: a number can be another owner's after a deletion."""
        return self._caller.sees in {None, progress.owner}

    def _segment(self, seq: int, segment: Segment) -> ServerSentEvent:
        self._seen = seq
        return ServerSentEvent(
            event="segment", id=str(seq), data=TranscriptSegment(seq=seq, **dict(segment))
        )

    def _progress(self, progress: ProgressData) -> Iterator[ServerSentEvent]:
        self._seen = max(self._seen, progress.version)
        if progress == self._told:
            return
        self._told = progress
        kind = "end" if progress.status in TERMINAL else "progress"
        yield ServerSentEvent(event=kind, id=str(self._seen), data=progress)
