"""What comes together is done together, and each is told its own."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from hearsight_api.together import Together


def _shouted(calls: list[list[str]]) -> Together[str, str]:
    def work(wishes: Sequence[str]) -> list[str | Exception]:
        calls.append(list(wishes))
        if "all" in wishes:
            raise OSError("nobody is told anything")
        return [ValueError(wish) if wish == "odd" else wish.upper() for wish in wishes]

    return Together(work, most=4)


def test_what_comes_while_others_are_answered_is_answered_at_one_go() -> None:
    calls: list[list[str]] = []

    async def ask() -> list[str]:
        shouted = _shouted(calls)
        return await asyncio.gather(*(shouted.ask(wish) for wish in "abcdefg"))

    assert asyncio.run(ask()) == list("ABCDEFG")
    assert [wish for call in calls for wish in call] == list("abcdefg")
    assert len(calls) < 7
    assert max(map(len, calls)) <= 4


def test_an_error_of_one_is_told_to_it_alone() -> None:
    async def ask() -> list[str | BaseException]:
        shouted = _shouted([])
        return await asyncio.gather(
            *(shouted.ask(wish) for wish in ("a", "b", "odd", "c")), return_exceptions=True
        )

    first, second, odd, last = asyncio.run(ask())
    assert (first, second, last) == ("A", "B", "C")
    assert isinstance(odd, ValueError)


def test_an_error_of_the_work_is_told_to_all_of_them_and_ends_nothing() -> None:
    async def ask() -> str:
        shouted = _shouted([])
        with pytest.raises(OSError, match="nobody"):
            await shouted.ask("all")
        # At once, in the step in which the last answer came.
        return await shouted.ask("after")

    assert asyncio.run(ask()) == "AFTER"


def test_one_that_leaves_takes_nobody_s_answer_along() -> None:
    async def ask() -> str:
        shouted = _shouted([])
        leaving, staying = (asyncio.create_task(shouted.ask(wish)) for wish in "ab")
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(ask()) == "B"


def test_a_lane_that_is_held_up_holds_up_no_other() -> None:
    held_up, going = threading.Event(), threading.Event()

    def work(wishes: Sequence[str]) -> list[str | Exception]:
        if "stuck" in wishes:
            held_up.set()
            assert going.wait(60)
        return list(wishes)

    async def ask() -> None:
        lanes: Together[str, str] = Together(work, most=4, lanes=2)
        stuck = asyncio.create_task(lanes.ask("stuck"))
        assert await asyncio.to_thread(held_up.wait, 60)
        assert [await lanes.ask("a"), await lanes.ask("b")] == ["a", "b"]
        assert not stuck.done()
        going.set()
        assert await stuck == "stuck"

    asyncio.run(ask())
