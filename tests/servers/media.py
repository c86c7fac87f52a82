"""A web server with real media behind it, well-behaved and not: what fetching meets out there.

`media_folder` makes the media once, from spoken clips, with ffmpeg. `MediaServer` serves them:

    /plain/NAME         the file, Range supported
    /slow/NAME?rate=N   the file at N bytes a second
    /broken/NAME        the first answer breaks off in the middle; Range is supported
    /cut/NAME           every answer breaks off after a third of what was asked for
    /chunked/NAME       no length, in chunks
    /gated/NAME?then=X  most of the file; the rest when the server's `gate` is opened. Then
                        X=go      it goes on
                        X=fail    it breaks off, and nothing is given any more
                        X=break   it breaks off; `after` names what lies there from then on, the
                                  same file if not said, in ranges unless `whole=1`
    /short/NAME         half of the file, with the whole one's length, always
    /hls/PATH           a manifest, its segments and its key
    /redirect?to=URL    302
    /status/CODE        that status
    /endless            sound without end
    /endless-page       a page without end
    /bomb               a page of a few bytes that unpacks to gigabytes
    /page               a page without media
    /feed               an RSS feed with two entries: /plain/speech.mp3 and another
    /text?body=TEXT     TEXT, as the type in `type`
    /silent             an answer that never comes
    /empty              an audio file of no bytes
    /cookie/NAME        the file, with a cookie
"""

import atexit
import shutil
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from urllib.parse import parse_qs, urlsplit

import imageio_ffmpeg

from tests.speech import joined, silence, write_wav

SPEECH_S: Final = 40.0
_CHUNK_BYTES: Final = 16 * 1024
_TYPES: Final = {
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".ts": "video/mp2t",
    ".key": "application/octet-stream",
}


def ffmpeg(*arguments: str | Path) -> None:
    """Runs ffmpeg; what it makes is overwritten."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-y", "-loglevel", "error", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=120)


@cache
def media_folder() -> Path:
    """A folder with the media, made when first asked for.

    speech.wav / .mp3 / .m4a, two-tracks.mp4 (Spanish first, English by default, and a picture),
    picture.mp4 (no sound), silence.wav, and hls/, hls-aes/ and dash/ with their manifests.
    """
    folder = Path(mkdtemp(prefix="media-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    speech = write_wav(folder / "speech.wav", joined(SPEECH_S).audio)
    spanish = write_wav(folder / "spanish.wav", joined(SPEECH_S, language="es").audio)
    write_wav(folder / "silence.wav", silence(30))
    ffmpeg("-i", speech, "-b:a", "64k", folder / "speech.mp3")
    ffmpeg("-i", speech, "-b:a", "64k", "-movflags", "+faststart", folder / "speech.m4a")
    picture = ("-f", "lavfi", "-i", f"testsrc=duration={SPEECH_S}:size=160x120:rate=5")
    ffmpeg(*picture, folder / "picture.mp4")
    english_by_default = ("-disposition:a:0", "0", "-disposition:a:1", "default")
    languages = ("-metadata:s:a:0", "language=spa", "-metadata:s:a:1", "language=eng")
    tracks = ("-map", "0:v", "-map", "1:a", "-map", "2:a")
    ffmpeg(
        *(*picture, "-i", spanish, "-i", speech, *tracks, *english_by_default, *languages),
        folder / "two-tracks.mp4",
    )
    hls = ("-f", "hls", "-hls_time", "5", "-hls_list_size", "0")
    (folder / "hls").mkdir()
    ffmpeg("-i", speech, "-b:a", "64k", *hls, folder / "hls" / "index.m3u8")
    secret = folder / "hls-aes"
    secret.mkdir()
    (secret / "secret.key").write_bytes(bytes(range(16)))
    (secret / "key-info").write_text(f"secret.key\n{secret / 'secret.key'}\n")
    ffmpeg(
        *("-i", speech, "-b:a", "64k", *hls, "-hls_key_info_file", secret / "key-info"),
        secret / "index.m3u8",
    )
    (folder / "dash").mkdir()
    ffmpeg("-i", speech, "-b:a", "64k", "-f", "dash", folder / "dash" / "index.mpd")
    return folder


@dataclass(frozen=True)
class Request:
    """A request that came in; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class MediaServer:
    """The running server: where it is, and what it was asked for."""

    host: str
    port: int
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def authority(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    def url(self, path: str) -> str:
        """The address of `path` here."""
        return f"{self.scheme}://{self.authority}{path}"

    def paths(self) -> list[str]:
        """The paths asked for, in order, without their queries."""
        return [urlsplit(request.path).path for request in self.requests]


@contextmanager
def media_server(
    folder: Path | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[MediaServer]:
    """Serves `folder` (or `media_folder()`) on a free port of 127.0.0.1, over TLS if told how."""
    server = _Server(folder or media_folder())
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.told.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.told
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.told = MediaServer("127.0.0.1", self.server_port)
        self.ending = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.told.requests.append(Request(self.command, self.path, headers))
        parts = urlsplit(self.path)
        _, route, *rest = parts.path.split("/")
        answer = getattr(self, f"answer_{route.replace('-', '_')}", None)
        self.close_connection = True
        if answer is None:
            self.send(404, "text/plain", b"nothing here")
        else:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            answer("/".join(rest), query)

    do_HEAD = do_GET  # noqa: N815  the name http.server calls

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name there
        """Says nothing; the requests are kept."""

    def send(self, status: int, kind: str, body: bytes, **headers: str | int) -> None:
        self.begin(status, kind, **{"Content-Length": len(body), **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, kind: str, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send_file(
        self, name: str, *, share: float = 1.0, rate: float | None = None, ranges: bool = True
    ) -> None:
        """A file or the range asked for; only a `share` of what is promised, at `rate` bytes/s."""
        path = self.server.folder / name
        if not path.is_file():
            self.send(404, "text/plain", b"nothing here")
            return
        content = path.read_bytes()
        wanted = self.headers.get("Range", "").removeprefix("bytes=") if ranges else ""
        first, _, last = wanted.partition("-")
        start = int(first or 0)
        end = min(int(last) + 1 if last else len(content), len(content))
        kind = _TYPES.get(path.suffix, "application/octet-stream")
        headers: dict[str, str | int] = {"Content-Length": end - start, "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self.begin(206 if wanted else 200, kind, **headers)
        if self.command == "HEAD":
            return
        sent_to = start + round((end - start) * share)
        for position in range(start, sent_to, _CHUNK_BYTES):
            piece = content[position : min(position + _CHUNK_BYTES, sent_to)]
            self.wfile.write(piece)
            if rate is not None and self.server.ending.wait(len(piece) / rate):
                return

    def answer_plain(self, name: str, _query: dict[str, str]) -> None:
        self.send_file(name)

    def answer_hls(self, name: str, _query: dict[str, str]) -> None:
        self.send_file(name)

    def answer_slow(self, name: str, query: dict[str, str]) -> None:
        self.send_file(name, rate=float(query["rate"]))

    def answer_gated(self, name: str, query: dict[str, str]) -> None:
        told = self.server.told
        if told.gate.is_set() and query["then"] == "fail":
            self.send(503, "text/plain", b"not now")
        elif told.gate.is_set():
            self.send_file(query.get("after", name), ranges="whole" not in query)
        elif self.command == "HEAD":
            self.send_file(name)
        else:
            content = (self.server.folder / name).read_bytes()
            most = len(content) * 9 // 10
            self.begin(200, "audio/mpeg", **{"Content-Length": len(content)})
            self.wfile.write(content[:most])
            while not (told.gate.wait(0.5) or self.server.ending.is_set()):
                self.wfile.write(content[most : most + 1])  # or it would be taken for dead
                most += 1
            if query["then"] == "go":
                self.wfile.write(content[most:])

    def answer_broken(self, name: str, _query: dict[str, str]) -> None:
        # What yt-dlp asks for first, to see what it is, is not the transfer.
        asked = self.server.told.paths().count(urlsplit(self.path).path)
        self.send_file(name, share=0.5 if asked <= 2 else 1.0)

    def answer_cut(self, name: str, _query: dict[str, str]) -> None:
        self.send_file(name, share=1 / 3)

    def answer_short(self, name: str, _query: dict[str, str]) -> None:
        content = (self.server.folder / name).read_bytes()
        self.begin(200, "audio/mpeg", **{"Content-Length": len(content)})
        self.wfile.write(content[: len(content) // 2])

    def answer_chunked(self, name: str, _query: dict[str, str]) -> None:
        content = (self.server.folder / name).read_bytes()
        self.begin(200, "audio/mpeg", **{"Transfer-Encoding": "chunked"})
        for start in range(0, len(content), _CHUNK_BYTES):
            self.write_chunk(content[start : start + _CHUNK_BYTES])
        self.write_chunk(b"")

    def write_chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def answer_redirect(self, _name: str, query: dict[str, str]) -> None:
        self.send(302, "text/plain", b"over there", Location=query["to"])

    def answer_status(self, code: str, _query: dict[str, str]) -> None:
        self.send(int(code), "text/plain", b"no")

    def answer_endless(self, _name: str, _query: dict[str, str]) -> None:
        self.begin(200, "audio/mpeg")
        while not self.server.ending.is_set():
            self.wfile.write(bytes(_CHUNK_BYTES))

    def answer_endless_page(self, _name: str, _query: dict[str, str]) -> None:
        self.begin(200, "text/html")
        self.wfile.write(b"<!doctype html><html><body>")
        while not self.server.ending.is_set():
            self.wfile.write(b"<p>more</p>" * 10_000)

    def answer_bomb(self, _name: str, _query: dict[str, str]) -> None:
        packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
        body = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(256)) + packer.flush()
        self.send(200, "text/html", body, **{"Content-Encoding": "gzip"})

    def answer_page(self, _name: str, _query: dict[str, str]) -> None:
        self.send(200, "text/html", b"<!doctype html><html><body><p>Words.</p></body></html>")

    def answer_feed(self, _name: str, _query: dict[str, str]) -> None:
        items = "".join(
            f"<item><title>Entry {number}</title><link>{self.server.told.url(path)}</link>"
            f'<enclosure url="{self.server.told.url(path)}" type="audio/mpeg"/></item>'
            for number, path in enumerate(["/plain/speech.mp3", "/plain/other.mp3"], start=1)
        )
        feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title>{items}'
        self.send(200, "application/rss+xml", f"{feed}</channel></rss>".encode())

    def answer_text(self, _name: str, query: dict[str, str]) -> None:
        self.send(200, query.get("type", "text/plain"), query["body"].encode())

    def answer_silent(self, _name: str, _query: dict[str, str]) -> None:
        self.server.ending.wait()

    def answer_cookie(self, name: str, _query: dict[str, str]) -> None:
        content = (self.server.folder / name).read_bytes()
        self.send(200, "audio/mpeg", content, **{"Set-Cookie": "visitor=1; Path=/"})

    def answer_empty(self, _name: str, _query: dict[str, str]) -> None:
        self.send(200, "audio/mpeg", b"")
