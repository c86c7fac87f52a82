"""A wall clock for one process alone, which can be set while the process runs."""

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def library(folder: Path) -> Path | None:
    """Builds the library that tells the shifted time; None: there is no compiler here."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    built = folder / "clock.so"
    arguments = ["-shared", "-fPIC", "-O1", "-o", str(built), str(SOURCE), "-ldl"]
    subprocess.run([compiler, *arguments], check=True)
    return built


@dataclass(frozen=True)
class WallClock:
    """The file that a process with the library in it reads whenever it asks for the time."""

    path: Path

    def set(self, off_s: int) -> None:
        """Shifts the clock, from this moment on."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("=q", off_s))

    def environment(self, library: Path) -> Mapping[str, str]:
        """What a process needs to live by this clock."""
        kept = os.environ.get("LD_PRELOAD", "")
        return {"LD_PRELOAD": f"{library} {kept}".strip(), "CHAOS_CLOCK": str(self.path)}
