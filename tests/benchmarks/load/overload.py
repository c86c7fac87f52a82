"""Far more at once than an API process takes: it refuses, says when to come back, and stays small.

Three times as many uploads as there are places, each endless; bodies far over the limit; and twice
as many watchers as there are places. What is looked at is the memory of the process meanwhile, and
that those who are refused are told 503 or 413 with `Retry-After` where coming back is of use.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from tests.benchmarks.goals import Goal, at_most, exactly
from tests.benchmarks.load.traffic import place_of, request
from tests.benchmarks.stand import Stand, resident_bytes
from tests.store import fill

UPLOADS, UPLOAD_PLACES = 48, 16
WATCHERS, WATCHER_PLACES = 1000, 500
LARGE_BODIES = 200
LARGE_BYTES = 8 * 2**20
UPLOADED_BYTES = 16 * 2**20
WAV_HEAD = bytes.fromhex(
    "52494646ffffff7f57415645666d74201000000001000100803e0000007d00000200100064617461ffffff7f"
)
"""Of a recording that seems to have no end: 16 kHz, mono, 16 bit."""
MOST_MIB = 512.0
"""Half of what the chart gives an API pod."""
MIB = 2**20
LOOK_S = 0.2


@dataclass
class _Answers:
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry: int = 0

    def note(self, head: bytes) -> int:
        status = int(head[9:12])
        self.statuses[status] += 1
        if status == 503 and b"\r\nretry-after:" not in head.lower():
            self.without_retry += 1
        return status

    def told(self) -> str:
        """How many were answered how."""
        return ", ".join(f"{status or 'cut off'}: {n}" for status, n in self.statuses.items())


def _upload_head(length: int) -> bytes:
    return (
        b"POST /api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data;"
        b" boundary=x\r\nContent-Length: %d\r\n\r\n" % length
    )


_PART = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n"
)
_END = b"\r\n--x--\r\n"


async def _send(place: tuple[str, int], pieces: list[bytes], answers: _Answers) -> None:
    """Sends a request piece by piece, and reads the answer whenever it comes."""
    reader, writer = await asyncio.open_connection(*place)
    answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        for piece in pieces:
            if answered.done():
                break
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # it went on sending after the answer, and was cut off; the answer may be here
    try:
        answers.note(await answered)
    except (ConnectionError, asyncio.IncompleteReadError):
        answers.statuses[0] += 1
    writer.close()


async def _watch(place: tuple[str, int], job_id: int, answers: _Answers) -> asyncio.StreamWriter:
    """Opens a stream; it is open until the writer is closed."""
    reader, writer = await asyncio.open_connection(*place)
    writer.write(request("GET", f"/api/progress/task/{job_id}/events"))
    answers.note(await reader.readuntil(b"\r\n\r\n"))
    return writer


async def _peak_bytes(pid: int, ended: asyncio.Event) -> int:
    peak = 0
    while not ended.is_set():
        peak = max(peak, resident_bytes(pid))
        await asyncio.sleep(LOOK_S)
    return peak


async def _overload(url: str, pid: int) -> tuple[int, dict[str, _Answers]]:
    place = place_of(url)
    found = {kind: _Answers() for kind in ("uploads", "bodies", "watchers")}
    over = asyncio.Event()
    peak = asyncio.create_task(_peak_bytes(pid, over))
    watching = asyncio.gather(
        *(_watch(place, 1 + n % 100, found["watchers"]) for n in range(WATCHERS))
    )
    filler = b"\0" * 2**18
    rest = [filler] * (UPLOADED_BYTES // len(filler))
    length = len(_PART) + len(WAV_HEAD) + UPLOADED_BYTES + len(_END)
    uploads = [
        _send(place, [_upload_head(length), _PART, WAV_HEAD, *rest, _END], found["uploads"])
        for _ in range(UPLOADS)
    ]
    large = request("POST", "/api/tasks/process", body=b"x")[:-1].replace(
        b"Content-Length: 1", b"Content-Length: %d" % LARGE_BYTES
    )
    bodies = [
        _send(place, [large, *[filler] * (LARGE_BYTES // len(filler))], found["bodies"])
        for _ in range(LARGE_BODIES)
    ]
    await asyncio.gather(*uploads, *bodies)
    streams = await watching
    over.set()
    held = await peak
    for stream in streams:
        stream.close()
    return held, found


def measure(stand: Stand) -> list[Goal]:
    """Asks for too much of everything at once."""
    fill(stand.database, 100)
    settings: dict[str, str] = {
        "HEARSIGHT_MAX_UPLOADS": str(UPLOAD_PLACES),
        "HEARSIGHT_MAX_WATCHERS": str(WATCHER_PLACES),
    }
    with stand.apis(1, **settings) as [server]:
        with server.client() as client:
            client.get("/api/jobs").raise_for_status()
        before = resident_bytes(server.process.pid)
        held, found = uvloop.run(_overload(server.url, server.process.pid))
        with server.client() as client:
            client.get("/api/jobs").raise_for_status()
    stand.empty()
    watchers = found["watchers"].statuses
    told = "; ".join(f"{kind} {answers.told()}" for kind, answers in found.items())
    return [
        at_most(
            "memory of an API process under overload",
            MOST_MIB,
            held / MIB,
            "MiB",
            remark=f", {before / MIB:.0f} before ({told})",
        ),
        exactly("watchers let in", WATCHER_PLACES, watchers[200], "watchers"),
        exactly("watchers refused with 503", WATCHERS - WATCHER_PLACES, watchers[503], "watchers"),
        exactly(
            "503 without Retry-After", 0, sum(a.without_retry for a in found.values()), "answers"
        ),
    ]
