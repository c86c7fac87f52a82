"""Real yt-dlp fetches from a real server, within limits, and says what went wrong."""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import certifi
import pytest

from hearsight_core.addresses import AddressGuard
from hearsight_core.errors import (
    Cancelled,
    CorruptError,
    DiskFullError,
    DnsError,
    Draining,
    HearSightError,
    Http4xxError,
    Http5xxError,
    InvalidRequestError,
    LiveError,
    NotFoundError,
    PrivateError,
    RateLimitedError,
    RefusedError,
    TimedOutError,
    TlsError,
    TooLargeError,
    TooLongError,
    UnsupportedError,
)
from hearsight_download_worker.audio import open_audio
from hearsight_download_worker.fetch import Fetched, FetchLimits, FetchProgress, fetch
from tests.servers.certificate import self_signed
from tests.servers.media import MediaServer, media_folder, media_server
from tests.speech import joined

LIMITS = FetchLimits(
    max_bytes=10_000_000,
    max_duration_s=3600,
    timeout_s=60,
    socket_timeout_s=8,
    retries=3,
    retry_pause_s=0.01,
)


@pytest.fixture(scope="module")
def running() -> Iterator[MediaServer]:
    with media_server() as server:
        yield server


@pytest.fixture
def server(running: MediaServer) -> MediaServer:
    running.requests.clear()
    return running


def fetched(
    server: MediaServer,
    path: str,
    folder: Path,
    *,
    limits: FetchLimits = LIMITS,
    on_progress: Callable[[FetchProgress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Fetched:
    return fetch(
        server.url(path),
        folder,
        guard=AddressGuard([server.authority]),
        limits=limits,
        on_progress=on_progress,
        check=check,
    )


def manifest(*lines: str, ended: bool = True) -> str:
    """The path of an HLS manifest with these lines."""
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:5"]
    text = "\n".join([*head, *lines, *(["#EXT-X-ENDLIST"] if ended else [])])
    return f"/text?type=application/x-mpegurl&body={quote(text)}"


@pytest.mark.parametrize("route", ["plain", "chunked", "slow"])
def test_a_file_comes_whole(server: MediaServer, tmp_path: Path, route: str) -> None:
    query = "?rate=2000000" if route == "slow" else ""
    got = fetched(server, f"/{route}/speech.mp3{query}", tmp_path)
    assert got.path.read_bytes() == (media_folder() / "speech.mp3").read_bytes()
    assert got.size_bytes == got.path.stat().st_size
    assert (got.filename, got.title) == ("speech.mp3", "speech")
    assert (got.extractor, got.playlist_entries) == ("generic", None)
    assert got.webpage_url == server.url(f"/{route}/speech.mp3{query}")


@pytest.mark.parametrize(
    "path", ["/hls/hls/index.m3u8", "/hls/hls-aes/index.m3u8", "/hls/dash/index.mpd"]
)
def test_a_stream_in_pieces_is_put_together(server: MediaServer, tmp_path: Path, path: str) -> None:
    told: list[FetchProgress] = []
    got = fetched(server, path, tmp_path, on_progress=told.append)
    with open_audio(got.path, memory_mib=1024, max_duration_s=3600) as audio:
        for _ in audio.blocks(10):
            pass
    assert abs(audio.duration_ms - joined(40).duration_ms) < 200
    percents = [one.percent or 0 for one in told]
    assert percents == sorted(percents)
    assert all(one.percent is not None for one in told)
    assert percents[-1] == 100


def test_progress_tells_bytes_and_never_goes_back(server: MediaServer, tmp_path: Path) -> None:
    told: list[FetchProgress] = []
    got = fetched(server, "/broken/speech.mp3", tmp_path, on_progress=told.append)
    assert [one.percent for one in told] == sorted(one.percent or 0 for one in told)
    assert (told[-1].current_bytes, told[-1].percent) == (got.size_bytes, 100)
    assert {one.total_bytes for one in told} == {got.size_bytes}
    assert {one.filename for one in told} == {"speech.mp3"}


def test_a_broken_transfer_goes_on_where_it_broke(tmp_path: Path) -> None:
    with media_server() as server:
        got = fetched(server, "/broken/speech.mp3", tmp_path)
    content = (media_folder() / "speech.mp3").read_bytes()
    assert got.path.read_bytes() == content
    ranges = [request.headers.get("range") for request in server.requests]
    assert ranges == [None, None, f"bytes={round(len(content) * 0.5)}-"]


def test_a_later_try_goes_on_where_an_earlier_one_ended(
    server: MediaServer, tmp_path: Path
) -> None:
    content = (media_folder() / "speech.mp3").read_bytes()
    (tmp_path / "media.part").write_bytes(content[:1000])
    assert fetched(server, "/plain/speech.mp3", tmp_path).path.read_bytes() == content
    assert server.requests[-1].headers["range"] == "bytes=1000-"


def test_a_redirect_is_followed(server: MediaServer, tmp_path: Path) -> None:
    got = fetched(server, "/redirect?to=/plain/speech.m4a", tmp_path)
    assert got.filename == "speech.m4a"


def test_of_a_playlist_the_first_entry_is_fetched(server: MediaServer, tmp_path: Path) -> None:
    got = fetched(server, "/feed", tmp_path)
    assert (got.title, got.playlist_entries) == ("Entry 1", 2)
    assert "/plain/other.mp3" not in server.paths()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/status/401", PrivateError),
        ("/status/403", Http4xxError),
        ("/status/404", NotFoundError),
        ("/status/410", NotFoundError),
        ("/status/429", RateLimitedError),
        ("/status/500", Http5xxError),
        ("/status/503", Http5xxError),
        ("/plain/missing.mp3", NotFoundError),
        ("/page", UnsupportedError),
        ("/empty", CorruptError),
        ("/silent", TimedOutError),
        ("/cut/speech.mp3", RefusedError),
        ("/short/speech.mp3", RefusedError),
        ("/endless-page", UnsupportedError),
        ("/bomb", UnsupportedError),
        ("/redirect?to=/redirect?to=/status/404", NotFoundError),
        (manifest("#EXTINF:5,", "/hls/hls/index0.ts", ended=False), LiveError),
        (manifest("#EXTINF:5,", "/status/404"), NotFoundError),
        (manifest("#EXTINF:5,", "/status/500"), Http5xxError),
        (manifest("#EXTINF:5,", "/short/hls/index0.ts"), RefusedError),
        (
            manifest('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/k"', "#EXTINF:5,", "/hls/hls/index0.ts"),
            UnsupportedError,
        ),
    ],
)
def test_what_went_wrong_is_said(
    server: MediaServer, tmp_path: Path, path: str, kind: type[HearSightError]
) -> None:
    with pytest.raises(HearSightError) as caught:
        fetched(server, path, tmp_path)
    assert type(caught.value) is kind
    assert "report this issue" not in str(caught.value)


def test_a_name_without_an_address_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(DnsError, match=r"nowhere\.invalid"):
        fetch("http://nowhere.invalid/", tmp_path, guard=AddressGuard(), limits=LIMITS)


def test_a_closed_port_refuses(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RefusedError):
            fetch(f"http://{authority}/", tmp_path, guard=AddressGuard([authority]), limits=LIMITS)


def test_a_server_that_speaks_no_tls_is_not_trusted(server: MediaServer, tmp_path: Path) -> None:
    url = server.url("/plain/speech.mp3").replace("http:", "https:")
    with pytest.raises(TlsError):
        fetch(url, tmp_path, guard=AddressGuard([server.authority]), limits=LIMITS)


def test_media_come_over_tls_from_a_trusted_server_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, context = self_signed(tmp_path)
    with media_server(tls=context) as server:
        with pytest.raises(TlsError):
            fetched(server, "/plain/speech.mp3", tmp_path / "distrusted")
        monkeypatch.setattr(certifi, "where", lambda: str(trusted))
        got = fetched(server, "/plain/speech.mp3", tmp_path / "trusted")
        pieces = fetched(server, "/hls/hls/index.m3u8", tmp_path / "pieces")
        with pytest.raises(TimedOutError):
            fetched(server, "/silent", tmp_path / "silent")
    assert got.path.read_bytes() == (media_folder() / "speech.mp3").read_bytes()
    assert pieces.size_bytes > got.size_bytes / 2


@pytest.mark.parametrize("path", ["/plain/speech.mp3", "/endless", "/hls/hls/index.m3u8"])
def test_what_is_too_large_is_not_fetched(server: MediaServer, tmp_path: Path, path: str) -> None:
    limits = FetchLimits(**{**vars(LIMITS), "max_bytes": 200_000})
    with pytest.raises(TooLargeError):
        fetched(server, path, tmp_path, limits=limits)


def test_what_is_too_long_is_not_fetched(server: MediaServer, tmp_path: Path) -> None:
    limits = FetchLimits(**{**vars(LIMITS), "max_duration_s": 10})
    with pytest.raises(TooLongError):
        fetched(server, "/hls/hls/index.m3u8", tmp_path, limits=limits)
    assert not any(path.endswith(".ts") for path in server.paths())


@pytest.mark.parametrize("path", ["/slow/speech.mp3?rate=20000", "/silent"])
def test_a_fetch_ends_when_its_time_is_up(server: MediaServer, tmp_path: Path, path: str) -> None:
    limits = FetchLimits(**{**vars(LIMITS), "timeout_s": 0.7, "socket_timeout_s": 30})
    with pytest.raises(TimedOutError):
        fetched(server, path, tmp_path, limits=limits)


@pytest.mark.parametrize("interruption", [Cancelled, Draining])
@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("/slow/speech.mp3?rate=100000", "/slow/speech.mp3"),
        ("/silent", "/silent"),
        (manifest("#EXTINF:5,", "/silent"), "/silent"),
        ("/hls/hls-aes/index.m3u8", "/hls/hls-aes/secret.key"),
    ],
)
def test_an_interruption_comes_out_as_it_is(
    server: MediaServer,
    tmp_path: Path,
    interruption: type[HearSightError],
    path: str,
    reached: str,
) -> None:
    def check() -> None:
        if reached in server.paths():
            raise interruption

    limits = FetchLimits(**{**vars(LIMITS), "socket_timeout_s": 30})
    started = time.monotonic()
    with pytest.raises(interruption):
        fetched(server, path, tmp_path, limits=limits, check=check)
    assert time.monotonic() - started < 20, "the silent host was not waited for"


def test_a_full_disk_is_said_to_be_full(server: MediaServer, tmp_path: Path) -> None:
    (tmp_path / "media.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        fetched(server, "/plain/speech.mp3", tmp_path)


def test_orders_hidden_in_a_url_are_refused(server: MediaServer, tmp_path: Path) -> None:
    smuggled = '#__youtubedl_smuggle={"to_generic":true}'.replace('"', "%22")
    with pytest.raises(InvalidRequestError):
        fetched(server, f"/plain/speech.mp3{smuggled}", tmp_path)
    assert server.requests == []


def test_no_other_program_is_started(
    server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ffmpeg", "ffprobe", "avconv", "aria2c", "curl", "wget", "phantomjs", "rtmpdump"):
        program = programs / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started-$(basename $0)\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    sample_aes = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/k"'
    for number, path in enumerate(
        [
            "/plain/two-tracks.mp4",
            "/hls/hls/index.m3u8",
            "/hls/hls-aes/index.m3u8",
            "/hls/dash/index.mpd",
        ]
    ):
        fetched(server, path, tmp_path / str(number))
    with pytest.raises(UnsupportedError):
        fetched(server, manifest(sample_aes, "#EXTINF:5,", "/k"), tmp_path / "encrypted")
    assert list(tmp_path.glob("started-*")) == []


def test_proxies_of_the_environment_are_not_used(
    server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetched(server, "/plain/speech.mp3", tmp_path).size_bytes


def test_a_name_for_people_is_safe_to_show(tmp_path: Path) -> None:
    content = (media_folder() / "speech.mp3").read_bytes()
    with media_server(tmp_path) as other:
        (tmp_path / "x.mp3").write_bytes(content)
        feed = (
            '<?xml version="1.0"?><rss version="2.0"><channel><title>f</title><item>'
            f"<title>../..\\a&#x202E;b{'x' * 300}</title><link>{other.url('/plain/x.mp3')}</link>"
            "</item></channel></rss>"
        )
        path = f"/text?type=application/rss+xml&body={quote(feed)}"
        got = fetched(other, path, tmp_path / "out")
    assert len(got.filename) <= 200
    assert got.filename.endswith(".mp3")
    assert got.filename.isprintable()
    assert not set("/\\") & set(got.filename)
    assert got.path.parent == tmp_path / "out"
