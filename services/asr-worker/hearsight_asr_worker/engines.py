"""Which engine a worker has: each is a file of its own, and only the chosen one is imported."""

from collections.abc import Callable

from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import Engine
from hearsight_core.settings import AsrSettings


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
