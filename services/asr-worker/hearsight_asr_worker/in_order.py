"""Chunks handed in some ahead, their results taken in order: how every engine serves a caller."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

from hearsight_asr_worker.engine import Chunk

_ASK_EVERY_S = 0.25
"""How often a caller that waits for results is asked whether to go on."""


class InWork(Protocol):
    """A chunk that was handed in."""

    @property
    def futures(self) -> Sequence[Future[Any]]:
        """Its pieces; none if there is nothing to recognise."""
        ...


Handed = TypeVar("Handed", bound=InWork)


def in_order(
    chunks: Sequence[Chunk],
    *,
    hand_in: Callable[[Sequence[Chunk]], Sequence[Handed]],
    withdraw: Callable[[Sequence[Sequence[Future[Any]]]], int],
    ahead: int,
    go_on: Callable[[], bool],
) -> Generator[Handed, None, None]:
    """What became of `chunks`, each once it is done, in their order; see `Engine.recognise`.

    Args:
        chunks: What to recognise.
        hand_in: Begins some of them.
        withdraw: Takes back the last of what was handed in, and says how many stay.
        ahead: How many are handed in at a time, and begun before those before them are done.
        go_on: Asked before chunks are begun, and while they are waited for.
    """
    todo = deque(chunks)
    waiting: list[Handed] = []
    try:
        while todo or waiting:
            if not go_on():
                todo.clear()
                del waiting[withdraw([one.futures for one in waiting]) :]
            # Those of the next round are made ready while this one is in work.
            while todo and len(waiting) <= ahead:
                some = [todo.popleft() for _ in range(min(ahead, len(todo)))]
                waiting += hand_in(some)
            if waiting and not wait(waiting[0].futures, _ASK_EVERY_S).not_done:
                yield waiting.pop(0)
    finally:
        for one in waiting:
            for future in one.futures:
                future.cancel()
