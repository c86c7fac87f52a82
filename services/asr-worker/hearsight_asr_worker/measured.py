"""What the engine does, told as metrics: its batches, its model, the memory of its device."""

from collections.abc import Callable

from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.device_memory import DeviceMemory
from hearsight_asr_worker.engine import ModelInfo
from hearsight_core.telemetry.metrics import (
    BATCH_CHUNKS,
    BATCH_SECONDS,
    BUSY_SECONDS,
    DEVICE_MEMORY_BYTES,
    MODEL_INFO,
    STREAMS,
)


def tell_batch(done: BatchDone) -> None:
    """Counts a batch that the device has done, the first ones that warm it up included."""
    BATCH_CHUNKS.observe(done.size)
    BATCH_SECONDS.observe(done.duration_s)


def tell_model(info: ModelInfo, loaded: Callable[[], bool], memory: DeviceMemory | None) -> None:
    """Names the model; whenever metrics are asked for, tells if it is loaded, and the memory."""
    named = MODEL_INFO.labels(name=info.name, device=info.device, compute_type=info.compute_type)
    named.set_function(loaded)
    if memory is not None:
        DEVICE_MEMORY_BYTES.labels(device=info.device).set_function(memory.used)


def tell_work(info: ModelInfo, worked_s: Callable[[], float]) -> None:
    """Has the time at work read whenever metrics are asked for, and says of how many streams."""
    STREAMS.set(info.streams)
    BUSY_SECONDS.read_from(worked_s)
