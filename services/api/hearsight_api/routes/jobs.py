"""Jobs: take, show, list, cancel, retry, delete."""

import base64
import binascii
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query, Response
from pydantic import TypeAdapter

from hearsight_api.access import MayRead, MaySubmit
from hearsight_api.keyring import Caller
from hearsight_api.options import Plain
from hearsight_api.problems import responses
from hearsight_api.schemas import Accepted, JobPage, JobView, ProcessRequest
from hearsight_api.services import Injected, Services
from hearsight_core.contract import JobId, JobStatus, TaskKind, queue_of
from hearsight_core.errors import DatabaseError, InvalidRequestError, JobNotFoundError
from hearsight_core.jobs import Job, progress_of
from hearsight_core.store import control, listing, submission
from hearsight_core.store.submission import Asked, Submission
from hearsight_core.telemetry import told, traces

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api", tags=["jobs"])

_JOB_ID = TypeAdapter[int](JobId)

PathJobId = Annotated[JobId, Plain, Path(description="The job's number.", examples=[42])]

ACCEPTED_RESPONSES: dict[int | str, dict[str, Any]] = {  # Any: FastAPI's type
    200: {"model": Accepted, "description": "The same request was taken before; same answer."},
    **responses(HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
}


async def accept(
    services: Services, caller: Caller, wanted: Submission, job_id: int | None
) -> submission.Accepted:
    """Takes the job, if the caller's owner may have it."""
    return await services.submissions.accept(
        Asked(
            submission=wanted,
            job_id=job_id,
            trace_parent=traces.here(),
            quota=services.limits.quota(caller),
        )
    )


def answer(accepted: submission.Accepted, response: Response) -> Accepted:
    """202 for a new job, 200 for one that had been taken before; `Location` either way."""
    response.status_code = HTTPStatus.ACCEPTED if accepted.created else HTTPStatus.OK
    response.headers["Location"] = f"/api/jobs/{accepted.job.id}"
    return Accepted(job_id=accepted.job.id, task_id=accepted.task_id, status=accepted.job.status)


@router.post(
    "/tasks/process",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        **ACCEPTED_RESPONSES,
        **responses(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    },
    summary="Transcribe a URL",
)
async def process(
    request: ProcessRequest, response: Response, services: Injected, caller: MaySubmit
) -> Accepted:
    """Takes a job and answers at once; follow it with its progress or its events."""
    wanted = Submission(
        url=services.guard.check_url(request.url),
        upload=None,
        options=request.recognition(),
        priority=request.priority,
        owner=caller.owner,
        pool=services.pool(request.pool),
    )
    return answer(await accept(services, caller, wanted, request.job_id), response)


def _cursor_of(job: Job) -> str:
    plain = f"{job.created_at.isoformat()} {job.id}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    try:
        plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, _, job_id = plain.partition(" ")
        # A moment without a zone can't be compared, and PostgreSQL's bigint ends at 2**63.
        return datetime.fromisoformat(created_at).astimezone(UTC), _JOB_ID.validate_python(job_id)
    except (ValueError, binascii.Error, OverflowError) as error:
        raise InvalidRequestError(
            field="cursor", detail="cursor: take it from next_cursor of the page before"
        ) from error


@router.get(
    "/jobs", responses=responses(HTTPStatus.UNPROCESSABLE_ENTITY), summary="List jobs, newest first"
)
def list_jobs(
    services: Injected,
    caller: MayRead,
    limit: Annotated[int, Plain, Query(ge=1, le=200, description="Jobs on a page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
) -> JobPage:
    """Pages stay stable while jobs come in: a cursor names a place, not an offset."""
    before = _read_cursor(cursor) if cursor else None
    # One more than asked tells whether there is another page.
    found = listing.newest(
        services.database, limit=limit + 1, status=status, before=before, owner=caller.sees
    )
    page = found[:limit]
    more = len(found) > limit
    return JobPage(
        jobs=[JobView.of(job) for job in page], next_cursor=_cursor_of(page[-1]) if more else None
    )


@router.get(
    "/jobs/{job_id}",
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    summary="Show a job",
)
def show(job_id: PathJobId, services: Injected, caller: MayRead) -> JobView:
    """Everything known of a job but its transcript."""
    return JobView.of(listing.get(services.database, job_id, owner=caller.sees))


@router.post(
    "/jobs/{job_id}/cancel",
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    summary="Cancel a job",
)
def cancel(job_id: PathJobId, services: Injected, caller: MaySubmit) -> JobView:
    """Stops a job; a worker that is busy with it lets go within seconds. Twice is as once."""
    job = control.cancel(services.database, job_id, services.settings.language, owner=caller.sees)
    told.tell_end(job)
    services.news.publish(progress_of(job))
    return JobView.of(job)


@router.post(
    "/jobs/{job_id}/retry",
    responses=responses(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    ),
    summary="Retry a failed or cancelled job",
)
def retry(job_id: PathJobId, services: Injected, caller: MaySubmit) -> JobView:
    """Puts a job back into the queue; what is fetched and recognised already is kept."""
    job = control.retry(
        services.database,
        job_id,
        services.settings.language,
        owner=caller.sees,
        quota=services.limits.quota(caller),
    )
    services.news.publish(progress_of(job))
    services.top_ups.ask((queue_of(kind, job.pool) for kind in TaskKind), job.priority)
    return JobView.of(job)


@router.delete(
    "/jobs/{job_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    summary="Delete a job, its media and its transcript",
)
def delete(job_id: PathJobId, services: Injected, caller: MaySubmit) -> None:
    """Gone at once for everybody; a job in work is cancelled first, its objects follow."""
    job = control.mark_deleted(
        services.database, job_id, services.settings.language, owner=caller.sees
    )
    told.tell_end(job)
    # Sends everybody who watches to the database, where the job is gone.
    services.news.publish(progress_of(job), segments_after=job.version)
    services.news.forget(job_id)
    try:
        services.housekeeper.remove_deleted()
    except (DatabaseError, JobNotFoundError) as error:
        log.warning("what is left of deleted jobs goes later", error=str(error))
