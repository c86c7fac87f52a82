"""Runs the benchmarks, prints the table, ends with 1 if a goal was missed: `make bench-load`."""

import argparse
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.load import (
    backlog,
    claiming,
    memory,
    overload,
    polling,
    racing,
    submitting,
    watching,
)
from tests.benchmarks.load.goals import Goal
from tests.benchmarks.load.stand import Stand, cores, standing

SUBJECTS: dict[str, Callable[[Stand], list[Goal]]] = {
    "backlog": backlog.measure,
    "submitting": submitting.measure,
    "polling": polling.measure,
    "racing": racing.measure,
    "claiming": claiming.measure,
    "watching": watching.measure,
    "overload": overload.measure,
    "memory": memory.measure,
}

FILES = 16_384
"""Open files that 5,000 watchers need, on this side of the connections and on the other."""


def main() -> int:
    """Measures the subjects asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument(
        "subjects", nargs="*", choices=[*SUBJECTS, []], metavar="SUBJECT", help=", ".join(SUBJECTS)
    )
    wanted = parser.parse_args().subjects or list(SUBJECTS)
    # So that a benchmark that is told to end takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        parser.error(f"this needs {FILES} open files, and may have {most} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most))
    with standing() as stand:
        _say(f"{_machine(stand)}\n\n| | Wanted | Reached |\n|---|---|---|")
    missed = 0
    for subject in wanted:
        with standing() as stand:
            goals = SUBJECTS[subject](stand)
        for goal in goals:
            missed += goal.missed
            verdict = " **missed**" if goal.missed else ""
            _say(f"| {goal.what} | {goal.wanted} | {goal.reached}{verdict} |")
    _say(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}; goals missed: {missed}")
    return 1 if missed else 0


def _machine(stand: Stand) -> str:
    """What the numbers were measured with."""
    names = ("fastapi", "uvicorn", "psycopg", "sqlalchemy", "redis", "celery")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores()} cores of {_processor()}, load"
        f" {os.getloadavg()[0]:.1f}, Linux {platform.release()}, Python"
        f" {platform.python_version()}, {stand.servers()}, {libraries}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
