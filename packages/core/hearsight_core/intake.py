"""How a worker process takes its messages: one for each free thread, and for good."""

from concurrent.futures import Future
from typing import Any

from celery.bootsteps import StartStopStep
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
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
            self._hub.call_soon(_nothing)  # type: ignore[no-untyped-call]  # as above


class TakenForGood(StartStopStep):  # type: ignore[misc]  # Celery ships no types
    """A step of a worker's start: a message that it takes is gone from Redis, with nothing noted.

    Celery would note each down when it is taken, strike it out a moment later, and look every ten
    seconds for those of workers that died between. A lost hint is sent again without any of that.
    """

    requires = (Tasks,)

    def start(self, consumer: Consumer) -> None:
        """At each connection to the broker, before the first message."""
        notes = consumer.task_consumer.channel.qos
        notes.append = notes.ack = notes.reject = notes.restore_visible = _nothing


def _nothing(*_: object, **__: object) -> None:
    """What there is to note of a message, and what the loop is woken for: it looks by itself."""
