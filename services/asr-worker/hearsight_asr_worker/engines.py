"""Which engine a worker has: each is a file of its own, and only the chosen one is imported."""

from collections.abc import Callable

from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import MAX_CHUNK_S, Engine, ModelInfo
from hearsight_core.settings import AsrSettings

_LEAST_BATCH_TIMEOUT_S = 300.0
_CPU_SLOWER = 10
_SLOW_STEPS = 4
"""A request may fall silent while it connects, is sent, is answered, and in its last try again."""


def load(settings: AsrSettings, *, observe: Callable[[BatchDone], None] | None = None) -> Engine:
    """The engine that `settings` ask for, ready to recognise.

    Args:
        settings: Which engine, and its own settings.
        observe: Told of every batch that is done, in the stream's thread.

    Raises:
        AsrError: it can't be had; see the engines' own `load`.
    """
    # Imported here: a model's libraries take seconds and hundreds of megabytes.
    if settings.engine == "openai":
        from hearsight_asr_worker import remote  # noqa: PLC0415  as above

        return remote.load(settings, observe=observe)
    from hearsight_asr_worker import models  # noqa: PLC0415  as above

    return models.load(settings, observe=observe)


def slots(settings: AsrSettings, info: ModelInfo) -> int:
    """How many parts a worker of this engine has in work at once.

    As many as keep its streams busy, and one more whose audio is there when a stream falls free. A
    GPU is busy when its batches are full, and parts of short recordings are a single chunk each;
    on cores a chunk alone takes no longer than its share of a batch.
    """
    if settings.worker_concurrency is not None:
        return settings.worker_concurrency
    return 1 + info.streams * (info.batch_size if info.device == "cuda" else 1)


def batch_timeout_s(settings: AsrSettings, info: ModelInfo) -> float:
    """How long a batch may take before the engine counts as hung, seconds.

    A batch that goes well takes a hundredth of its audio's length on a GPU. A large model on few
    cores may take several times that length, and decodes doubtful text again. A request to an
    endpoint may be put off before it is answered.
    """
    if settings.asr_batch_timeout_s is not None:
        return settings.asr_batch_timeout_s
    if info.device == "remote":
        may_take_s = settings.openai_max_wait_s + _SLOW_STEPS * settings.openai_timeout_s
    else:
        audio_s = info.batch_size * MAX_CHUNK_S
        may_take_s = audio_s * (1 if info.device == "cuda" else _CPU_SLOWER)
    return max(_LEAST_BATCH_TIMEOUT_S, may_take_s)
