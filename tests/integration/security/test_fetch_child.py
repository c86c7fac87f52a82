"""A source that is made to stop or exhaust whoever reads it ends a child, and no worker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from hearsight_core.errors import (
    Cancelled,
    ForbiddenAddressError,
    HearSightError,
    Http4xxError,
    NotFoundError,
    TimedOutError,
    TooLargeError,
    UnsupportedError,
    WorkerLostError,
)
from hearsight_download_worker.fetch import FetchLimits, FetchProgress
from hearsight_download_worker.fetchers import FORKS, Fetchers
from tests.integration.security.fetches import LIMITS, children, fetched
from tests.servers.media import MediaServer, media_folder, media_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    with media_server(made_to_harm(tmp_path_factory.mktemp("harm"))) as running:
        yield running


@pytest.fixture(scope="module", params=["forked", "started"] if FORKS else ["started"])
def fetchers(request: pytest.FixtureRequest) -> Iterator[Fetchers]:
    with closing(Fetchers(forks=request.param == "forked")) as begins:
        yield begins


def made_to_harm(folder: Path) -> Path:
    """Real speech, and answers that are made to harm whoever reads them."""
    (folder / "speech.mp3").write_bytes((media_folder() / "speech.mp3").read_bytes())
    # Patterns that look for an end that never comes begin anew at each of these.
    (folder / "patterns.html").write_bytes(b"<!doctype html><html>" + b"<script " * 30_000)
    entity = "A" * 8 * 1024 * 1024
    head = f'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY a "{entity}">]>'
    unfolding = f'{head}<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><x>{"&a;" * 100}</x></MPD>'
    (folder / "unfolding.mpd").write_text(unfolding)
    return folder


def test_a_medium_comes_whole_and_its_progress_is_told(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    told: list[FetchProgress] = []
    got = fetched(fetchers, server, "/plain/speech.mp3", tmp_path, on_progress=told.append)
    assert got.path.read_bytes() == (media_folder() / "speech.mp3").read_bytes()
    assert got.filename == "speech.mp3"
    assert told[-1].percent == 100
    assert told[-1].current_bytes == got.size_bytes
    assert children() == []


def test_a_page_that_takes_hours_to_understand_ends_its_child_alone(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    """In the worker's own process this would stop every thread, and its heartbeats with them."""
    beats = 0
    ended = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not ended.wait(0.1):
            beats += 1

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(UnsupportedError, match="too long to be understood"):
            fetched(fetchers, server, "/plain/patterns.html", tmp_path)
    finally:
        ended.set()
        heart.join()
    assert beats > 5
    assert children() == []


def test_a_manifest_that_unfolds_to_gigabytes_ends_its_child_alone(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match="more memory than a fetch may use"):
        fetched(fetchers, server, "/plain/unfolding.mpd", tmp_path, patience_cpu_s=20)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/redirect?to=" + quote("http://169.254.169.254/latest/"), ForbiddenAddressError),
        ("/status/404", NotFoundError),
        ("/status/418", Http4xxError),
        ("/page", UnsupportedError),
        ("/endless", TooLargeError),
        ("/bomb", UnsupportedError),
    ],
)
def test_what_went_wrong_is_said_as_without_a_child(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path, path: str, kind: type[HearSightError]
) -> None:
    with pytest.raises(HearSightError) as caught:
        fetched(fetchers, server, path, tmp_path)
    assert type(caught.value) is kind
    if isinstance(caught.value, ForbiddenAddressError):
        assert caught.value.field == "url"
        assert caught.value.values == {"host": "169.254.169.254"}


def test_its_time_ends_a_fetch_whatever_it_does(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    limits = FetchLimits(**{**vars(LIMITS), "timeout_s": 3})
    with pytest.raises(TimedOutError):
        fetched(fetchers, server, "/silent", tmp_path, limits=limits)


def test_a_check_that_says_no_ends_the_child(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    seen: list[int] = []

    def check() -> None:
        seen.extend(child.pid for child in children())
        if seen:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetched(fetchers, server, "/silent", tmp_path, check=check)
    assert children() == []


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(signal.SIGKILL, WorkerLostError), (signal.SIGSEGV, UnsupportedError)],
)
def test_how_a_child_ended_is_told_apart(
    fetchers: Fetchers,
    server: MediaServer,
    tmp_path: Path,
    ending: signal.Signals,
    kind: type[HearSightError],
) -> None:
    """Who runs out of the machine's memory is tried again; what crashes its reader is not."""

    def end() -> None:
        for child in children():
            child.send_signal(ending)

    with pytest.raises(kind):
        fetched(fetchers, server, "/silent", tmp_path, check=end)


def test_the_child_sees_none_of_our_secrets(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARSIGHT_DATABASE_URL", "postgresql://u:hush@127.0.0.1/d")
    monkeypatch.setenv("https_proxy", "http://u:hush@127.0.0.1:1")
    seen: list[tuple[dict[str, str], list[str]]] = []

    def look() -> None:
        seen.extend((child.environ(), child.cmdline()) for child in children())
        if seen:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetched(fetchers, server, "/silent", tmp_path, check=look)
    [(environ, command)] = seen
    assert set(environ) <= {
        *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "TMPDIR", "DENO_DIR"),
    }
    # A URL may hold a signature; whoever may list processes need not see it.
    assert not any(server.authority in word for word in command)


@pytest.mark.parametrize("path", ["/silent", "/plain/patterns.html"])
def test_nothing_outlives_a_worker_that_is_killed(
    server: MediaServer, tmp_path: Path, path: str
) -> None:
    """Neither the child, though it may be too busy to look, nor what it was forked from."""
    worker = f"""
from pathlib import Path
from hearsight_core.addresses import AddressGuard
from hearsight_download_worker.fetch import FetchLimits
from hearsight_download_worker.fetchers import Fetchers
from hearsight_download_worker.fetching import fetch_apart
fetch_apart(
    {server.url(path)!r}, Path({str(tmp_path)!r}), fetchers=Fetchers(), memory_mib=512,
    guard=AddressGuard([{server.authority!r}]), limits=FetchLimits(**{vars(LIMITS)!r}))
"""
    asked = len(server.requests)
    process = subprocess.Popen([sys.executable, "-c", worker], env=dict(os.environ))
    try:
        until = time.monotonic() + 60
        while len(server.requests) == asked:  # it has come to its first request
            assert time.monotonic() < until
            time.sleep(0.1)
        begun = psutil.Process(process.pid).children(recursive=True)
        assert begun
    finally:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(begun, timeout=30)
    assert left == []
