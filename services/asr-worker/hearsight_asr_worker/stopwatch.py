"""How long the device has been at what it is doing, and at work in all."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times steps that may run side by side; asked by one thread, used by many."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._began: dict[object, float] = {}
        self._ended_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The block is a step."""
        step = object()
        with self._guard:
            self._began[step] = time.monotonic()
        try:
            yield
        finally:
            with self._guard:
                self._ended_s += time.monotonic() - self._began.pop(step)

    def longest_s(self) -> float:
        """Seconds since the oldest step in work was begun; 0 if there is none."""
        with self._guard:
            return time.monotonic() - min(self._began.values()) if self._began else 0.0

    def total_s(self) -> float:
        """Seconds that all steps took, added up, with those in work as far as they are."""
        with self._guard:
            now = time.monotonic()
            return self._ended_s + sum(now - began for began in self._began.values())
