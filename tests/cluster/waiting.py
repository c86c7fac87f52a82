"""Waiting for a state of the cluster, with a limit; nothing here measures how long it took."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

LIMIT_S = 300.0
"""Generous: two cores may build, start and recognise all at once."""
PAUSE_S = 1.0


def eventually(
    what: str,
    look: Callable[[], Found | None],
    *,
    limit_s: float = LIMIT_S,
    describe: Callable[[], str] = str,
) -> Found:
    """What `look` finds as soon as it finds something that is true.

    Raises:
        AssertionError: it found nothing in time; the message says `what` and what `describe` tells.
    """
    deadline = time.monotonic() + limit_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}\n{describe()}"
        time.sleep(PAUSE_S)
