"""The last step before a child of the stack becomes its program: no orphans, no root.

Run as `python -m hearsight.stack.child --parent PID --death-signal N [--uid U --gid G] -- program
...`: it gives up root where asked, has the kernel send the death signal to this process when the
parent dies however it dies, and then becomes the program.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

LEADER = "HEARSIGHT_STACK_LEADER"
"""Tells a program, and all that it starts, the process id that the stack knows it by."""

_PR_SET_PDEATHSIG = 1
"""prctl(2), option PR_SET_PDEATHSIG, from linux/prctl.h."""


def main(arguments: Sequence[str]) -> None:
    """Becomes the program named after `--`.

    Raises:
        OSError: the program can't be run, or the user can't be changed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("program", nargs="+")
    chosen = parser.parse_args(arguments)
    for inherited in (signal.SIGINT, signal.SIGTERM):
        signal.signal(inherited, signal.SIG_DFL)
    if chosen.uid is not None and chosen.gid is not None:
        os.setgroups([])
        os.setgid(chosen.gid)
        os.setuid(chosen.uid)
    _die_with(chosen.parent, signal.Signals(chosen.death_signal))
    os.environ[LEADER] = str(os.getpid())
    os.execvp(chosen.program[0], chosen.program)  # noqa: S606  there is no shell to want


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    """Has the kernel send `death_signal` here once `parent` is gone.

    A change of user clears the request, so it comes after that. Only Linux has this; elsewhere the
    warden alone ends the children.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent is gone already")


if __name__ == "__main__":
    main(sys.argv[1:])
