"""Transcripts, rendered when they are asked for."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from hearsight_api.access import MayRead
from hearsight_api.formats import WRITERS
from hearsight_api.problems import responses
from hearsight_api.routes.jobs import PathJobId
from hearsight_api.schemas import ModelView, Transcript, TranscriptSegment
from hearsight_api.services import Injected
from hearsight_core.contract import JobStatus
from hearsight_core.jobs import Job
from hearsight_core.store import listing
from hearsight_core.store.rows import StoredSegment

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["transcripts"])

Format = Literal["json", "srt", "vtt", "txt", "tsv"]


@router.get(
    "/transcript",
    response_model=Transcript,
    responses={
        200: {
            "description": "The transcript so far; `X-HearSight-Partial: true` while it grows.",
            "content": {media_type: {} for _, media_type in WRITERS.values()},
        },
        **responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
    summary="Read a transcript",
)
def transcript(
    job_id: PathJobId,
    services: Injected,
    caller: MayRead,
    wanted: Annotated[Format, Query(alias="format", description="How to write it.")] = "json",
) -> Response:
    """Works while the job runs: what is recognised so far, marked partial."""
    job = listing.get(services.database, job_id, owner=caller.sees)
    stored = listing.transcript(services.database, job_id)
    partial = job.status is not JobStatus.COMPLETED
    headers = {
        "X-HearSight-Partial": str(partial).lower(),
        # What was said is never run as a page of ours.
        "X-Content-Type-Options": "nosniff",
    }
    if wanted == "json":
        body = _document(job, stored, partial=partial).model_dump_json()
        return Response(body, media_type="application/json", headers=headers)
    write, media_type = WRITERS[wanted]
    name = quote(f"{job.filename or f'job-{job_id}'}.{wanted}", safe="")
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{name}"
    text = write((item.segment for item in stored if item.segment.said), partial=partial)
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


def _document(job: Job, stored: list[StoredSegment], *, partial: bool) -> Transcript:
    return Transcript(
        job_id=job.id,
        status=job.status,
        partial=partial,
        filename=job.filename,
        duration_ms=job.duration_ms,
        reused_ms=job.reused_ms,
        language=job.language,
        language_probability=job.language_probability,
        task=job.options.task,
        options=job.options,
        model=ModelView(**asdict(job.model)) if job.model else None,
        text=" ".join(item.segment.text.strip() for item in stored if item.segment.said),
        segments=[TranscriptSegment(seq=item.seq, **dict(item.segment)) for item in stored],
    )
