"""One line on how a job stands."""

from hearsight.times import clock, size
from hearsight_core.contract import JobStatus, ProgressData, Stage


def detail(progress: ProgressData) -> str:
    """What is being done, and how far it is, in the measures of its stage."""
    if progress.status is JobStatus.FAILED:
        return f"{progress.error or progress.message} [{progress.error_code}]"
    parts = [progress.message or str(progress.stage or progress.status)]
    if progress.stage is Stage.DOWNLOAD:
        parts += _bytes(progress)
    elif progress.stage is Stage.ASR_RECOGNIZING:
        parts += _audio(progress)
    return " · ".join(parts)


def name(progress: ProgressData) -> str:
    """The job's number, and its file's name where it is known."""
    return f"#{progress.job_id} {progress.filename or ''}".rstrip()


def _bytes(progress: ProgressData) -> list[str]:
    parts = []
    if progress.current_bytes is not None:
        of = f" of {size(progress.total_bytes)}" if progress.total_bytes else ""
        parts.append(f"{size(progress.current_bytes)}{of}")
    if progress.speed:
        parts.append(f"{size(progress.speed)}/s")
    if progress.eta_seconds is not None:
        parts.append(f"{clock(progress.eta_seconds * 1000)} left")
    return parts


def _audio(progress: ProgressData) -> list[str]:
    parts = []
    if progress.position_ms is not None and progress.duration_ms:
        parts.append(f"{clock(progress.position_ms)} of {clock(progress.duration_ms)}")
    if progress.real_time_factor is not None:
        parts.append(f"real-time factor {progress.real_time_factor:.2f}")
    if progress.eta_seconds is not None:
        parts.append(f"{clock(progress.eta_seconds * 1000)} left")
    return parts
