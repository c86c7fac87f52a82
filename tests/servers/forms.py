"""Uploads as bytes: forms put together by hand, so that a test decides where they are cut."""

import subprocess
from collections.abc import Iterable, Iterator
from functools import cache

import httpx
import imageio_ffmpeg

from hearsight_core.storage import ObjectStorage
from tests import speech
from tests.servers.api import Served
from tests.store import rows

BOUNDARY = "gc0p4Jq0M2Yt08jU534c0p"
END = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@cache
def wav() -> bytes:
    """Real speech, as a recorder writes it."""
    return speech.samples()[0].path.read_bytes()


@cache
def mp3() -> bytes:
    """Real speech, as people have it."""
    encode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(speech.samples()[0].path)]
    return subprocess.run([*encode, "-f", "mp3", "-"], capture_output=True, check=True).stdout


def field(name: str, value: str | bytes) -> bytes:
    """One field, with the delimiter before it."""
    content = value if isinstance(value, bytes) else value.encode()
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return b"\r\n" + head.encode() + content


def file(content: bytes, filename: str = "talk.wav", media_type: str = "audio/wav") -> bytes:
    """The file, with the delimiter before it."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return b"\r\n" + head.encode() + content


def form(*parts: bytes) -> bytes:
    """The whole body."""
    return b"".join((*parts, END)).removeprefix(b"\r\n")


def in_blocks(body: bytes, size: int = 1000) -> Iterator[bytes]:
    """The body in pieces of `size` bytes: sent so, its length is not announced."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def post(http: httpx.Client, body: bytes | Iterable[bytes]) -> httpx.Response:
    """Sends a form: bytes with their length announced, pieces chunked, as nobody knows it."""
    return http.post("/api/upload", headers=FORM, content=body)


def send(http: httpx.Client, *parts: bytes) -> httpx.Response:
    """Sends a form of these parts."""
    return post(http, form(*parts))


def objects(storage: ObjectStorage) -> set[str]:
    """The keys of everything stored."""
    return {found.key for found in storage.list("")}


def jobs_stored(served: Served) -> int:
    """How many jobs there are, deleted ones too."""
    return len(rows(served.database, "SELECT id FROM jobs"))
