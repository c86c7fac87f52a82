"""What memory there is for batches: the machine's, what a container's limit leaves, a GPU's."""

import math
from pathlib import Path

import psutil
import pynvml
import pytest
from structlog.testing import capture_logs

from hearsight_asr_worker import device_memory
from hearsight_asr_worker.device_memory import HostMemory

MIB = 2**20
VERSION_2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")
VERSION_1 = (
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


def container(folder: Path, files: tuple[str, ...], limit: object) -> HostMemory:
    """A container that holds 300 MiB, 100 MiB of it files that the kernel can drop."""
    (folder / "memory").mkdir()
    most, held, stat, droppable = files
    (folder / most).write_text(f"{limit}\n")
    (folder / held).write_text(f"{300 * MIB}\n")
    (folder / stat).write_text(f"cache 7\n{droppable} {100 * MIB}\nactive_file 9\n")
    return HostMemory(folder)


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1])
def test_a_containers_limit_leaves_what_it_does_not_hold(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    assert container(tmp_path, files, 500 * MIB).free() == 300 * MIB


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1])
def test_a_container_over_its_limit_has_nothing_left(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    assert container(tmp_path, files, 50 * MIB).free() == 0


@pytest.mark.parametrize(("files", "limit"), [(VERSION_2, "max"), (VERSION_1, 2**63 - 4096)])
def test_without_a_limit_the_machines_memory_counts(
    tmp_path: Path, files: tuple[str, ...], limit: object
) -> None:
    available = psutil.virtual_memory().available
    assert container(tmp_path, files, limit).free() == pytest.approx(available, rel=0.1)


def test_without_control_groups_the_machines_memory_counts(tmp_path: Path) -> None:
    available = psutil.virtual_memory().available
    assert HostMemory(tmp_path).free() == pytest.approx(available, rel=0.1)


def test_an_endpoint_has_no_memory_here() -> None:
    assert device_memory.of_device("remote") is None


def test_a_gpu_is_asked_through_its_driver_until_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver's answers are stood in for, in the driver's own form."""
    answers = [pynvml.c_nvmlMemory_t(free=5 * MIB, used=3 * MIB)] * 2

    def answer(handle: object) -> pynvml.c_nvmlMemory_t:
        assert handle == ("GPU", 2)
        if answers:
            return answers.pop()
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: ("GPU", number))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", answer)
    memory = device_memory.of_device("cuda")
    assert memory is not None
    assert (memory.free(), memory.used()) == (5 * MIB, 3 * MIB)
    assert math.isnan(memory.free())
    assert math.isnan(memory.used())


def test_a_gpu_that_is_not_there_is_told_once_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-00000000-0000-0000-0000-000000000000")
    with capture_logs() as lines:
        assert device_memory.of_device("cuda") is None
    [line] = lines
    assert line["event"] == "the GPU's memory is not told"
