"""5,000 people watch jobs on one API process, and each is told everything, once and in order."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import uvloop

from hearsight_core.progress import News
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import ObjectStorage
from tests.benchmarks.goals import Goal, exactly
from tests.benchmarks.load.traffic import place_of, request
from tests.benchmarks.stand import Stand, Used, resident_bytes
from tests.servers.api import Api, Served
from tests.servers.recogniser import Recogniser

WATCHERS = 5000
JOBS = 50
CHUNKS = 10
"""So many chunks of each job are recognised, a segment each; then it completes."""
OPENING_AT_ONCE = 50
PATIENCE_S = 900.0


@dataclass
class _Seen:
    """What one watcher was told."""

    job_id: int
    segments: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    def is_right(self, texts: list[str]) -> bool:
        """Whether it was told all segments in order, nothing twice, and the end."""
        return self.ended and self.segments == texts and self.ids == sorted(set(self.ids))


class _Watcher(asyncio.Protocol):
    """Reads an event stream as it comes: lines, of which `id`, `event` and the text count."""

    def __init__(self, seen: _Seen) -> None:
        self.opened, self.ended = asyncio.Event(), asyncio.Event()
        self._seen = seen
        self._rest = self._event = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP
        self._transport = transport
        path = f"/api/progress/task/{self._seen.job_id}/events"
        transport.write(request("GET", path, headers=["Accept: text/event-stream"]))

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"event:"):
                self._event = line[6:].strip()
                self.opened.set()
            elif line.startswith(b"id:"):
                number = int(line[3:])
                # Several events can tell of one change: the number repeats, the change does not.
                if not self._seen.ids or self._seen.ids[-1] != number:
                    self._seen.ids.append(number)
            elif line.startswith(b"data:") and self._event == b"segment":
                text = line.partition(b'"text":"')[2].partition(b'"')[0]
                self._seen.segments.append(text.decode())
            elif line.startswith(b"data:") and self._event == b"end":
                self._seen.ended = True
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # what is missing then is counted
        self.opened.set()
        self.ended.set()


def _itself(watcher: _Watcher) -> _Watcher:
    return watcher


async def _watch(server: Api, recognisers: list[Recogniser]) -> list[_Seen]:
    """Opens every stream, lets the jobs be recognised, and reads on to the end."""
    loop = asyncio.get_running_loop()
    place = place_of(server.url)
    everybody = [_Seen(recognisers[n % JOBS].job_id) for n in range(WATCHERS)]
    watchers: list[_Watcher] = []
    for start in range(0, WATCHERS, OPENING_AT_ONCE):
        opening = [_Watcher(seen) for seen in everybody[start : start + OPENING_AT_ONCE]]
        for watcher in opening:
            await loop.create_connection(partial(_itself, watcher), *place)
        await asyncio.gather(*(watcher.opened.wait() for watcher in opening))
        watchers += opening
    await asyncio.to_thread(_recognise, recognisers)
    await asyncio.gather(*(watcher.ended.wait() for watcher in watchers))
    return everybody


def _recognise(recognisers: list[Recogniser]) -> None:
    for chunk in range(CHUNKS):
        for one in recognisers:
            one.say(_text(chunk))
    for one in recognisers:
        one.finish()


def _text(chunk: int) -> str:
    return f"words of chunk {chunk}"


def measure(stand: Stand) -> list[Goal]:
    """Counts the watchers that were told everything."""
    environment = stand.environment
    news = News(environment["HEARSIGHT_REDIS_URL"])
    storage = ObjectStorage.from_settings(
        CoreSettings(storage_url=environment["HEARSIGHT_STORAGE_URL"])
    )
    with stand.apis() as [server]:
        served = Served(
            api=server, env=environment, database=stand.database, news=news, storage=storage
        )
        recognisers = [Recogniser(served, chunks=CHUNKS) for _ in range(JOBS)]
        used = Used([server])
        everybody = uvloop.run(asyncio.wait_for(_watch(server, recognisers), PATIENCE_S))
        told = sum(len(seen.segments) + seen.ended for seen in everybody)
        cost = used.told(told)
        held = resident_bytes(server.process.pid)
    news.close()
    stand.empty()
    texts = [_text(chunk) for chunk in range(CHUNKS)]
    return [
        exactly(
            "watchers of one API process that were told everything, once and in order",
            WATCHERS,
            sum(seen.is_right(texts) for seen in everybody),
            "watchers",
            remark=f", {told:,} events; {cost}; the API held {held / 2**20:.0f} MiB",
        )
    ]
