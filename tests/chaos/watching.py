"""Someone who watches a job, loses the connection, comes back with the last id, and keeps notes."""

import contextlib
import threading
import time
from dataclasses import dataclass, field

import httpx
from httpx_sse import EventSource

from tests.chaos.world import World

AGAIN_S = 0.1
SILENCE_S = 20.0


@dataclass
class Watcher:
    """Follows a job to its end in a thread of its own."""

    world: World
    job_id: int
    segments: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    connections: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self._giving_up = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watcher-{self.job_id}")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Waits for the end of the job's events."""
        self._thread.join(timeout_s)

    def give_up(self) -> None:
        """Watches no more, wherever the job stands."""
        self._giving_up.set()
        if self._thread.ident is not None:
            self._thread.join(SILENCE_S * 2)

    def _watch(self) -> None:
        while not self.ended and not self._giving_up.is_set():
            with contextlib.suppress(httpx.TransportError):
                self._follow()
            time.sleep(AGAIN_S)

    def _follow(self) -> None:
        last = self.ids[-1] if self.ids else 0
        with (
            self.world.client(self.connections) as http,
            http.stream(
                "GET",
                f"/api/progress/task/{self.job_id}/events",
                headers={"Last-Event-ID": str(last), "Accept": "text/event-stream"},
                timeout=httpx.Timeout(10, read=SILENCE_S),
            ) as answer,
        ):
            self.connections += 1
            if answer.status_code == httpx.codes.NO_CONTENT:
                self.ended = True
                return
            if answer.status_code != httpx.codes.OK:
                return  # not accepted yet, or the database is away
            for event in EventSource(answer).iter_sse():
                if self._giving_up.is_set():
                    return
                if not event.data:
                    continue  # a comment that keeps the connection alive
                self.ids.append(int(event.id))
                if event.event == "segment":
                    self.segments.append(int(event.id))
                if event.event == "end":
                    self.ended = True
                    return
