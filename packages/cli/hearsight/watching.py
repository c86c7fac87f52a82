"""Follows jobs to their end: bars on a terminal, lines elsewhere, JSON lines for scripts."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from hearsight import progress_line
from hearsight.client import Client
from hearsight.documents import Event, NumberedSegment
from hearsight.failures import Exit
from hearsight.output import Output
from hearsight.times import clock
from hearsight_core.contract import TERMINAL, JobStatus, ProgressData


@dataclass(frozen=True)
class _Told:
    """An event of a job, or what ended its stream."""

    job_id: int
    event: Event | Exception


class View(Protocol):
    """Shows what happens to jobs."""

    def progress(self, progress: ProgressData) -> None:
        """Shows how a job stands."""

    def segment(self, job_id: int, segment: NumberedSegment) -> None:
        """Shows what was said."""


def watch(client: Client, job_ids: Sequence[int], output: Output) -> Exit:
    """Follows `job_ids` until every one has ended; tells the worst outcome.

    Raises:
        CommandError: a job is not there, or the API is away for too long.
        KeyboardInterrupt: the person has seen enough; the jobs go on.
    """
    unfinished = set(job_ids)
    ends: list[JobStatus] = []
    with _view(output, several=len(unfinished) > 1) as view:
        for told in _merged(client, sorted(unfinished)):
            if isinstance(told.event, Exception):
                raise told.event
            if isinstance(told.event, NumberedSegment):
                view.segment(told.job_id, told.event)
                continue
            view.progress(told.event)
            if told.event.status in TERMINAL:
                ends.append(told.event.status)
                unfinished.discard(told.job_id)
            if not unfinished:
                break
    if JobStatus.FAILED in ends:
        return Exit.FAILED
    return Exit.CANCELLED if JobStatus.CANCELLED in ends else Exit.OK


def _merged(client: Client, job_ids: Sequence[int]) -> Iterator[_Told]:
    """The events of all jobs as they come, each stream read by a thread of its own."""
    queue: SimpleQueue[_Told] = SimpleQueue()

    def read(job_id: int) -> None:
        try:
            for event in client.events(job_id):
                queue.put(_Told(job_id, event))
        except Exception as error:  # noqa: BLE001  raised again where the events are read
            queue.put(_Told(job_id, error))

    for job_id in job_ids:
        threading.Thread(target=read, args=(job_id,), name=f"job {job_id}", daemon=True).start()
    while True:
        yield queue.get()


@contextmanager
def _view(output: Output, *, several: bool) -> Iterator[View]:
    if output.as_json:
        yield _JsonLines(output)
    elif output.console.is_terminal:
        with _Bars(output.console, several=several) as bars:
            yield bars
    else:
        yield _Lines(output.console, several=several)


def _spoken(job_id: int, segment: NumberedSegment, *, several: bool) -> Text:
    number = f"#{job_id} " if several else ""
    voice = f"{segment.voice}: " if segment.voice else ""
    when = f"{number}{clock(segment.start_ms)}  "
    said = segment.text.strip() if segment.said else "[nothing that can be trusted]"
    return Text.assemble((when, "cyan"), voice, (said, "" if segment.said else "dim"))


class _JsonLines:
    """A JSON document an event."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def progress(self, progress: ProgressData) -> None:
        kind = "end" if progress.status in TERMINAL else "progress"
        self._output.document({"event": kind, **progress.model_dump(mode="json")})

    def segment(self, job_id: int, segment: NumberedSegment) -> None:
        document = segment.model_dump(mode="json")
        self._output.document({"event": "segment", "job_id": job_id, **document})


class _Lines:
    """A line for every stage and every tenth of the whole."""

    def __init__(self, console: Console, *, several: bool) -> None:
        self._console = console
        self._several = several
        self._last: dict[int, tuple[object, ...]] = {}

    def progress(self, progress: ProgressData) -> None:
        step = (progress.status, progress.stage, progress.overall_percent // 10)
        if self._last.get(progress.job_id) == step:
            return
        self._last[progress.job_id] = step
        self._print(
            f"{progress_line.name(progress)}  {progress.overall_percent:.0f} %"
            f"  {progress_line.detail(progress)}"
        )

    def segment(self, job_id: int, segment: NumberedSegment) -> None:
        self._print(_spoken(job_id, segment, several=self._several))

    def _print(self, what: str | Text) -> None:
        self._console.print(what, markup=False, soft_wrap=True)


class _Bars:
    """A bar for each job, and above them what was said."""

    def __init__(self, console: Console, *, several: bool) -> None:
        self._several = several
        self._rows: dict[int, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def progress(self, progress: ProgressData) -> None:
        job_id = progress.job_id
        if job_id not in self._rows:
            self._rows[job_id] = self._bars.add_task("", total=100, detail="")
        self._bars.update(
            self._rows[job_id],
            description=progress_line.name(progress),
            completed=progress.overall_percent,
            detail=progress_line.detail(progress),
        )

    def segment(self, job_id: int, segment: NumberedSegment) -> None:
        self._bars.console.print(_spoken(job_id, segment, several=self._several))
