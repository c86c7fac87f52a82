"""What the engine does, told as metrics: its batches, its model, the memory of its device."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import ModelInfo
from hearsight_core.telemetry.metrics import (
    BATCH_CHUNKS,
    BATCH_SECONDS,
    BUSY_SECONDS,
    DEVICE_MEMORY_BYTES,
    MODEL_INFO,
    STREAMS,
)

log = structlog.get_logger(__name__)

_STATM = Path("/proc/self/statm")
"""Sizes of this process's memory, in pages; the second is what is resident (proc(5))."""


def tell_batch(done: BatchDone) -> None:
    """Counts a batch that the device has done, the first ones that warm it up included."""
    BATCH_CHUNKS.observe(done.size)
    BATCH_SECONDS.observe(done.duration_s)


def tell_model(info: ModelInfo, loaded: Callable[[], bool]) -> None:
    """Names the model; whenever metrics are asked for, tells if it is loaded, and the memory."""
    named = MODEL_INFO.labels(name=info.name, device=info.device, compute_type=info.compute_type)
    named.set_function(loaded)
    if info.device == "remote":
        return
    read = resident_bytes if info.device == "cpu" else gpu_bytes()
    if read is not None:
        DEVICE_MEMORY_BYTES.labels(device=info.device).set_function(read)


def tell_work(info: ModelInfo, worked_s: Callable[[], float]) -> None:
    """Has the time at work read whenever metrics are asked for, and says of how many streams."""
    STREAMS.set(info.streams)
    BUSY_SECONDS.read_from(worked_s)


def resident_bytes() -> float:
    """What this process holds in memory."""
    return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def gpu_bytes() -> Callable[[], float] | None:
    """Reads the memory in use on the engine's GPU; None: the driver can't say.

    All that is in use, not this process's share: in a container the driver can't tell whose it is,
    and an engine has its GPU for itself.
    """
    import pynvml  # noqa: PLC0415  only where there is a GPU

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
        except pynvml.NVMLError:
            # A device that is lost is the engine's to tell; the other metrics must still come.
            return math.nan

    # The engine takes the first GPU that CUDA shows it: by number or by name, if not all are shown.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    try:
        pynvml.nvmlInit()
        if first.isdigit():
            gpu = pynvml.nvmlDeviceGetHandleByIndex(int(first))
        else:
            gpu = pynvml.nvmlDeviceGetHandleByUUID(first)
    except pynvml.NVMLError as error:
        log.warning("the GPU's memory is not told", error=str(error))
        return None
    return read
