"""Keeps the programs of the stack alive, shows what they say, and stops them in order.

Everything happens on one thread, the main one: the kernel ties a child to the thread that started
it (PR_SET_PDEATHSIG), and that thread must last as long as the stack.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from hearsight.stack import mark
from hearsight.stack.mark import Run
from hearsight.stack.program import POLL_S, Program, StartError
from hearsight.stack.screen import STACK, Screen

LONGEST_LINE = 64 * 1024
TRIES_TO_START = 3
"""A program that ended so many times without ever being ready will not come up."""
GRACE_S = 25.0
"""Time left to programs when the stack is killed; a worker drains for 20 seconds at most."""
HURRY_S = 1.0
"""Time left to a program once the person is in a hurry."""
PATIENCE_S = 15.0
"""How often is said what the start still waits for."""


@dataclass(frozen=True)
class Backoff:
    """Pauses before a dead program is started again."""

    first_s: float = 0.5
    longest_s: float = 30
    reset_after_s: float = 60
    """A program that lived so long begins with the first pause again."""

    def after(self, last_s: float | None, lived_s: float) -> float:
        """The pause that follows `last_s` (None: there was none yet)."""
        if last_s is None or lived_s >= self.reset_after_s:
            return self.first_s
        return min(last_s * 2, self.longest_s)


class _Kept:
    """A program with the process it has at the moment."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: asyncio.subprocess.Process | None = None
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self.deaths = 0
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """The parent of the stack's programs; `async with` it, and all of them end with the block.

    What was started last ends first, so that who uses a store ends before the store.
    """

    def __init__(
        self,
        run: Run,
        screen: Screen,
        *,
        changed: Callable[[dict[str, int]], None] = lambda _: None,
        backoff: Backoff | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self.hurry = asyncio.Event()
        self._run = run
        self._screen = screen
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._grace_s = grace_s
        self._kept: dict[str, _Kept] = {}
        self._groups: list[list[_Kept]] = []
        self._warden: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        # Not asyncio's: that would close the pipe, and so wake the warden, with the event loop.
        self._warden = subprocess.Popen(  # noqa: ASYNC220
            [
                *(sys.executable, "-P", "-m", "hearsight.stack.warden"),
                *(self._run.token, str(self._run.home), str(self._grace_s)),
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for group in reversed(self._groups):
            await self._stop(group)
        await asyncio.to_thread(mark.end, self._run.carriers, grace_s=HURRY_S)
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.stdin.close()
            await asyncio.to_thread(self._warden.wait)

    def pids(self) -> dict[str, int]:
        """The process id of every program that runs."""
        return {
            name: kept.process.pid
            for name, kept in self._kept.items()
            if kept.process is not None and kept.process.returncode is None
        }

    async def start(self, *programs: Program) -> None:
        """Starts `programs` and waits until each has been ready once.

        Raises:
            StartError: one ended again and again without being ready.
        """
        started = [_Kept(program) for program in programs]
        self._groups.append(started)
        for kept in started:
            self._kept[kept.program.name] = kept
            kept.task = asyncio.create_task(self._keep(kept), name=kept.program.name)
        try:
            async with asyncio.TaskGroup() as waiting:
                for kept in started:
                    waiting.create_task(self._await_ready(kept))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _await_ready(self, kept: _Kept) -> None:
        loop = asyncio.get_running_loop()
        say_at = loop.time() + PATIENCE_S
        while not await asyncio.to_thread(kept.program.ready):
            if kept.deaths >= TRIES_TO_START:
                raise StartError(f"{kept.program.name} does not come up; see its lines above")
            if loop.time() >= say_at:
                self._screen.line(STACK, f"still waiting for {kept.program.name}")
                say_at = loop.time() + PATIENCE_S
            await asyncio.sleep(POLL_S)
        kept.ready.set()

    async def run_once(self, program: Program) -> None:
        """Runs a program that ends by itself, and shows what it says.

        Raises:
            StartError: it ended with another code than 0.
        """
        process, output = await self._spawn(program)
        try:
            await self._show(program, output)
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if code != 0:
            raise StartError(f"{program.name} {_ending(code)}; see its lines above")

    async def _stop(self, group: list[_Kept]) -> None:
        """Stops programs together: asks, waits, kills."""
        for kept in group:
            kept.stopping.set()
            _ask_to_stop(kept)
        await asyncio.gather(*(self._gone(kept) for kept in group))

    async def _gone(self, kept: _Kept) -> None:
        if kept.task is None:
            return
        hurry = asyncio.create_task(self.hurry.wait())
        try:
            await asyncio.wait(
                {kept.task, hurry},
                timeout=kept.program.stop_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not kept.task.done() and self.hurry.is_set():
                await asyncio.wait({kept.task}, timeout=HURRY_S)
        finally:
            hurry.cancel()
        if not kept.task.done() and kept.process is not None:
            self._screen.line(STACK, f"{kept.program.name} takes too long to stop and is killed")
            with suppress(ProcessLookupError):
                kept.process.kill()
        await kept.task

    async def _keep(self, kept: _Kept) -> None:
        """Runs a program again and again until it is to stop."""
        loop = asyncio.get_running_loop()
        pause_s: float | None = None
        while not kept.stopping.is_set():
            born = loop.time()
            try:
                ending = await self._live(kept)
            except OSError as error:
                ending = f"could not be started: {error}"
            if kept.stopping.is_set():
                return
            kept.deaths += not kept.ready.is_set()
            pause_s = self._backoff.after(pause_s, loop.time() - born)
            self._screen.line(
                STACK, f"{kept.program.name} {ending}; it is started again in {pause_s:g} s"
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(kept.stopping.wait(), pause_s)

    async def _live(self, kept: _Kept) -> str:
        """One life of a program, and how it ended."""
        kept.process, output = await self._spawn(kept.program)
        self._changed(self.pids())
        if kept.stopping.is_set():
            _ask_to_stop(kept)
        showing = asyncio.create_task(self._show(kept.program, output))
        code = await kept.process.wait()
        # What it started itself must not live on beside its successor, nor hold its output.
        await asyncio.to_thread(mark.end, lambda: self._run.carriers(kept.program.name), grace_s=0)
        with suppress(TimeoutError):
            await asyncio.wait_for(showing, HURRY_S)
        self._changed(self.pids())
        return _ending(code)

    async def _spawn(
        self, program: Program
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """Starts a process in a session of its own; its output comes through a pipe of ours.

        A pipe of asyncio's would have `wait` wait for grandchildren that hold it, too.
        """
        ours, its = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.command(),
                env={**program.environment, **self._run.mark(program.name)},
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=its,
                stderr=its,
                start_new_session=True,
            )
        finally:
            os.close(its)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
        )
        return process, reader

    async def _show(self, program: Program, output: asyncio.StreamReader) -> None:
        async for line in _lines(output):
            self._screen.line(program.name, line)


def _ask_to_stop(kept: _Kept) -> None:
    if kept.process is not None and kept.process.returncode is None:
        with suppress(ProcessLookupError):
            kept.process.send_signal(kept.program.stop_signal)


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of `output`; one beyond all measure comes in pieces."""
    rest = b""
    while block := await output.read(LONGEST_LINE):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
        if len(rest) > LONGEST_LINE:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"
