"""The table that a benchmark prints: the machine, what was to be reached, and what was."""

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pynvml
import structlog

from tests.benchmarks.goals import Goal
from tests.benchmarks.stand import Stand, cores, standing

Subjects = Mapping[str, Callable[[Stand], Iterable[Goal]]]


def run(subjects: Subjects, wanted: Iterable[str], libraries: Iterable[str]) -> int:
    """Measures the subjects that are wanted and prints a line for each goal.

    Each has a stand of its own. A goal is printed as soon as it is known. `libraries` are told with
    their versions.

    Returns:
        The exit code: 1 if a goal was missed.
    """
    # So that a benchmark that is told to end takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Standard output is the table's.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with standing() as stand:
        _say(f"{_machine(stand, libraries)}\n\n| | Wanted | Reached |\n|---|---|---|")
    missed = 0
    for subject in wanted:
        with standing() as stand:
            for goal in subjects[subject](stand):
                missed += goal.missed
                verdict = " **missed**" if goal.missed else ""
                _say(f"| {goal.what} | {goal.wanted} | {goal.reached}{verdict} |")
    _say(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}; goals missed: {missed}")
    return 1 if missed else 0


def _machine(stand: Stand, libraries: Iterable[str]) -> str:
    """What the numbers were measured with."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores()} cores of {_processor()}{_gpus()}, load"
        f" {os.getloadavg()[0]:.1f}, Linux {platform.release()}, Python"
        f" {platform.python_version()}, {stand.servers()}, {versions}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> str:
    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return "".join(f", {pynvml.nvmlDeviceGetName(handle)}" for handle in handles)
    except pynvml.NVMLError:
        return ""  # no driver, so no GPU that anything could be measured on


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
