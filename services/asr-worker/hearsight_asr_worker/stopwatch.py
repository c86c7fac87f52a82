"""How long the device has been at what it is doing."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times steps that may run side by side; asked by one thread, used by many."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._began: dict[object, float] = {}

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
                del self._began[step]

    def longest_s(self) -> float:
        """Seconds since the oldest step in work was begun; 0 if there is none."""
        with self._guard:
            return time.monotonic() - min(self._began.values()) if self._began else 0.0
