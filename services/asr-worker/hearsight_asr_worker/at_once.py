"""How much is recognised at once: as many streams and as large batches as the memory allows."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
import structlog
from faster_whisper import WhisperModel

from hearsight_asr_worker.decoding import Decoder
from hearsight_asr_worker.device_memory import DeviceMemory
from hearsight_asr_worker.engine import SAMPLE_RATE
from hearsight_asr_worker.faults import fault_of
from hearsight_asr_worker.request import Request
from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import AsrSettings

log = structlog.get_logger(__name__)

_LARGEST = {"cpu": 8, "cuda": 16}
"""Pieces in a batch, however much memory there is. On cores 16 are no faster than 8
(docs/performance.md); of GPUs faster-whisper's README measures 8 and 16."""
_UNMEASURED = 8
_LOOK_EVERY_S = 0.001
_MIB = 2**20


@dataclass(frozen=True)
class AtOnce:
    """Batches in work at once, and pieces of up to 30 s in each."""

    streams: int
    batch_size: int


def wanted(settings: AsrSettings, device: str, cores: int) -> AtOnce:
    """What would be best if memory were no matter: a stream a core, one on a GPU."""
    return AtOnce(
        settings.asr_streams or (cores if device == "cpu" else 1),
        settings.asr_batch_size or _LARGEST[device],
    )


def fitting(
    best: AtOnce, settings: AsrSettings, model: WhisperModel, memory: DeviceMemory | None
) -> AtOnce:
    """As much of `best` as fits into the memory that is free now; what is set stays as it is.

    One piece of the longest kind is recognised to see what it takes. All streams, with full
    batches, may take `HEARSIGHT_ASR_MEMORY_SHARE` of what is free. Streams come first: one that
    does without batches is worth more than a larger batch in another.

    Raises:
        OutOfMemoryError: there is no room for a single piece.
        DeviceFailedError: the device failed, and will from now on.
        RecognitionError: the engine failed.
    """
    if settings.asr_streams and settings.asr_batch_size:
        return best
    unmeasured = replace(best, batch_size=settings.asr_batch_size or _UNMEASURED)
    if memory is None:
        return unmeasured
    free = memory.free()
    piece = _needed(model, settings, memory)
    if not (math.isfinite(free) and piece > 0):
        return unmeasured
    pieces = int(free * settings.asr_memory_share / piece)
    streams = settings.asr_streams or min(
        best.streams, max(1, pieces // (settings.asr_batch_size or 1))
    )
    size = settings.asr_batch_size or min(best.batch_size, max(1, pieces // streams))
    chosen = AtOnce(streams, size)
    (log.info if chosen == best else log.warning)(
        "how much is recognised at once is chosen by the memory that is free",
        free_mib=round(free / _MIB),
        piece_mib=round(piece / _MIB),
        streams=chosen.streams,
        batch_size=chosen.batch_size,
        without_limit=f"{best.streams} streams, batches of {best.batch_size}",
    )
    return chosen


def _needed(model: WhisperModel, settings: AsrSettings, memory: DeviceMemory) -> float:
    """Bytes that a piece takes which fills the window, with as long a prompt as there may be."""
    decoder = Decoder(model, fit_window=False)
    quiet = decoder.features(np.zeros(SAMPLE_RATE, np.float32))
    request = replace(
        Request.of(RecognitionOptions(), "en", beam_size=settings.beam_size),
        initial_prompt=" and so on" * model.max_length,
        temperatures=(0.0,),
    )
    before = memory.used()
    try:
        most = _most_while(lambda: decoder.decode(request, [quiet]), memory.used)
    except Exception as error:
        raise fault_of(error) from error
    return most - before


def _most_while(work: Callable[[], object], used: Callable[[], float]) -> float:
    """The most that `used` says while `work` is done, which raises what it raises.

    Neither glibc nor CTranslate2's allocator on a GPU keep large buffers, so afterwards most of
    what a batch took is gone.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        most = used()
        while wait([working], timeout=_LOOK_EVERY_S).not_done:
            most = max(most, used())
        working.result()
    return most
