"""What is left to do when the stack is killed: `python -m hearsight.stack.warden TOKEN HOME S`.

The stack holds the other end of the warden's standard input. When that closes, however it came to
that, the kernel has told the children to finish (see `child`). The warden gives them time to do so,
ends what they leave behind, and after a while all that carry the run's mark.
"""

import os
import signal
import sys
from pathlib import Path

from hearsight.stack import mark


def main(token: str, home: str, grace_s: float) -> None:
    """Waits for the end of the stack, then leaves no process of it behind."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 4096):
        pass
    run = mark.Run(Path(home), token)
    if sys.platform != "linux":
        for carrier in run.carriers():
            if carrier.leads:
                carrier.process.terminate()
    mark.end(run.carriers, grace_s=grace_s)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
