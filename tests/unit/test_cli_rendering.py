"""What the command shows of progress, times and failures."""

import pytest

from hearsight import progress_line, times
from hearsight.stack.supervisor import Backoff
from hearsight_core.contract import JobStatus, ProgressData, Stage


def progress(**values: object) -> ProgressData:
    return ProgressData.model_validate(
        {"job_id": 7, "status": "processing", "message": "Working", **values}
    )


def test_a_download_shows_bytes_speed_and_what_is_left() -> None:
    shown = progress_line.detail(
        progress(
            stage=Stage.DOWNLOAD,
            current_bytes=3 * 1024**2,
            total_bytes=12 * 1024**2,
            speed=1.5 * 1024**2,
            eta_seconds=6,
        )
    )
    assert shown == "Working · 3.0 MiB of 12.0 MiB · 1.5 MiB/s · 0:06 left"


def test_a_download_of_unknown_size_shows_what_is_known() -> None:
    shown = progress_line.detail(progress(stage=Stage.DOWNLOAD, current_bytes=900))
    assert shown == "Working · 900 B"


def test_recognition_shows_the_position_and_the_real_time_factor() -> None:
    shown = progress_line.detail(
        progress(
            stage=Stage.ASR_RECOGNIZING,
            position_ms=65_000,
            duration_ms=3_725_000,
            real_time_factor=0.124,
        )
    )
    assert shown == "Working · 1:05 of 1:02:05 · real-time factor 0.12"


def test_a_failed_job_shows_why_and_the_code() -> None:
    shown = progress_line.detail(
        progress(status=JobStatus.FAILED, error="No audio track.", error_code="media.no_audio")
    )
    assert shown == "No audio track. [media.no_audio]"


def test_a_job_is_named_by_its_number_and_file() -> None:
    assert progress_line.name(progress(filename="talk.mp4")) == "#7 talk.mp4"
    assert progress_line.name(progress()) == "#7"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_are_readable(count: int, shown: str) -> None:
    assert times.size(count) == shown


def test_pauses_double_up_to_the_longest_and_start_again_after_a_long_life() -> None:
    backoff = Backoff(first_s=0.5, longest_s=30, reset_after_s=60)
    pauses = [backoff.after(None, lived_s=0)]
    for _ in range(7):
        pauses.append(backoff.after(pauses[-1], lived_s=1))
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(30, lived_s=60) == 0.5
