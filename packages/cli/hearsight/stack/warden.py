"""What is left to do when the stack is killed: `python -m hearsight.stack.warden TOKEN HOME`.

The stack holds the other end of the warden's standard input. When that closes, however it came to
it, the kernel has told the children to finish (see `child`); the warden gives them time to do so,
then ends all that carry the run's mark, grandchildren included.
"""

import os
import signal
import sys
from pathlib import Path

from hearsight.stack import mark

GRACE_S = 25
"""A worker drains for 20 seconds at most."""


def main(token: str, home: str) -> None:
    """Waits for the end of the stack, then leaves no process of it behind."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 4096):
        pass
    run = mark.Run(Path(home), token)
    if sys.platform != "linux":
        for process in run.carriers():
            process.terminate()
    mark.end(run.carriers(), grace_s=GRACE_S)
    while strays := run.carriers():
        mark.end(strays, grace_s=0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
