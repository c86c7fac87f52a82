"""A small supervised stack as a process: `python -m tests.servers.supervised HOME PROGRAM...`.

Programs: `steady` runs until told to stop. `parent` has a child that sits in a session of its own.
`stubborn` has the same and hears no SIGTERM. `first` and `last` say when they stop. Each says
`NAME is up PID...`, with the ids of its own children after its own.
"""

import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console

from hearsight.stack.mark import Run
from hearsight.stack.program import Program
from hearsight.stack.screen import RichScreen
from hearsight.stack.supervisor import Supervisor

_UP = """
import os, signal, subprocess, sys, time
name = sys.argv[1]
children = []
if name in {"parent", "stubborn"}:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(sleep, start_new_session=True).pid]
if name == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if name in {"first", "last"}:
    signal.signal(signal.SIGTERM, lambda *_: (print(name, "stops", flush=True), sys.exit()))
print(name, "is up", os.getpid(), *children, flush=True)
while True:
    time.sleep(600)
"""


def program(name: str, *, stop_timeout_s: float = 25) -> Program:
    """One of the programs above; it counts as ready at once."""
    return Program(
        name=name,
        argv=(sys.executable, "-c", _UP, name),
        ready=lambda: True,
        stop_timeout_s=stop_timeout_s,
    )


async def _main(home: Path, names: list[str]) -> None:
    console = Console(width=200)
    async with Supervisor(Run.new(home), RichScreen(console), grace_s=2) as supervisor:
        stop = asyncio.Event()

        def heard() -> None:
            if stop.is_set():
                supervisor.hurry.set()
            stop.set()
            console.print("signal heard")

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, heard)
        for name in names:
            await supervisor.start(program(name))
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2:]))
