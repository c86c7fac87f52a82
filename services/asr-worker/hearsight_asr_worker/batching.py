"""Batches: what many callers want done, done together by a few stream threads."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

import structlog

from hearsight_asr_worker.batch_size import BatchSize
from hearsight_asr_worker.faults import fault_of
from hearsight_asr_worker.stopwatch import Stopwatch
from hearsight_core.errors import (
    AsrError,
    DeviceFailedError,
    OutOfMemoryError,
    RecognitionError,
)

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class BatchDone:
    """One batch that the device has done: how many items, and how long it took, seconds."""

    size: int
    duration_s: float


@dataclass(frozen=True, eq=False)
class _Entry(Generic[Key, Item, Result]):
    key: Key
    item: Item
    future: Future[Result]
    rank: float
    """Its place among those that wait: seconds by the monotonic clock."""
    said_of: dict[str, Any]
    """What the log says of the task that handed the item in."""


class Batcher(Generic[Key, Item, Result]):
    """Gathers items of all callers into batches of one key, and runs those in stream threads.

    Nothing waits for a batch to fill: an idle stream takes what is there. Few items are shared
    evenly among the streams, for two half batches side by side end sooner than one whole batch. A
    stream at work has its share of what came since it took its batch: it will soon be idle. If the
    other took all, short work of many callers would end at once, and leave the device idle until
    they bring more.

    A batch that fails is halved, again and again, until what can't be done is alone and all else is
    done. If the device's memory was too small for it, later batches are no larger than what fitted;
    once many have fitted, they may be twice as large again, for the memory may have been somebody
    else's for a while.
    """

    def __init__(
        self,
        run: Callable[[Key, Sequence[Item]], Sequence[Result]],
        *,
        streams: int,
        batch_size: int,
        observe: Callable[[BatchDone], None] | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._run = run
        self._observe = observe
        self._stopwatch = stopwatch or Stopwatch()
        self._size = BatchSize(batch_size)
        self._changed = threading.Condition()
        self._waiting: list[_Entry[Key, Item, Result]] = []
        self._owed: set[int] = set()
        """The streams that have not had their share since items were last handed in."""
        self._end: AsrError | None = None
        self._threads = [
            threading.Thread(
                target=self._work, args=(number,), name=f"asr-stream-{number}", daemon=True
            )
            for number in range(streams)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, items: Sequence[tuple[Key, Item]], *, head_start_s: float = 0
    ) -> list[Future[Result]]:
        """Hands in `items`, each with its key, together.

        They go before what was handed in up to `head_start_s` seconds ago, but never before a batch
        that has begun; a negative one lets others go first for so long, and no longer.

        Cancelling a future takes its item back if it still waits.

        A future raises OutOfMemoryError if its item does not fit alone, DeviceFailedError if the
        device is gone, and RecognitionError if its item fails for another reason.
        """
        said_of = structlog.contextvars.get_contextvars()
        rank = time.monotonic() - head_start_s
        entries = [
            _Entry[Key, Item, Result](key, item, Future(), rank, said_of) for key, item in items
        ]
        with self._changed:
            self._owed.update(range(len(self._threads)))
            if self._end is None:
                self._waiting += entries
                self._waiting.sort(key=attrgetter("rank"))
                self._changed.notify_all()
            else:
                _fail(entries, self._end)
        return [entry.future for entry in entries]

    def withdraw(self, groups: Sequence[Sequence[Future[Result]]]) -> int:
        """Takes back the last of `groups` (of one caller, in order), as far as none has begun.

        A group that the device has begun stays whole, and so do those before it: all of them will
        be done, and the results can be used in order.

        Returns:
            How many groups stay.
        """
        with self._changed:
            for stay in range(len(groups), 0, -1):
                last = groups[stay - 1]
                if any(future.running() or future.done() for future in last):
                    return stay
                for future in last:
                    future.cancel()
            return 0

    def close(self, timeout_s: float = 30) -> None:
        """Fails what waits, and gives the batches in work `timeout_s` seconds to end."""
        self._stop(RecognitionError(detail="the engine was closed"))
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _stop(self, reason: AsrError) -> None:
        with self._changed:
            if self._end is None:
                self._end = reason
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        _fail(waiting, reason)

    def _work(self, stream: int) -> None:
        while batch := self._take(stream):
            self._do(batch)

    def _take(self, stream: int) -> list[_Entry[Key, Item, Result]]:
        """The next batch, running; none when the batcher has ended."""
        with self._changed:
            while True:
                self._waiting = [e for e in self._waiting if not e.future.cancelled()]
                if self._waiting:
                    batch = self._pick(stream)
                    if batch:
                        return batch
                elif self._end is not None:
                    return []
                else:
                    self._changed.wait()

    def _pick(self, stream: int) -> list[_Entry[Key, Item, Result]]:
        """Takes this stream's share of what waits: the first, and others of the same key."""
        self._owed.discard(stream)
        share = min(math.ceil(len(self._waiting) / (1 + len(self._owed))), self._size.limit)
        key = self._waiting[0].key
        picked = [entry for entry in self._waiting if entry.key == key][:share]
        taken = set(map(id, picked))
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        return [entry for entry in picked if entry.future.set_running_or_notify_cancel()]

    def _do(self, batch: Sequence[_Entry[Key, Item, Result]]) -> None:
        if isinstance(self._end, DeviceFailedError):
            _fail(batch, self._end)
            return
        started = time.perf_counter()
        try:
            with self._stopwatch.running():
                results = self._run(batch[0].key, [entry.item for entry in batch])
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001  every caller is told, and the stream lives on
            self._recover(batch, error)
            return
        with self._changed:
            self._size.fitted(len(batch))
        if self._observe is not None:
            self._observe(BatchDone(len(batch), time.perf_counter() - started))
        for entry, result in answers:
            entry.future.set_result(result)

    def _recover(self, batch: Sequence[_Entry[Key, Item, Result]], error: Exception) -> None:
        fault = fault_of(error)
        if not isinstance(fault, DeviceFailedError) and len(batch) > 1:
            half = (len(batch) + 1) // 2
            if isinstance(fault, OutOfMemoryError):
                with self._changed:
                    self._size.too_large(half)
            _log.warning(
                "asr_batch_halved", batch_size=half, detail=fault.detail, **_tasks_of(batch)
            )
            self._do(batch[:half])
            self._do(batch[half:])
            return
        _log.error("asr_batch_failed", batch_size=len(batch), exc_info=error, **_tasks_of(batch))
        if isinstance(fault, DeviceFailedError):
            self._stop(fault)
        _fail(batch, fault, cause=error)


def _tasks_of(batch: Sequence[_Entry[Key, Item, Result]]) -> dict[str, Any]:
    """Log fields of the tasks in a batch: as in a line of the task's own, if it is one alone."""
    tasks = {one.said_of.get("task_id"): one.said_of for one in batch}
    if len(tasks) == 1:
        return batch[0].said_of
    names = ("job_id", "task_id", "trace_id")
    return {f"{name}s": [said.get(name) for said in tasks.values()] for name in names}


def _fail(
    entries: Sequence[_Entry[Key, Item, Result]], fault: AsrError, cause: Exception | None = None
) -> None:
    """Gives every entry an error of its own, for a raised error gathers its raiser's traceback."""
    for entry in entries:
        if entry.future.running() or entry.future.set_running_or_notify_cancel():
            error = type(fault)(detail=fault.detail, **fault.values)
            error.__cause__ = cause
            entry.future.set_exception(error)
