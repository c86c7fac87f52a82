"""The names that people's scripts and dashboards hold on to."""

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from hearsight_core import contract
from hearsight_core.contract import (
    CELERY_TASK_NAME,
    DEFAULT_POOL,
    QUEUE_PATTERN,
    STAGE_PERCENT,
    TERMINAL,
    Hint,
    JobStatus,
    Pool,
    RecognitionOptions,
    Stage,
    TaskKind,
    kind_of,
    progress_key,
    queue_of,
)


def test_statuses_are_called_as_ever() -> None:
    assert [*JobStatus] == ["idle", "pending", "processing", "completed", "failed", "cancelled"]
    assert sorted(TERMINAL) == ["cancelled", "completed", "failed"]


def test_stages_are_called_as_ever_and_begin_where_they_began() -> None:
    assert {stage.value: percent for stage, percent in STAGE_PERCENT.items()} == {
        "upload_processing": 10,
        "upload": 100,
        "download_start": 0,
        "download": 0,
        "asr_preprocessing": 5,
        "asr_recognizing": 10,
        "asr_postprocessing": 80,
        "completed": 100,
        "error": 0,
    }
    assert set(STAGE_PERCENT) == set(Stage)


def test_the_download_task_is_called_process_job_task_on_the_queue_download() -> None:
    assert CELERY_TASK_NAME[TaskKind.DOWNLOAD] == "process_job_task"
    assert queue_of(TaskKind.DOWNLOAD) == "download"


def test_every_kind_of_task_has_a_queue_and_a_name_of_its_own() -> None:
    assert set(CELERY_TASK_NAME) == set(TaskKind)
    assert len(set(CELERY_TASK_NAME.values())) == len(TaskKind)
    assert len({queue_of(kind) for kind in TaskKind}) == len(TaskKind)


def test_each_pool_has_its_queue_and_all_share_the_downloads() -> None:
    assert queue_of(TaskKind.TRANSCRIBE) == queue_of(TaskKind.TRANSCRIBE, DEFAULT_POOL) == "asr"
    assert queue_of(TaskKind.TRANSCRIBE, "large") == "asr.large"
    assert queue_of(TaskKind.DOWNLOAD, "large") == "download"


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("pool", [DEFAULT_POOL, "large", "download", "0", "a-b", "x" * 32])
def test_a_queue_tells_its_kind(kind: TaskKind, pool: str) -> None:
    queue = queue_of(kind, pool)
    assert kind_of(queue) is kind
    assert re.fullmatch(QUEUE_PATTERN, queue)


@pytest.mark.parametrize("name", ["", "-a", "a-", "Large", "a.b", "a_b", "x" * 33, "a\n", "ü"])
def test_a_pool_s_name_is_fit_for_a_queue_and_for_kubernetes(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Pool).validate_python(name)
    assert not re.fullmatch(QUEUE_PATTERN, f"asr.{name}")


def test_redis_is_laid_out_as_ever() -> None:
    assert (contract.BROKER_DB, contract.NEWS_DB) == (0, 1)
    assert contract.NEWS_TTL_S == 24 * 3600
    assert progress_key(42) == "task_progress:42"


def test_a_hint_is_a_task_and_the_attempt_before() -> None:
    assert Hint(task_id="a", attempt=2).model_dump() == {"task_id": "a", "attempt": 2}


def test_payloads_can_not_be_changed_and_take_nothing_unknown() -> None:
    hint = Hint(task_id="a", attempt=0)
    with pytest.raises(ValidationError, match="frozen"):
        hint.attempt = 1  # type: ignore[misc]  # that this is refused is the point
    with pytest.raises(ValidationError, match="extra_forbidden"):
        RecognitionOptions.model_validate({"beam": 3})


def test_options_are_plain_by_default() -> None:
    assert RecognitionOptions().stored() == {
        "language": None,
        "task": "transcribe",
        "word_timestamps": False,
        "initial_prompt": None,
        "hotwords": None,
    }
