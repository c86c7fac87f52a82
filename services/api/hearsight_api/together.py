"""Work that costs as much for many requests as for one: what comes together is done together.

What comes while some of it is under way waits, and is then done at one go. Nobody waits for others
to come.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Wish = TypeVar("Wish")
Told = TypeVar("Told")


class Together(Generic[Wish, Told]):
    """Answers wishes through `work`, which runs in a thread. To be used from the event loop alone.

    `work` tells, in the order of the wishes, what each is answered: an exception is raised to
    whoever asked, and one that `work` itself raises to all of them. It gets `most` at once, and is
    called by `lanes` threads, so that one call that is held up does not hold up everybody.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Wish]], Sequence[Told | Exception]],
        *,
        most: int,
        lanes: int = 1,
    ) -> None:
        self._work = work
        self._most = most
        self._lanes = lanes
        self._waiting: deque[tuple[Wish, asyncio.Future[Told]]] = deque()
        self._busy: set[asyncio.Task[None]] = set()

    async def ask(self, wish: Wish) -> Told:
        """The answer to one wish."""
        answered: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, answered))
        if len(self._busy) < self._lanes:
            self._busy.add(asyncio.create_task(self._answer_all(), name="together"))
        return await answered

    async def _answer_all(self) -> None:
        lane = asyncio.current_task()
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            told: Sequence[Told | Exception]
            try:
                told = await run_in_threadpool(self._work, [wish for wish, _ in taken])
            except Exception as error:  # noqa: BLE001  whoever asked is told, whatever it is
                told = [error] * len(taken)
            for (_, answered), answer in zip(taken, told, strict=True):
                if answered.done():
                    continue  # its client is gone
                if isinstance(answer, Exception):
                    answered.set_exception(answer)
                else:
                    answered.set_result(answer)
        # In the same step as the last look: who comes after it finds the lane free.
        if lane is not None:
            self._busy.discard(lane)
