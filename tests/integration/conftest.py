"""What several kinds of integration tests need on top of the servers."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Protocol, TypeVar

import pytest

T = TypeVar("T")


class Together(Protocol):
    """Calls functions at the same moment, each in a thread, and returns what they returned."""

    def __call__(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Waits for all of them; the first exception is raised here."""


@pytest.fixture
def together() -> Together:
    def run(calls: Sequence[Callable[[], T]]) -> list[T]:
        start = Barrier(len(calls))

        def at_once(call: Callable[[], T]) -> T:
            start.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(at_once, calls))

    return run
