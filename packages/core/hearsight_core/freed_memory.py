"""Memory that a process has freed goes back to the system.

glibc, if not asked, keeps most of it, in an arena for each thread. What is kept in pieces that fit
no later need grows for hundreds of jobs; handed back, it is taken anew as it is needed.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 30.0
"""It takes 20 ms with 500 MiB, and some more to take again what is needed again."""


def hand_back() -> None:
    """Gives back what is free now. Other C libraries than glibc do so by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def handed_back(every_s: float = EVERY_S) -> Iterator[None]:
    """Gives back what is free again and again, in a thread of its own, while the block runs."""
    ended = threading.Event()

    def now_and_then() -> None:
        while not ended.wait(every_s):
            hand_back()

    thread = threading.Thread(target=now_and_then, name="freed-memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
