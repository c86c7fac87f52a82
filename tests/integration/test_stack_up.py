"""`hearsight up` with everything it starts: one home one stack, busy ports, no remains."""

import json
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hearsight.failures import Exit
from hearsight.stack import ports
from hearsight.stack.home import Home
from hearsight.stack.mark import Run
from hearsight.stack.plan import choose_ports
from tests.servers.command import hearsight
from tests.servers.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("up")) as running:
        yield running


def test_a_second_stack_in_the_same_home_refuses_and_breaks_nothing(stack: Stack) -> None:
    before = stack.state
    second = hearsight("up", home=stack.home.path)
    assert second.returncode == Exit.ALREADY_RUNNING
    assert before.url in second.stderr
    assert f"pid {stack.process.pid}" in second.stderr
    assert stack.state == before
    assert stack.http.get("/readyz").is_success


def test_every_address_of_the_stack_is_on_the_loopback_interface(stack: Stack) -> None:
    pids = {stack.process.pid, *stack.state.pids.values()}
    listening = [
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5
    assert set(listening) == {"127.0.0.1"}


def test_what_the_stack_remembers_is_for_its_owner_alone(stack: Stack) -> None:
    assert stat.S_IMODE(stack.home.state_file.stat().st_mode) == 0o600
    assert "postgresql://" in stack.home.state_file.read_text()


def test_the_password_is_on_no_line_of_the_stack(stack: Stack) -> None:
    password = (stack.home.path / "postgres.password").read_text()
    assert password not in stack.log.read_text()


def test_the_command_finds_the_running_stack_by_its_home(stack: Stack) -> None:
    found = hearsight("doctor", "--json", home=stack.home.path)
    report = json.loads(found.stdout)
    assert found.returncode == Exit.OK, report
    assert report["ok"]
    assert {check["name"] for check in report["checks"]} >= {
        f"API {stack.state.url}",
        "Worker download",
        "Worker asr",
        "Model",
    }
    assert (stack.home.path / "postgres.password").read_text() not in found.stdout


def test_a_killed_program_comes_back_on_its_port(stack: Stack) -> None:
    before = stack.state
    for name in ("valkey", "api"):
        killed = stack.kill(name)
        stack.await_api()
        assert stack.pid(name) != killed
    assert stack.state.ports == before.ports
    assert "valkey was ended by SIGKILL; it is started again in 0.5 s" in stack.log.read_text()


def test_a_busy_port_is_named_and_own_stores_are_used(
    tmp_path: Path, database_url: str, broker_url: str, redis_url: str
) -> None:
    own = {
        "HEARSIGHT_DATABASE_URL": database_url,
        "HEARSIGHT_BROKER_URL": broker_url,
        "HEARSIGHT_REDIS_URL": redis_url,
    }
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running_stack(tmp_path, HEARSIGHT_PORT=str(port), **own) as stack:
            assert stack.state.url != f"http://127.0.0.1:{port}"
            assert set(stack.state.pids) == {"api", "download", "asr"}
            # From another shell, which knows nothing of these variables.
            assert hearsight("migrate", "--json", home=tmp_path).returncode == Exit.OK
            said = stack.log.read_text()
    assert f"port {port} is taken by" in said
    assert f"(pid {psutil.Process().pid}); the API listens on" in said


def test_ctrl_c_stops_everything_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        job_id = stack.upload(Path(__file__).parents[2] / "packages/cli/hearsight/sample.flac")
        stack.outcome(job_id)
        first = stack.state
        everyone = psutil.Process(stack.process.pid).children(recursive=True)
    assert stack.process.returncode == Exit.OK
    assert not [process for process in everyone if process.is_running()]
    assert Home(tmp_path).running() is None
    with running_stack(tmp_path) as stack:
        assert "listens to videos" in str(stack.transcript(job_id)["text"])
        again = stack.state
    assert {name: port for name, port in again.ports.items() if name != "api"} == {
        name: port for name, port in first.ports.items() if name != "api"
    }


def test_a_stack_that_was_killed_is_no_obstacle_to_the_next(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        left = set(stack.state.pids.values())
        stack.process.send_signal(signal.SIGKILL)
        stack.process.wait()
    with running_stack(tmp_path) as stack:
        assert stack.http.get("/readyz").is_success
        assert not left & set(stack.state.pids.values())
        assert Run.new(tmp_path).forerunners(), "the running stack carries its mark"
    assert Run.new(tmp_path).forerunners() == []


def test_ports_stay_the_same_where_they_are_free() -> None:
    first = choose_ports(ports.free_port(), {})
    assert choose_ports(first["api"], first) == first
    assert len(set(first.values())) == len(first)
    with socket.socket() as taken:
        taken.bind((ports.HOST, first["valkey"]))
        taken.listen()
        second = choose_ports(first["api"], first)
    assert second["valkey"] != first["valkey"]
    assert second["postgres"] == first["postgres"]
