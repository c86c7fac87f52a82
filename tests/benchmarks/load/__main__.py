"""Runs the benchmarks, prints the table, ends with 1 if a goal was missed: `make bench-load`."""

import argparse
import resource
import sys

from tests.benchmarks import table
from tests.benchmarks.load import (
    backlog,
    claiming,
    memory,
    overload,
    polling,
    submitting,
    watching,
)

SUBJECTS: table.Subjects = {
    "backlog": backlog.measure,
    "submitting": submitting.measure,
    "polling": polling.measure,
    "claiming": claiming.measure,
    "watching": watching.measure,
    "overload": overload.measure,
    "memory": memory.measure,
}
LIBRARIES = ("fastapi", "uvicorn", "psycopg", "sqlalchemy", "redis", "celery")

FILES = 16_384
"""Open files that 5,000 watchers need, on this side of the connections and on the other."""


def main() -> int:
    """Measures the subjects asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument(
        "subjects", nargs="*", choices=[*SUBJECTS, []], metavar="SUBJECT", help=", ".join(SUBJECTS)
    )
    wanted = parser.parse_args().subjects or list(SUBJECTS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        parser.error(f"this needs {FILES} open files, and may have {most} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most))
    return table.run(SUBJECTS, wanted, LIBRARIES)


if __name__ == "__main__":
    sys.exit(main())
