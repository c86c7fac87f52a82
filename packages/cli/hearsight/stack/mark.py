"""The mark that every process of a stack carries, and how to find and end those that carry it.

The mark stands in the environment, so children of children carry it too, whatever session they are
in. It names the home, the run (one start of the stack) and the program.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

VARIABLE = "HEARSIGHT_STACK_MARK"


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
        return {VARIABLE: f"{self.token} {program} {self.home}"}

    def carriers(self, program: str | None = None) -> list[psutil.Process]:
        """The processes of this run, or those of one of its programs, alive now."""
        return [
            process
            for token, name, home, process in _marked()
            if token == self.token and home == str(self.home) and program in {None, name}
        ]

    def forerunners(self) -> list[psutil.Process]:
        """What earlier runs of the same home left behind."""
        return [
            process
            for token, _, home, process in _marked()
            if token != self.token and home == str(self.home)
        ]


def _marked() -> Iterable[tuple[str, str, str, psutil.Process]]:
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(VARIABLE)
        except (psutil.Error, OSError):
            continue  # another user's, or gone meanwhile: not ours in either case
        if mark is not None and process.pid != os.getpid():
            token, _, rest = mark.partition(" ")
            program, _, home = rest.partition(" ")
            yield token, program, home, process


def end(processes: list[psutil.Process], *, grace_s: float) -> None:
    """Waits for `processes` to end by themselves, and kills what is left after `grace_s`."""
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
