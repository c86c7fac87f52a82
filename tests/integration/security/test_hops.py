"""Wherever a source sends the fetch next, nothing inside is asked and nothing secret goes along."""

import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from urllib.parse import quote

import pytest

from hearsight_core.addresses import AddressGuard, Endpoint
from hearsight_core.errors import (
    ForbiddenAddressError,
    HearSightError,
    MediaError,
    NetworkError,
    RequestError,
    UnsupportedError,
)
from hearsight_download_worker.audio import open_audio
from hearsight_download_worker.fetch import FetchLimits, fetch
from tests.servers.media import MediaServer, media_folder, media_server

LIMITS = FetchLimits(
    max_bytes=10_000_000,
    max_duration_s=3600,
    timeout_s=120,
    socket_timeout_s=30,
    retries=0,
    retry_pause_s=0.01,
)
MANIFEST = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S">'
)
TRACK = '<Representation id="a" bandwidth="64000" codecs="mp4a.40.2">'


@pytest.fixture(scope="module")
def inside() -> Iterator[MediaServer]:
    with media_server() as server:
        yield server


@dataclass
class Source:
    """A server that answers whatever a test tells it to, and keeps what it was asked."""

    port: int
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def url(self, host: str, path: str) -> str:
        """The address of `path` under one of its names."""
        return f"http://{host}:{self.port}{path}"

    def guard(self, *names: str) -> AddressGuard:
        """A guard to which this server is the whole Internet, under these names."""

        def lookup(_host: str, port: int) -> list[Endpoint]:
            return [Endpoint(socket.AF_INET, ("127.0.0.1", port))]

        return AddressGuard(names, lookup=lookup)


@pytest.fixture
def source() -> Iterator[Source]:
    with answering() as server:
        yield server


@contextmanager
def answering() -> Iterator[Source]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked.append((headers["host"].partition(":")[0], self.path, headers))
            status, head, body = told.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **head}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  the name http.server calls

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name there
            """What was asked is kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told = Source(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def speech() -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "audio/mpeg"}, (media_folder() / "speech.mp3").read_bytes()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize("hops", [0, 2])
def test_no_kind_of_redirect_leads_inside(
    source: Source, inside: MediaServer, tmp_path: Path, status: int, hops: int
) -> None:
    inside.requests.clear()
    target = inside.url("/plain/speech.mp3").replace("127.0.0.1", "0x7f.1")
    for hop in range(hops + 1):
        onward = f"/hop{hop + 1}" if hop < hops else target
        source.answers[f"/hop{hop}"] = (status, {"Location": onward}, b"")
    # Where it is taken for a redirect, the guard says no; where not, it is no medium.
    with pytest.raises((ForbiddenAddressError, MediaError, NetworkError)) as caught:
        fetch(
            source.url("a.example", "/hop0"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )
    assert isinstance(caught.value, ForbiddenAddressError) or status in {300, 305}
    assert inside.requests == []


@pytest.mark.parametrize(
    "leading",
    [
        '<meta http-equiv="refresh" content="0; url={target}">',
        '<meta http-equiv="refresh" content="0; url=\'{target}\'">',
        '<iframe src="{target}"></iframe>',
        '<meta property="og:video" content="{target}">',
        '<meta name="twitter:player:stream" content="{target}">',
        (
            '<script type="application/ld+json">{{"@context": "https://schema.org", "@type":'
            ' "VideoObject", "contentUrl": "{target}"}}</script>'
        ),
        '<audio src="{target}"></audio>',
        '<embed src="{target}" flashvars="file={target}">',
        '<script>jwplayer("x").setup({{"file": "{target}"}});</script>',
        '<base href="{target}"><video src="x.mp4"></video>',
    ],
)
def test_no_page_leads_inside(
    source: Source, inside: MediaServer, tmp_path: Path, leading: str
) -> None:
    inside.requests.clear()
    page = f"<!doctype html><html>{leading.format(target=inside.url('/plain/x.mp4'))}</html>"
    source.answers["/page"] = (200, {"Content-Type": "text/html"}, page.encode())
    with pytest.raises((ForbiddenAddressError, MediaError, NetworkError)):
        fetch(
            source.url("a.example", "/page"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )
    assert inside.requests == []


@pytest.mark.parametrize(
    "body",
    [
        MANIFEST
        + "<BaseURL>{target}</BaseURL><Period><AdaptationSet mimeType='audio/mp4'>"
        + TRACK
        + "<BaseURL>x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
        MANIFEST
        + "<Period><AdaptationSet mimeType='audio/mp4'>"
        + TRACK
        + "<SegmentTemplate media='{target}?$Number$' initialization='{target}' duration='5'"
        " startNumber='1'/></Representation></AdaptationSet></Period></MPD>",
        MANIFEST
        + "<Period><AdaptationSet mimeType='audio/mp4'>"
        + TRACK
        + "<SegmentList duration='5'><Initialization sourceURL='{target}'/>"
        "<SegmentURL media='{target}'/></SegmentList></Representation></AdaptationSet></Period>"
        "</MPD>",
        MANIFEST + "<Period xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href='{target}'"
        " xlink:actuate='onLoad'/></MPD>",
        "<?xml version='1.0'?><!DOCTYPE MPD [<!ENTITY x SYSTEM '{target}'>]>"
        + MANIFEST
        + "<Period>&x;</Period></MPD>",
    ],
)
def test_no_dash_manifest_leads_inside(
    source: Source, inside: MediaServer, tmp_path: Path, body: str
) -> None:
    inside.requests.clear()
    content = body.replace("{target}", inside.url("/plain/speech.m4a")).encode()
    source.answers["/x.mpd"] = (200, {"Content-Type": "application/dash+xml"}, content)
    with pytest.raises((ForbiddenAddressError, MediaError)):
        fetch(
            source.url("a.example", "/x.mpd"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )
    assert inside.requests == []


@pytest.mark.parametrize(
    "target",
    [
        *("file:///etc/passwd", "concat:/etc/passwd|/etc/passwd", "data:audio/wav;base64,UklGRg=="),
        *(
            "subfile,,start,0,end,9,,:/etc/passwd",
            "crypto:/etc/passwd",
            "pipe:0",
            "tcp://127.0.0.1:1",
        ),
        *("gopher://127.0.0.1:1/x", "rtmp://127.0.0.1:1/x", "mmsh://127.0.0.1/x", "/etc/passwd"),
    ],
)
@pytest.mark.parametrize(
    "tag", ["{0}", '#EXT-X-KEY:METHOD=AES-128,URI="{0}"', '#EXT-X-MAP:URI="{0}"']
)
def test_no_playlist_names_a_file_or_a_protocol_of_ffmpeg(
    source: Source, tmp_path: Path, target: str, tag: str
) -> None:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:5", tag.format(target), "#EXTINF:5,", "s.ts"]
    text = "\n".join([*lines, "#EXT-X-ENDLIST"])
    kind = {"Content-Type": "application/vnd.apple.mpegurl"}
    source.answers["/x.m3u8"] = (200, kind, text.encode())
    # What is no address of its own is looked for on the source's server, which has none.
    with pytest.raises(HearSightError) as caught:
        fetch(
            source.url("a.example", "/x.m3u8"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )
    assert isinstance(caught.value, RequestError | MediaError | NetworkError)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"root:" not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"),
        ("id3.mp3", "ID3\x04\0\0\0\0\0\0#EXTM3U\n#EXTINF:9,\n{target}\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {target}\n"),
        ("list.pls", "[playlist]\nFile1={target}\nNumberOfEntries=1\n"),
        ("list.asx", '<asx version="3"><entry><ref href="{target}"/></entry></asx>'),
        ("list.smil", '<smil><body><audio src="{target}"/></body></smil>'),
        ("list.ram", "{target}\n"),
        ("cue.cue", 'FILE "{target}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n'),
    ],
)
def test_no_file_sent_to_us_is_read_as_a_list(
    inside: MediaServer, tmp_path: Path, name: str, content: str
) -> None:
    inside.requests.clear()
    path = tmp_path / name
    path.write_text(content.replace("{target}", inside.url("/plain/speech.mp3")))
    with (
        pytest.raises(MediaError),
        open_audio(path, memory_mib=512, max_duration_s=3600) as audio,
    ):
        list(audio.blocks(10))
    assert inside.requests == []


def test_a_name_that_turns_inside_between_two_requests_is_refused(
    source: Source, tmp_path: Path
) -> None:
    """It is judged at every connection: the page comes from outside, its medium would not."""
    page = b'<!doctype html><html><audio src="/speech.mp3"></audio></html>'
    source.answers["/page"] = (200, {"Content-Type": "text/html"}, page)
    source.answers["/speech.mp3"] = speech()
    # As many answers from outside as a page needs; the server there is this one all the same.
    answers = chain(["outside"], repeat("inside"))
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[Endpoint]:
        asked.append(host)
        address = "127.0.0.1" if next(answers) == "inside" else "93.184.215.14"
        return [Endpoint(socket.AF_INET, (address, port))]

    guard = AddressGuard(lookup=rebinding)
    assert guard.resolve("a.example", source.port)
    with pytest.raises(ForbiddenAddressError):
        fetch(source.url("a.example", "/page"), tmp_path, guard=guard, limits=LIMITS)
    assert len(asked) >= 2
    assert source.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_cookie_and_no_password_goes_to_another_host(
    source: Source, tmp_path: Path, status: int
) -> None:
    """Not the source's cookies, nor what a page puts before the @ of an address."""
    signed_in = f"http://u:hush@a.example:{source.port}/in.mp3"
    page = f'<!doctype html><html><audio src="{signed_in}"></audio></html>'
    other = source.url("b.example", "/speech.mp3")
    source.answers["/page"] = (200, {"Content-Type": "text/html"}, page.encode())
    source.answers["/in.mp3"] = (status, {"Location": other, "Set-Cookie": "sid=hush"}, b"")
    source.answers["/speech.mp3"] = speech()
    guard = source.guard("a.example", "b.example")
    fetch(source.url("a.example", "/page"), tmp_path, guard=guard, limits=LIMITS)
    assert any("authorization" in headers for host, _, headers in source.asked if host[0] == "a")
    sent = [headers for host, _, headers in source.asked if host == "b.example"]
    assert sent
    for headers in sent:
        assert "hush" not in str(headers)
        assert not {"authorization", "cookie"} & headers.keys()


def test_a_redirect_with_a_password_is_refused_without_repeating_it(
    source: Source, tmp_path: Path
) -> None:
    place = f"http://u:hush@a.example:{source.port}/in"
    source.answers["/start"] = (302, {"Location": place}, b"")
    with pytest.raises(RequestError) as caught:
        fetch(
            source.url("a.example", "/start"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )
    assert "hush" not in caught.value.text("en")


def test_a_cookie_of_one_host_is_not_set_for_another(source: Source, tmp_path: Path) -> None:
    page = f'<!doctype html><html><audio src="{source.url("b.example", "/speech.mp3")}"></audio>'
    cookie = "sid=hush; Domain=b.example; Path=/"
    source.answers["/page"] = (
        200,
        {"Content-Type": "text/html", "Set-Cookie": cookie},
        page.encode(),
    )
    source.answers["/speech.mp3"] = speech()
    guard = source.guard("a.example", "b.example")
    fetch(source.url("a.example", "/page"), tmp_path, guard=guard, limits=LIMITS)
    assert not any("hush" in str(headers) for _, _, headers in source.asked)


def test_a_page_packed_in_many_layers_is_refused(source: Source, tmp_path: Path) -> None:

    body = bytes(40 * 1024 * 1024)
    for _ in range(3):
        body = zlib.compress(body, 9)
    packed = {"Content-Type": "text/html", "Content-Encoding": ", ".join(["deflate"] * 3)}
    source.answers["/page"] = (200, packed, body)
    with pytest.raises(UnsupportedError):
        fetch(
            source.url("a.example", "/page"),
            tmp_path,
            guard=source.guard("a.example"),
            limits=LIMITS,
        )


def test_a_name_of_the_system_s_own_resolver_is_judged_too(tmp_path: Path) -> None:
    """Without a look-up of the test's own: this machine's name leads to this machine."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 80)
    except socket.gaierror:
        pytest.skip("this machine's name has no address")
    with pytest.raises(HearSightError) as caught:
        fetch(f"http://{quote(name)}:9/x", tmp_path, guard=AddressGuard(), limits=LIMITS)
    assert isinstance(caught.value, ForbiddenAddressError | NetworkError)
