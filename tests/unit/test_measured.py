"""What an engine does is told as metrics, and what can't be told costs no work."""

import time

import psutil
import pytest
from prometheus_client import REGISTRY

from hearsight_asr_worker import measured
from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.device_memory import HostMemory
from hearsight_asr_worker.engine import ModelInfo
from hearsight_asr_worker.stopwatch import Stopwatch


def test_batches_are_told_by_size_and_time() -> None:
    def told() -> tuple[float, ...]:
        names = ("batch_chunks_count", "batch_chunks_sum", "batch_seconds_sum")
        return tuple(REGISTRY.get_sample_value(f"hearsight_{name}") or 0 for name in names)

    before = told()
    measured.tell_batch(BatchDone(size=6, duration_s=0.5))
    measured.tell_batch(BatchDone(size=2, duration_s=0.25))
    assert [now - then for now, then in zip(told(), before, strict=True)] == [2, 8, 0.75]


def test_on_a_cpu_the_memory_is_what_the_process_holds() -> None:
    held = psutil.Process().memory_info().rss
    info = ModelInfo("a-model", None, "cpu", "int8", frozenset({"en"}), 1)
    loaded = True
    measured.tell_model(info, lambda: loaded, HostMemory())
    labels = {"name": "a-model", "device": "cpu", "compute_type": "int8"}
    assert REGISTRY.get_sample_value("hearsight_model_info", labels) == 1
    loaded = False
    assert REGISTRY.get_sample_value("hearsight_model_info", labels) == 0
    told = REGISTRY.get_sample_value("hearsight_device_memory_bytes", {"device": "cpu"})
    assert told == pytest.approx(held, rel=0.1)


def test_the_time_at_work_grows_while_a_batch_is_under_way_and_counts_every_stream() -> None:
    def told() -> float:
        value = REGISTRY.get_sample_value("hearsight_device_busy_seconds_total")
        assert value is not None
        return value

    stopwatch = Stopwatch()
    info = ModelInfo("a-model", None, "cpu", "int8", frozenset({"en"}), streams=2)
    measured.tell_work(info, stopwatch.total_s)
    assert told() == 0
    assert REGISTRY.get_sample_value("hearsight_device_streams") == 2
    began = time.monotonic()
    with stopwatch.running(), stopwatch.running():
        time.sleep(0.05)
        assert told() >= 2 * 0.05
    ended = told()
    assert 2 * 0.05 <= ended <= 2 * (time.monotonic() - began)
    time.sleep(0.01)
    assert told() == ended
