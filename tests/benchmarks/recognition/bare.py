"""The library by itself, as its README uses it: what the whole path is compared with.

Its model, device and compute type are those of the workers: what `HEARSIGHT_MODEL`,
`HEARSIGHT_DEVICE` and `HEARSIGHT_COMPUTE_TYPE` say, and their defaults.
"""

import time
from pathlib import Path

from faster_whisper import WhisperModel

from hearsight_asr_worker import models
from hearsight_core.settings import AsrSettings


def device() -> str:
    """Where everybody recognises: cpu or cuda."""
    return models.chosen_device(AsrSettings().device)


def model(*, cpu_threads: int = 0, num_workers: int = 1) -> WhisperModel:
    """The model as faster-whisper loads it, on all cores or the GPU."""
    settings = AsrSettings()
    return WhisperModel(
        str(models.find(settings).folder),
        device=device(),
        compute_type=models.chosen_compute_type(settings.compute_type, device()),
        cpu_threads=cpu_threads,
        num_workers=num_workers,
    )


def seconds(bare: WhisperModel, path: Path) -> float:
    """How long `transcribe` takes until its last segment is there."""
    began = time.perf_counter()
    segments, _ = bare.transcribe(str(path))
    for _ in segments:
        pass
    return time.perf_counter() - began
