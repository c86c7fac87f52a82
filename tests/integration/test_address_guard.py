"""Whatever leads inside, no connection is made there."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from hearsight_core.addresses import AddressGuard, Endpoint
from hearsight_core.errors import ForbiddenAddressError, NotFoundError, UnsupportedError
from hearsight_download_worker.fetch import FetchLimits, fetch
from tests.servers.media import MediaServer, media_server

LIMITS = FetchLimits(
    max_bytes=10_000_000,
    max_duration_s=3600,
    timeout_s=30,
    socket_timeout_s=2,
    retries=1,
    retry_pause_s=0.01,
)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[MediaServer, MediaServer]]:
    with media_server() as outside, media_server() as inside:
        yield outside, inside


@pytest.fixture
def outside(running: tuple[MediaServer, MediaServer]) -> MediaServer:
    """The server that may be fetched from."""
    running[0].requests.clear()
    return running[0]


@pytest.fixture
def inside(running: tuple[MediaServer, MediaServer]) -> MediaServer:
    """The server that may not."""
    running[1].requests.clear()
    return running[1]


def test_only_the_allowed_port_of_a_host_is_reached(
    outside: MediaServer, inside: MediaServer
) -> None:
    guard = AddressGuard([outside.authority])
    with closing(guard.connect((outside.host, outside.port), 2)) as connection:
        assert connection.getpeername() == (outside.host, outside.port)
        assert connection.gettimeout() == 2
    with pytest.raises(ForbiddenAddressError):
        guard.connect((inside.host, inside.port), 2)


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f000001", "::1", "0"])
def test_no_name_of_this_machine_is_reached(inside: MediaServer, name: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        AddressGuard().connect((name, inside.port), 2)


def test_a_name_is_looked_up_once_and_connected_to_what_was_judged(outside: MediaServer) -> None:
    answers = iter(["127.0.0.1", "169.254.169.254"])

    def rebinding(_host: str, port: int) -> list[Endpoint]:
        return [Endpoint(socket.AF_INET, (next(answers), port))]

    guard = AddressGuard(["media.example"], lookup=rebinding)
    with closing(guard.connect(("media.example", outside.port), 2)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert next(answers) == "169.254.169.254", "nobody asked again"


def test_a_name_that_changes_its_address_is_judged_anew_each_time(
    outside: MediaServer, tmp_path: Path
) -> None:
    """The name leads outside when the request is made, and inside when the transfer begins."""
    answers = iter(["8.8.8.8", "127.0.0.1"])

    def rebinding(_host: str, port: int) -> list[Endpoint]:
        return [Endpoint(socket.AF_INET, (next(answers), port))]

    guard = AddressGuard(lookup=rebinding)
    assert guard.resolve("media.example", outside.port)
    with pytest.raises(ForbiddenAddressError):
        fetch(
            f"http://media.example:{outside.port}/plain/speech.mp3",
            tmp_path,
            guard=guard,
            limits=LIMITS,
        )
    assert outside.requests == []


def test_the_next_address_is_tried_when_one_does_not_answer(outside: MediaServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed: int = unused.getsockname()[1]
        found = [Endpoint(socket.AF_INET, ("127.0.0.1", port)) for port in (closed, outside.port)]
        guard = AddressGuard(["media.example"], lookup=lambda _host, _port: found)
        with closing(guard.connect(("media.example", 80), 2)) as connection:
            assert connection.getpeername()[1] == outside.port


def hls(*lines: str) -> str:
    text = "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:5", *lines, "#EXT-X-ENDLIST"])
    return f"/text?type=application/x-mpegurl&body={quote(text)}"


def master(variant: str) -> str:
    text = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\n{variant}\n"
    return f"/text?type=application/x-mpegurl&body={quote(text)}"


def dash(base: str) -> str:
    text = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="audio/mp4">'
        f'<Representation id="a" bandwidth="64000" codecs="mp4a.40.2"><BaseURL>{base}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    )
    return f"/text?type=application/dash%2Bxml&body={quote(text)}"


def feed(link: str) -> str:
    text = (
        '<?xml version="1.0"?><rss version="2.0"><channel><title>f</title><item><title>t</title>'
        f"<link>{link}</link></item></channel></rss>"
    )
    return f"/text?type=application/rss%2Bxml&body={quote(text)}"


def page(link: str) -> str:
    text = f'<!doctype html><html><body><video src="{link}"></video></body></html>'
    return f"/text?type=text/html&body={quote(text)}"


def attempts(target: str) -> list[str]:
    """Every way we know by which a source could send the fetch to `target`."""
    segment = "/hls/hls/index0.ts"
    return [
        f"/redirect?to={quote(target)}",
        f"/redirect?to={quote('/redirect?to=' + quote(target))}",
        hls("#EXTINF:5,", target),
        hls("#EXTINF:5,", segment, "#EXTINF:5,", target),
        hls("#EXTINF:5,", f"/redirect?to={quote(target)}"),
        hls(f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"', "#EXTINF:5,", segment),
        hls(f'#EXT-X-MAP:URI="{target}"', "#EXTINF:5,", segment),
        master(target),
        dash(target),
        feed(target),
        page(target),
    ]


@pytest.mark.parametrize("number", range(len(attempts(""))))
@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://localhost:{port}/plain/speech.mp3"],
)
def test_no_source_leads_inside(
    outside: MediaServer, inside: MediaServer, tmp_path: Path, number: int, target: str
) -> None:
    path = attempts(target.format(port=inside.port))[number]
    with pytest.raises(ForbiddenAddressError):
        fetch(
            outside.url(path),
            tmp_path,
            guard=AddressGuard([outside.authority]),
            limits=LIMITS,
        )
    assert inside.requests == []


@pytest.mark.parametrize("number", range(len(attempts(""))))
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://media.example/a.ts"])
def test_no_source_leads_to_another_protocol(
    outside: MediaServer, tmp_path: Path, number: int, target: str
) -> None:
    # What is not taken for an address of its own is looked for on the source's server.
    with pytest.raises((UnsupportedError, NotFoundError)):
        fetch(
            outside.url(attempts(target)[number]),
            tmp_path,
            guard=AddressGuard([outside.authority]),
            limits=LIMITS,
        )


def test_what_is_inside_is_refused_before_anything_is_sent(
    inside: MediaServer, tmp_path: Path
) -> None:
    with pytest.raises(ForbiddenAddressError):
        fetch(inside.url("/plain/speech.mp3"), tmp_path, guard=AddressGuard(), limits=LIMITS)
    assert inside.requests == []
