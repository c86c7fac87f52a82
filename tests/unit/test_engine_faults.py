"""What a library's exceptions mean, how long a batch may take, and how many parts fill one."""

import pytest

from hearsight_asr_worker.engine import ModelInfo
from hearsight_asr_worker.engines import batch_timeout_s, slots
from hearsight_asr_worker.faults import fault_of
from hearsight_core.errors import (
    DeviceFailedError,
    HearSightError,
    OutOfMemoryError,
    RecognitionError,
)
from hearsight_core.settings import AsrSettings
from hearsight_core.worker import EXIT_CODES


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failed with error an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "cuBLAS failed with status CUBLAS_STATUS_INTERNAL_ERROR",
        "cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED",
        "parallel_for failed: unspecified launch failure",
        "misaligned address",
        "an illegal instruction was encountered",
    ],
)
def test_a_device_that_fails_for_good_is_known_by_its_words(text: str) -> None:
    fault = fault_of(RuntimeError(text))
    assert type(fault) is DeviceFailedError
    assert fault.detail == text
    assert fault.code in EXIT_CODES


@pytest.mark.parametrize(
    "text",
    ["CUDA failed with error out of memory", "cuBLAS failed with CUBLAS_STATUS_ALLOC_FAILED"],
)
def test_a_failed_allocation_leaves_the_device_usable(text: str) -> None:
    assert type(fault_of(RuntimeError(text))) is OutOfMemoryError


def test_a_fault_of_one_batch_is_no_fault_of_the_process() -> None:
    for error in (RuntimeError("no such token"), ValueError("cuda"), IndexError("7")):
        fault = fault_of(error)
        assert type(fault) is RecognitionError
        assert not fault.hits_process


def test_errors_that_meet_a_process_are_tried_again() -> None:
    hit = {
        code
        for code in HearSightError.codes()
        if (kind := HearSightError.of_code(code)) is not None and kind.hits_process
    }
    assert hit == {"worker.lost", "asr.device_failed", "asr.hung", "asr.out_of_memory"}
    assert hit <= HearSightError.codes(retryable=True)


def test_every_code_leads_back_to_its_error() -> None:
    for code in HearSightError.codes():
        kind = HearSightError.of_code(code)
        assert kind is not None
        assert kind.code == code
    assert HearSightError.of_code("no.such") is None


def test_a_batch_may_take_as_long_as_its_device_is_slow() -> None:
    def may_take_s(device: str, batch_size: int = 8, **settings: float) -> float:
        info = ModelInfo("m", None, device, "int8", frozenset({"en"}), 1, batch_size)
        return batch_timeout_s(AsrSettings.model_validate(settings), info)

    assert may_take_s("cuda") == 300
    assert may_take_s("cuda", 16) == 480
    assert may_take_s("cpu") == 2400
    assert may_take_s("remote", openai_timeout_s=30, openai_max_wait_s=60) == 300
    assert may_take_s("remote", openai_timeout_s=120, openai_max_wait_s=60) == 540
    assert may_take_s("cpu", asr_batch_timeout_s=5) == 5
    assert may_take_s("remote", asr_batch_timeout_s=5) == 5


@pytest.mark.parametrize(
    ("device", "streams", "parts"),
    [("cpu", 2, 3), ("cuda", 1, 9), ("cuda", 2, 17), ("remote", 4, 5)],
)
def test_a_worker_has_as_many_parts_in_work_as_its_device_does_at_once(
    device: str, streams: int, parts: int
) -> None:
    info = ModelInfo("tiny.en", None, device, "int8", frozenset({"en"}), streams, batch_size=8)
    assert slots(AsrSettings(), info) == parts
    asked = AsrSettings.model_validate({"CELERY_WORKER_CONCURRENCY": 2})
    assert slots(asked, info) == 2
