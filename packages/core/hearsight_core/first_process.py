"""What a program has to do for being the first process of a container."""

import signal
import sys
from types import FrameType


def end_on_sigterm() -> None:
    """Lets SIGTERM end the process from here on, until somebody else handles it.

    The kernel gives a first process no default for a signal: without a handler SIGTERM is ignored,
    and what is still starting would hold its GPU until it is killed.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
