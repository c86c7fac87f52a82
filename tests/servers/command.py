"""The command `hearsight` as people and scripts call it: as a process."""

import os
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 120


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without any HEARSIGHT_ variable, and `variables`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEARSIGHT_")}
    return {**plain, **variables}


def hearsight(
    *arguments: str | Path, home: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end, in the home of a stack."""
    return subprocess.run(
        [sys.executable, "-m", "hearsight", *map(str, arguments)],
        env=environment(HEARSIGHT_HOME=str(home), **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
