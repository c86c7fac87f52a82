"""A model's stay in memory: given back when nobody has used it for a while, loaded for the next."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from hearsight_asr_worker.faults import fault_of
from hearsight_asr_worker.stopwatch import Stopwatch
from hearsight_core import freed_memory

log = structlog.get_logger(__name__)


class Weights(Protocol):
    """What CTranslate2's models can do with their weights."""

    def load_model(self) -> None:
        """Reads them from the model's folder onto the device."""

    def unload_model(self) -> None:
        """Frees them, unless they are in use."""

    @property
    def model_is_loaded(self) -> bool:
        """Whether they are on the device."""
        ...


class Resident:
    """A loaded model that gives its memory back once nobody has used it for so long.

    It is loaded again, once, for all who come while it is away. Who comes while it leaves waits for
    that to end. A load that fails is an error of who came; the next one tries again.
    """

    def __init__(self, weights: Weights, *, idle_s: float | None) -> None:
        """A stay that has begun.

        Args:
            weights: What is loaded now.
            idle_s: How long they stay without a user, seconds; None: for ever.
        """
        self._weights = weights
        self._loading = Stopwatch()
        self._changed = threading.Condition()
        self._here = True
        self._users = 0
        self._idle_since = time.monotonic()
        self._ended = False
        self._thread: threading.Thread | None = None
        if idle_s is not None:
            self._thread = threading.Thread(
                target=self._leave_when_idle, args=(idle_s,), name="asr-idle", daemon=True
            )
            self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the model is loaded. Waits for no load: CTranslate2, asked itself, would."""
        return self._here

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model is loaded while the block runs.

        Raises:
            OutOfMemoryError: there is no room for it any more.
            DeviceFailedError: the device failed, and will from now on.
            RecognitionError: it can't be loaded for another reason.
        """
        with self._changed:
            if not self._here:
                self._load()
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._idle_since = time.monotonic()
                self._changed.notify_all()

    def loading_s(self) -> float:
        """Seconds since a load was begun that has not ended; 0 if there is none."""
        return self._loading.longest_s()

    def close(self) -> None:
        """Gives nothing back any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _load(self) -> None:
        began = time.monotonic()
        try:
            with self._loading.running():
                self._weights.load_model()
        except Exception as error:
            raise fault_of(error) from error
        self._here = True
        log.info("the model is loaded again", took_s=round(time.monotonic() - began, 3))

    def _leave_when_idle(self, idle_s: float) -> None:
        with self._changed:
            while not self._ended:
                if self._users or not self._here:
                    self._changed.wait()
                elif (stays_s := self._idle_since + idle_s - time.monotonic()) > 0:
                    self._changed.wait(stays_s)
                else:
                    self._leave()

    def _leave(self) -> None:
        idle_s = time.monotonic() - self._idle_since
        # Should it not work, it is tried again after as long.
        self._idle_since = time.monotonic()
        try:
            self._weights.unload_model()
        except RuntimeError:
            # A device that is lost fails the next task, which is where the process is replaced.
            log.exception("the model could not be given back")
            return
        if not self._weights.model_is_loaded:
            freed_memory.hand_back()
            self._here = False
            log.info("the model is given back, for there was nothing to do", idle_s=round(idle_s))
