"""The supervisor with real processes: restarts, orphans, order."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from hearsight.stack.mark import Run
from hearsight.stack.program import Program, StartError
from hearsight.stack.supervisor import Backoff, Supervisor
from tests.servers.supervised import program

WAIT_S = 30


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Lines:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, name: str, text: str) -> None:
        """Keeps a line."""
        self.lines.append((name, text))

    def of(self, name: str) -> list[str]:
        """What one program said, in order."""
        return [text for who, text in self.lines if who == name]

    def lives(self, name: str, count: int) -> bool:
        """Whether a program came up `count` times."""
        return len(self.pids(name)) == count

    def pids(self, name: str) -> list[list[int]]:
        """The process ids that each life of a program told, its own first."""
        told = (text.partition("is up ")[2] for text in self.of(name) if "is up" in text)
        return [[int(pid) for pid in line.split()] for line in told]


class Small:
    """A small supervised stack in a process of its own, whose output is read as it comes."""

    def __init__(self, home: Path, *names: str) -> None:
        self.output = home / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.supervised", str(home), *names],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for name in names:
            wait_until(partial(self.says, f"{name} is up"))

    def says(self, words: str) -> bool:
        """Whether it said `words` by now."""
        return words in self.text

    @property
    def text(self) -> str:
        """Everything it said so far."""
        return self.output.read_text()

    def pids(self) -> set[int]:
        """The ids of all programs and of their children."""
        told = re.findall(r"is up ([\d ]+)", self.text)
        return {int(pid) for line in told for pid in line.split()}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[..., Small]]:
    started: list[Small] = []

    def start(*names: str) -> Small:
        started.append(Small(tmp_path, *names))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def alive(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    }


async def _until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not happened():  # noqa: ASYNC110  another process makes it happen
            await asyncio.sleep(0.02)


def test_a_killed_program_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    lines = Lines()

    async def scenario() -> None:
        backoff = Backoff(first_s=0.05, longest_s=0.2)
        async with Supervisor(Run.new(tmp_path), lines, backoff=backoff) as supervisor:
            await supervisor.start(program("steady"))
            for life in range(3):
                await _until(partial(lines.lives, "steady", life + 1))
                os.kill(lines.pids("steady")[-1][0], signal.SIGKILL)
            await _until(partial(lines.lives, "steady", 4))

    asyncio.run(scenario())
    assert lines.of("stack") == [
        "steady was ended by SIGKILL; it is started again in 0.05 s",
        "steady was ended by SIGKILL; it is started again in 0.1 s",
        "steady was ended by SIGKILL; it is started again in 0.2 s",
    ]
    assert not alive({pid for life in lines.pids("steady") for pid in life})


def test_a_killed_program_leaves_no_child_beside_its_successor(tmp_path: Path) -> None:
    lines = Lines()

    async def scenario() -> None:
        backoff = Backoff(first_s=0.05)
        async with Supervisor(Run.new(tmp_path), lines, backoff=backoff) as supervisor:
            await supervisor.start(program("parent"))
            await _until(lambda: lines.pids("parent"))
            first, child = lines.pids("parent")[0]
            assert alive({first, child}) == {first, child}
            os.kill(first, signal.SIGKILL)
            await _until(partial(lines.lives, "parent", 2))
            assert not alive({first, child})

    asyncio.run(scenario())


def test_a_program_that_never_comes_up_ends_the_start(tmp_path: Path) -> None:
    lines = Lines()
    broken = Program(
        name="broken",
        argv=(sys.executable, "-c", "raise SystemExit('no configuration')"),
        ready=lambda: False,
    )

    async def scenario() -> None:
        backoff = Backoff(first_s=0.05, longest_s=0.05)
        async with Supervisor(Run.new(tmp_path), lines, backoff=backoff) as supervisor:
            await supervisor.start(broken)

    with pytest.raises(StartError, match="broken does not come up"):
        asyncio.run(scenario())
    assert lines.of("broken")[:3] == ["no configuration"] * 3


def test_ctrl_c_stops_all_programs_the_last_started_first(small: Callable[..., Small]) -> None:
    stack = small("first", "parent", "last")
    pids = stack.pids()
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(WAIT_S) == 0
    assert re.findall(r"(\w+) stops", stack.text) == ["last", "first"]
    assert not alive(pids)


def test_a_second_ctrl_c_ends_even_a_program_that_does_not_listen(
    small: Callable[..., Small],
) -> None:
    stack = small("stubborn")
    pids = stack.pids()
    stack.process.send_signal(signal.SIGINT)
    wait_until(lambda: "signal heard" in stack.text)
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(WAIT_S) == 0
    assert "stubborn takes too long to stop" in stack.text
    assert not alive(pids)


def test_a_terminals_ctrl_c_reaches_the_stack_alone(small: Callable[..., Small]) -> None:
    stack = small("steady")
    (pid,) = stack.pids()
    assert os.getpgid(pid) != os.getpgid(stack.process.pid)


def test_a_killed_stack_leaves_no_orphans_grandchildren_included(
    small: Callable[..., Small],
) -> None:
    stack = small("steady", "parent")
    everyone = {child.pid for child in psutil.Process(stack.process.pid).children(recursive=True)}
    pids = stack.pids()
    assert pids <= everyone
    assert len(everyone) == len(pids) + 1, "the warden is the one that tells nothing"
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not alive(everyone))


def test_a_killed_stack_leaves_not_even_who_ignores_sigterm(small: Callable[..., Small]) -> None:
    stack = small("stubborn")
    pids = stack.pids()
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not alive(pids))


def test_what_a_killed_stack_left_is_known_to_the_next(
    small: Callable[..., Small], tmp_path: Path
) -> None:
    stack = small("stubborn")
    assert {left.process.pid for left in Run.new(tmp_path).forerunners()} == stack.pids()
    assert Run.new(tmp_path / "elsewhere").forerunners() == []
