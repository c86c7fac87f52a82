"""The spoken sample that shows a new stack at work, by the same way that anybody's file goes."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from hearsight.client import Client
from hearsight.documents import NumberedSegment, Options
from hearsight.failures import CommandError, NotFoundError
from hearsight.stack.screen import STACK, Screen
from hearsight_core.contract import TERMINAL, JobStatus, ProgressData

RECORDING = Path(__file__).parent.parent / "sample.flac"
LOOK_S = 0.2


@dataclass(frozen=True)
class Heard:
    """What became of the sample."""

    job_id: int
    segments: list[NumberedSegment]
    duration_ms: int
    took_s: float


async def recognise(client: Client, screen: Screen, *, before: int | None) -> Heard:
    """Sends the sample, tells how it goes on, and gives its transcript.

    Args:
        client: speaks to the stack's API.
        screen: where progress is told.
        before: the job of the last run's sample, which is removed.

    Raises:
        CommandError: the API refused it, or the job did not complete.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    if before is not None:
        await _remove(client, before)
    screen.line(STACK, f"recognising the spoken sample {RECORDING.name}")
    job_id = (await asyncio.to_thread(client.upload, RECORDING, Options(reuse=False))).job_id
    told = ""
    while True:
        progress = await asyncio.to_thread(client.progress, job_id)
        if (line := _line(progress)) != told:
            screen.line(STACK, line)
            told = line
        if progress.status in TERMINAL:
            break
        await asyncio.sleep(LOOK_S)
    if progress.status is not JobStatus.COMPLETED:
        raise CommandError(
            f"The sample's job {job_id} is {progress.status}: {progress.error or progress.message}",
            code=progress.error_code,
        )
    took_s = loop.time() - began
    segments = await asyncio.to_thread(client.segments, job_id)
    return Heard(job_id, segments, progress.duration_ms or 0, took_s)


async def _remove(client: Client, job_id: int) -> None:
    try:
        await asyncio.to_thread(client.delete, job_id)
    except NotFoundError:
        return


def _line(progress: ProgressData) -> str:
    stage = progress.stage or progress.status
    return f"job {progress.job_id}: {progress.overall_percent:3.0f} %  {stage}  {progress.message}"
