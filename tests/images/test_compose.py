"""compose.yaml for people without a cluster: brought up, used, stopped, brought up again."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from hearsight.stack.ports import HOST, free_port
from hearsight_core.contract import JobStatus
from tests.client import Client
from tests.cluster.waiting import eventually
from tests.images.engine import REPOSITORY, Engine
from tests.speech import joined, word_error_rate, write_wav

FILE = REPOSITORY / "compose.yaml"
COMMAND_S = 300
SPEECH_S = 20.0
WORST_WORD_ERROR_RATE = 0.15
SETTINGS = {
    "POSTGRES_PASSWORD": "a2b4c6",
    "VALKEY_PASSWORD": "d8e0f2",
    "HEARSIGHT_LANGUAGE": "zh",
    "HEARSIGHT_MODEL": "tiny.en",
}


@dataclass(frozen=True)
class Compose:
    """One project of compose.yaml under a name of its own."""

    program: tuple[str, ...]
    project: str
    overriding: Path
    env: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        """Runs one of Compose's commands; returns what it printed."""
        files = ("-f", str(FILE), "-f", str(self.overriding))
        done = subprocess.run(
            [*self.program, "-p", self.project, *files, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
            env=self.env,
        )
        assert not done.returncode, f"{done.args}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def up(self) -> Iterator[Client]:
        """Brings it up and waits for the API; stops it at the end, keeping its volumes."""
        self("up", "--detach", "--no-build")
        try:
            address = f"http://{HOST}:{self.env['HEARSIGHT_PORT']}"
            with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
                eventually("the API is ready", lambda: _ready(http), describe=lambda: self("logs"))
                yield Client(http)
        finally:
            self("stop")


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _program(engine: Engine) -> tuple[str, ...] | None:
    if engine.program == "docker":
        version = engine.call("compose", "version", check=False)
        return None if version.returncode else ("docker", "compose")
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which("podman-compose", path=beside_python)
    return (found,) if found else None


@pytest.fixture
def compose(engine: Engine, images: dict[str, str], tmp_path: Path) -> Iterator[Compose]:
    program = _program(engine)
    if program is None:
        pytest.skip(f"there is no Compose for {engine.program} here")
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    image = {"migrate": images["api"], **images}
    # Limits as in engine.py: Podman would raise these further than it may in some places.
    limits = {"nofile": 4096, "nproc": 4096}
    changed = {
        name: {"ulimits": limits, **({"image": image[name]} if name in image else {})}
        for name in services
    }
    file = tmp_path / "overriding.yaml"
    file.write_text(yaml.safe_dump({"services": changed}), "utf-8")
    project = f"hearsight-test-{uuid.uuid4().hex[:8]}"
    env = {**os.environ, **SETTINGS, "HEARSIGHT_PORT": str(free_port())}
    running = Compose(program, project, file, env)
    yield running
    running("down", "--volumes")


def test_everybody_can_write_as_little_as_possible() -> None:
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_api_alone_has_a_port_and_on_this_machine_alone() -> None:
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:${HEARSIGHT_PORT:-8000}:8000"]}


def test_no_key_is_asked_for_where_this_machine_alone_can_ask() -> None:
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    assert services["api"]["environment"]["HEARSIGHT_AUTH"] == "${HEARSIGHT_AUTH:-loopback}"


def test_the_images_are_those_of_the_chart() -> None:
    chart = yaml.safe_load((REPOSITORY / "charts/hearsight/Chart.yaml").read_text("utf-8"))
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    ours = [one["image"] for one in services.values() if "/hearsight/" in one["image"]]
    assert len(ours) == 5
    assert all(f"${{HEARSIGHT_VERSION:-{chart['appVersion']}}}" in image for image in ours)


@pytest.mark.timeout(900)
def test_speech_is_recognised_and_is_still_there_after_a_stop(
    compose: Compose, tmp_path: Path
) -> None:
    speech = joined(SPEECH_S)
    with compose.up() as client:
        job_id = client.upload(write_wav(tmp_path / "speech.wav", speech.audio), language="en")
        last = client.outcome(job_id)
        assert last["status"] == JobStatus.COMPLETED, last
        heard = str(client.transcript(job_id)["text"])
        assert word_error_rate(speech.text, heard) < WORST_WORD_ERROR_RATE
    with compose.up() as client:
        assert client.transcript(job_id)["text"] == heard
        assert client.http.get(f"/api/jobs/{job_id}/media").is_success
