"""The threads of a worker process, each of which has one task at a time."""

from concurrent.futures import Future
from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool
from kombu.asynchronous import Hub


class Slots(TaskPool):  # type: ignore[misc]  # Celery ships no types
    """Celery's threads, that tell its loop when one of them is free.

    With prefetching off, the loop takes no message while all threads are busy. Nobody would wake it
    when that changes: it would look again after a second at the latest, and a worker would begin
    no more tasks a second than it has slots.
    """

    _hub: Hub | None = None

    def register_with_event_loop(self, hub: Hub) -> None:
        """Notes the loop that takes messages."""
        self._hub = hub

    def on_apply(self, *args: Any, **kwargs: Any) -> ApplyResult:  # noqa: ANN401  those of Celery
        """Has a thread do a task."""
        result = super().on_apply(*args, **kwargs)
        # Called when Celery has struck the task off its list of those that take a slot.
        result.f.add_done_callback(self._look_again)
        return result

    def _look_again(self, _: "Future[object]") -> None:
        if self._hub is not None:
            self._hub.call_soon(_nothing)


def _nothing() -> None:
    """What the loop is woken for: it looks for free slots by itself."""
