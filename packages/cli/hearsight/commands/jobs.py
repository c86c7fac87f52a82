"""`jobs`, `transcript`, `cancel`, `retry`, `delete`: what is done with jobs that are there."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hearsight.commands.session import AsJson, JobNumber, Url, begin
from hearsight.documents import Format, Job
from hearsight.failures import UsageError
from hearsight.times import clock, moment
from hearsight_core.contract import JobStatus

_STYLES = {
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
    JobStatus.PROCESSING: "cyan",
}


def jobs(
    context: typer.Context,
    *,
    status: Annotated[
        JobStatus | None, typer.Option(help="Only jobs that stand so.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first; with --json a line for each.

    Example: hearsight jobs --status failed
    """
    session = begin(context, url, as_json=as_json)
    with session.client() as client:
        found = client.jobs(limit=limit, status=status)
    for job in found:
        session.output.document(job.model_dump(mode="json"))
    if found:
        session.output.show(_table(found))
    else:
        session.output.show("No jobs. Hand one in with: hearsight submit URL_OR_FILE")


def _table(found: list[Job]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Job", justify="right")
    table.add_column("Status")
    table.add_column("%", justify="right")
    table.add_column("Source", overflow="ellipsis", no_wrap=True, max_width=48)
    table.add_column("Length", justify="right")
    table.add_column("Language")
    table.add_column("Created")
    table.add_column("Error")
    for job in found:
        table.add_row(
            str(job.job_id),
            Text(job.status, style=_STYLES.get(job.status, "")),
            f"{job.overall_percent:.0f}",
            Text(job.filename or job.source_url or ""),
            clock(job.duration_ms) if job.duration_ms is not None else "",
            job.language or "",
            moment(job.created_at),
            job.error_code or "",
        )
    return table


def transcript(
    context: typer.Context,
    job: JobNumber,
    *,
    wanted: Annotated[
        Format | None, typer.Option("--format", "-f", help="Left out: as the file's name says.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Read a transcript, as far as it is recognised.

    Example: hearsight transcript 42 -o talk.srt
    """
    session = begin(context, url, as_json=as_json)
    form = wanted or _form_of(file) or ("json" if session.output.as_json else "txt")
    if session.output.as_json and form != "json" and file is None:
        raise UsageError("--json writes JSON; leave out --format, or name a file with -o.")
    with session.client() as client:
        text = client.transcript(job, form)
    if file is None:
        sys.stdout.buffer.write(text if text.endswith(b"\n") or not text else text + b"\n")
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(text)
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror}.") from error
    session.output.document({"job_id": job, "format": form, "file": str(file)})
    session.output.show(f"Written: {file}")


def _form_of(file: Path | None) -> Format | None:
    """The format that a file's name asks for."""
    forms: dict[str, Format] = {
        ".json": "json",
        ".srt": "srt",
        ".vtt": "vtt",
        ".txt": "txt",
        ".tsv": "tsv",
    }
    return forms.get(file.suffix.lower()) if file else None


def cancel(
    context: typer.Context, job: JobNumber, *, url: Url = None, as_json: AsJson = False
) -> None:
    """Cancel a job; what is recognised so far is kept.

    Example: hearsight cancel 42
    """
    session = begin(context, url, as_json=as_json)
    with session.client() as client:
        after = client.cancel(job)
    session.output.document(after.model_dump(mode="json"))
    done = after.status is JobStatus.CANCELLED
    session.output.show(f"Job {job} is cancelled." if done else f"Job {job} is being cancelled.")


def retry(
    context: typer.Context, job: JobNumber, *, url: Url = None, as_json: AsJson = False
) -> None:
    """Put a failed or cancelled job back into the queue; it goes on where it stopped.

    Example: hearsight retry 42
    """
    session = begin(context, url, as_json=as_json)
    with session.client() as client:
        after = client.retry(job)
    session.output.document(after.model_dump(mode="json"))
    session.output.show(f"Job {job} is {after.status}. Follow with: hearsight watch {job}")


def delete(
    context: typer.Context,
    job: JobNumber,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a job, its media and its transcript.

    Example: hearsight delete 42 --yes
    """
    session = begin(context, url, as_json=as_json)
    if not yes:
        if session.output.as_json or not sys.stdin.isatty():
            raise UsageError("Nobody is there to ask; say --yes to delete.")
        typer.confirm(f"Delete job {job} with its media and transcript?", abort=True)
    with session.client() as client:
        client.delete(job)
    session.output.document({"job_id": job, "deleted": True})
    session.output.show(f"Job {job} is deleted.")


def show(
    context: typer.Context, job: JobNumber, *, url: Url = None, as_json: AsJson = False
) -> None:
    """Show everything known of a job but its transcript.

    Example: hearsight show 42
    """
    session = begin(context, url, as_json=as_json)
    with session.client() as client:
        found = client.job(job)
    session.output.document(found.model_dump(mode="json"))
    table = Table.grid(padding=(0, 2))
    for field, value in found.model_dump(mode="json").items():
        if value is not None:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(Text(field, style="bold"), Text(plain))
    session.output.show(table)
