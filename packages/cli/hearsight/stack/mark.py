"""The mark that every process of a stack carries, and how to find and end those that carry it.

The mark stands in the environment, so children of children carry it too, whatever session they are
in. It names the home, the run (one start of the stack), the program, and the process that the stack
itself started for it, the leader.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hearsight.stack.child import LEADER

RUN = "HEARSIGHT_STACK_RUN"
LOOK_S = 0.1


@dataclass(frozen=True)
class Carrier:
    """A live process that carries a mark."""

    process: psutil.Process
    token: str
    program: str
    home: str
    leader: int

    @property
    def leads(self) -> bool:
        """Whether the stack itself started it."""
        return self.leader == self.process.pid

    def alive(self) -> bool:
        """Whether it still runs; who is dead and not yet collected does not."""
        try:
            return bool(self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class Run:
    """One start of the stack of a home."""

    home: Path
    token: str

    @classmethod
    def new(cls, home: Path) -> "Run":
        """A run unlike all before it."""
        return cls(home.resolve(), secrets.token_hex(8))

    def mark(self, program: str) -> dict[str, str]:
        """What goes into the environment of `program`."""
        return {RUN: f"{self.token} {program} {self.home}"}

    def carriers(self, program: str | None = None) -> list[Carrier]:
        """The processes of this run, or those of one of its programs, alive now."""
        return [
            carrier
            for carrier in _carriers()
            if carrier.token == self.token
            and carrier.home == str(self.home)
            and program in {None, carrier.program}
        ]

    def forerunners(self) -> list[Carrier]:
        """What earlier runs of the same home left behind."""
        return [
            carrier
            for carrier in _carriers()
            if carrier.token != self.token and carrier.home == str(self.home)
        ]


def end(find: Callable[[], Sequence[Carrier]], *, grace_s: float) -> None:
    """Waits until `find` finds nobody; kills those who have no leader any more, all after a while.

    Args:
        find: tells who is to end; asked again and again, so that newcomers are met too.
        grace_s: how long leaders, and what they started, may take to end by themselves.
    """
    deadline = time.monotonic() + grace_s
    while found := [carrier for carrier in find() if carrier.alive()]:
        over = time.monotonic() >= deadline
        leaders = {carrier.process.pid for carrier in found if carrier.leads}
        for carrier in found:
            if over or carrier.leader not in leaders:
                _kill(carrier)
        time.sleep(LOOK_S)


def _kill(carrier: Carrier) -> None:
    try:
        carrier.process.kill()
    except psutil.NoSuchProcess:
        return


def _carriers() -> Iterator[Carrier]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # another user's, or gone meanwhile: not ours in either case
        mark, leader = environment.get(RUN), environment.get(LEADER, "0")
        if mark is not None and process.pid != os.getpid():
            token, _, rest = mark.partition(" ")
            program, _, home = rest.partition(" ")
            yield Carrier(process, token, program, home, int(leader))
