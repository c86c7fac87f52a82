"""Children of fetches are forked from one process, and share nothing that a source could reach."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hearsight_core.errors import Cancelled, WorkerLostError
from hearsight_download_worker.fetcher import Order
from hearsight_download_worker.fetchers import FORKS, Fetchers
from tests.integration.security.fetches import LIMITS, children, fetched, forkers
from tests.servers.media import MediaServer, media_folder, media_server

pytestmark = pytest.mark.skipif(not FORKS, reason="children are not forked here")

WAIT_S = 60


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with media_server() as running:
        yield running


@pytest.fixture(scope="module")
def fetchers() -> Iterator[Fetchers]:
    with closing(Fetchers()) as begins:
        yield begins


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_child_has_the_descriptors_of_its_own_fetch_alone(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    """Not its worker's, not those of another fetch at the same time, no way to its parent."""
    secret = tmp_path / "secret"
    secret.write_text("hush")
    held: dict[int, list[str]] = {}
    one_looks = threading.Lock()

    def look() -> None:
        if len(server.requests) - asked < 2:
            return  # not both have come to where they wait
        with one_looks:
            for child in [] if held else children():
                links = Path(f"/proc/{child.pid}/fd").iterdir()
                held[child.pid] = [str(link.readlink()) for link in links]
                assert child.net_connections(kind="unix") == []
        raise Cancelled

    asked = len(server.requests)
    with secret.open() as file, ThreadPoolExecutor() as threads:
        os.set_inheritable(file.fileno(), True)
        both = [
            threads.submit(fetched, fetchers, server, "/silent", tmp_path / name, check=look)
            for name in ("one", "other")
        ]
        assert {type(each.exception(WAIT_S)) for each in both} == {Cancelled}
    one, other = held.values()
    assert not {str(secret)} & {*one, *other}
    # Order, words and what it tells (twice: one end is kept from libraries), and its connection.
    kinds = sorted(link.partition(":")[0].partition("/")[0] for link in one)
    assert kinds == ["", "", "pipe", "pipe", "socket"]
    assert not {*one} & {*other}


def test_what_a_fetch_starts_has_its_folder_for_a_home_and_its_limits(tmp_path: Path) -> None:
    order = Order(
        url="http://127.0.0.1/",
        folder=str(tmp_path),
        allow_hosts=(),
        limits=LIMITS,
        language=None,
        memory_mib=512,
        patience_cpu_s=7,
        verbose=False,
    )
    started = (
        "import json, os, resource as r;"
        "print(json.dumps([dict(os.environ), *map(r.getrlimit, (r.RLIMIT_DATA, r.RLIMIT_CPU))]))"
    )
    fetch = f"""
import subprocess, sys
from hearsight_download_worker.fetcher import Confined, Order
Confined(Order.read(sys.stdin.buffer.readline()))
subprocess.run([sys.executable, "-I", "-c", {started!r}], check=True)
"""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", fetch],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"HOME": os.devnull},
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order.written())  # and stays open: somebody waits
        environ, memory, cpu = json.loads(process.stdout.read())
    assert {environ[name] for name in ("HOME", "TMPDIR", "DENO_DIR")} == {str(tmp_path)}
    assert memory == [512 * 1024 * 1024] * 2
    assert cpu[0] <= 7 + 5


def test_the_next_fetch_sees_nothing_of_the_last(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    fetched(fetchers, server, "/cookie/speech.mp3", tmp_path / "first")
    [forker] = forkers()
    server.requests.clear()
    fetched(fetchers, server, "/cookie/speech.mp3", tmp_path / "second")
    assert "cookie" not in server.requests[0].headers
    assert forkers() == [forker]
    assert forker.num_threads() == 1
    assert not [file for file in forker.open_files() if str(tmp_path) in file.path]
    assert forker.net_connections(kind="inet") == []


def test_two_fetches_go_on_at_the_same_time(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(children()))

    with ThreadPoolExecutor() as threads:
        both = [
            threads.submit(
                fetched,
                fetchers,
                server,
                "/slow/speech.mp3?rate=80000",
                tmp_path / name,
                check=look,
            )
            for name in ("one", "other")
        ]
        for fetch in both:
            got = fetch.result(WAIT_S)
            assert got.path.read_bytes() == (media_folder() / "speech.mp3").read_bytes()
    assert most == 2
    assert len(forkers()) == 1


def test_a_forker_that_was_killed_costs_no_fetch(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path
) -> None:
    fetched(fetchers, server, "/plain/speech.mp3", tmp_path / "first")
    [forker] = forkers()
    forker.kill()
    until(lambda: forker.status() == psutil.STATUS_ZOMBIE)
    assert fetched(fetchers, server, "/plain/speech.mp3", tmp_path / "second").size_bytes
    assert len(forkers()) == 1
    assert forkers() != [forker]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_forker_killed_during_a_fetch_is_no_fault_of_the_source(
    fetchers: Fetchers, server: MediaServer, tmp_path: Path, ending: signal.Signals
) -> None:
    """The task is tried again: by the same worker, or by another."""
    gone: list[psutil.Process] = []

    def end() -> None:
        if children() and not gone:
            gone.extend([*children(), *forkers()])
            gone[-1].send_signal(ending)

    with pytest.raises(WorkerLostError):
        fetched(fetchers, server, "/silent", tmp_path / "first", check=end)
    _, left = psutil.wait_procs(gone[:-1], timeout=30)
    assert left == []
    assert fetched(fetchers, server, "/plain/speech.mp3", tmp_path / "second").size_bytes


def test_a_closed_worker_leaves_nothing(server: MediaServer, tmp_path: Path) -> None:
    before = forkers()
    with closing(Fetchers()) as own:
        fetched(own, server, "/plain/speech.mp3", tmp_path)
        [forker] = [process for process in forkers() if process not in before]
    assert not forker.is_running()
