"""The life of a job and of a task, as data: what may follow what, and what is never left again."""

from datetime import timedelta
from itertools import pairwise, product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearsight_core.contract import STAGE_PERCENT, TERMINAL, JobStatus, Stage
from hearsight_core.jobs import (
    JOB_TRANSITIONS,
    RANK_OFFSET,
    TASK_TRANSITIONS,
    Priority,
    TaskState,
    overall_percent,
    recognising_percent,
)

J, T = JobStatus, TaskState

JOB_MAY = {
    (J.PENDING, J.PROCESSING),
    (J.PENDING, J.CANCELLED),
    (J.PENDING, J.FAILED),
    (J.PROCESSING, J.COMPLETED),
    (J.PROCESSING, J.FAILED),
    (J.PROCESSING, J.CANCELLED),
    (J.FAILED, J.PENDING),
    (J.CANCELLED, J.PENDING),
}
TASK_MAY = {
    (T.WAITING, T.RUNNING),
    (T.WAITING, T.CANCELLED),
    (T.RUNNING, T.DONE),
    (T.RUNNING, T.FAILED),
    (T.RUNNING, T.CANCELLED),
    (T.RUNNING, T.WAITING),
    (T.FAILED, T.WAITING),
    (T.CANCELLED, T.WAITING),
}

URL_STAGES = [
    Stage.DOWNLOAD_START,
    Stage.DOWNLOAD,
    Stage.ASR_PREPROCESSING,
    Stage.ASR_RECOGNIZING,
    Stage.ASR_POSTPROCESSING,
    Stage.COMPLETED,
]
UPLOAD_STAGES = [
    Stage.UPLOAD_PROCESSING,
    Stage.UPLOAD,
    Stage.ASR_PREPROCESSING,
    Stage.ASR_RECOGNIZING,
    Stage.ASR_POSTPROCESSING,
    Stage.COMPLETED,
]


@pytest.mark.parametrize(("before", "after"), list(product(JobStatus, repeat=2)))
def test_a_job_goes_these_ways_and_no_other(before: JobStatus, after: JobStatus) -> None:
    assert (after in JOB_TRANSITIONS[before]) == ((before, after) in JOB_MAY)


@pytest.mark.parametrize(("before", "after"), list(product(TaskState, repeat=2)))
def test_a_task_goes_these_ways_and_no_other(before: TaskState, after: TaskState) -> None:
    assert (after in TASK_TRANSITIONS[before]) == ((before, after) in TASK_MAY)


def test_an_ended_job_is_left_by_a_retry_alone() -> None:
    for status in TERMINAL:
        assert JOB_TRANSITIONS[status] <= {JobStatus.PENDING}
    assert not JOB_TRANSITIONS[JobStatus.COMPLETED]


def test_what_is_done_is_never_done_again() -> None:
    assert not TASK_TRANSITIONS[TaskState.DONE]


def test_every_state_can_be_reached_and_every_job_can_end() -> None:
    reached = {JobStatus.PENDING}
    while more := {after for before in reached for after in JOB_TRANSITIONS[before]} - reached:
        reached |= more
    assert reached == set(JobStatus) - {JobStatus.IDLE}


def _percent_span(stage: Stage) -> tuple[float, float]:
    """From where to where `stage_percent` runs within a stage."""
    start = STAGE_PERCENT[stage]
    if stage is Stage.DOWNLOAD:
        return start, 100
    if stage is Stage.ASR_RECOGNIZING:
        return start, STAGE_PERCENT[Stage.ASR_POSTPROCESSING]
    return start, start


@pytest.mark.parametrize("stages", [URL_STAGES, UPLOAD_STAGES], ids=["address", "upload"])
def test_the_overall_percentage_rises_from_stage_to_stage(stages: list[Stage]) -> None:
    marks = [
        overall_percent(stage, low + (high - low) * step / 20)
        for stage in stages
        for low, high in [_percent_span(stage)]
        for step in range(21)
    ]
    assert all(before <= after for before, after in pairwise(marks))
    assert marks[0] == 0
    assert marks[-1] == 100


@pytest.mark.parametrize("stage", list(Stage))
def test_the_overall_percentage_is_a_percentage(stage: Stage) -> None:
    for percent in _percent_span(stage):
        assert 0 <= overall_percent(stage, percent) <= 100


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_recognising_stays_between_its_first_and_its_last_percent(done: int, whole: int) -> None:
    assert 10 <= recognising_percent(done, whole) <= 80


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_recognising_never_goes_back_as_audio_is_recognised(
    whole: int, before: int, more: int
) -> None:
    assert recognising_percent(before, whole) <= recognising_percent(before + more, whole)


def test_every_stage_has_a_percentage_it_begins_with() -> None:
    assert set(STAGE_PERCENT) == set(Stage)
    assert (STAGE_PERCENT[Stage.ASR_PREPROCESSING], STAGE_PERCENT[Stage.COMPLETED]) == (5, 100)


def test_priority_moves_a_place_in_the_queue_and_no_more_than_two_days() -> None:
    assert set(RANK_OFFSET) == set(get_args(Priority))
    assert RANK_OFFSET["high"] < RANK_OFFSET["normal"] < RANK_OFFSET["low"]
    assert RANK_OFFSET["low"] - RANK_OFFSET["high"] == timedelta(days=2)
