"""The memory of the device that recognises: what is in use of it, and what is still to be had."""

import math
import os
from pathlib import Path
from typing import Protocol

import psutil
import pynvml
import structlog

log = structlog.get_logger(__name__)

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Where a container's limit stands, what counts against it, and which of that the kernel would
rather drop than end somebody: of control groups of version 2, and of version 1."""


class DeviceMemory(Protocol):
    """Both in bytes, and NaN where the driver can't say any more."""

    def used(self) -> float:
        """What is in use: on cores by this process, on a GPU by everybody."""
        ...

    def free(self) -> float:
        """What may be had on top of that."""
        ...


class HostMemory:
    """What this process holds, and what the machine and the container's limit leave to it."""

    def __init__(self, cgroup: Path = _CGROUP) -> None:
        self._cgroup = cgroup
        self._process = psutil.Process()

    def used(self) -> float:
        """What this process holds in memory."""
        return float(self._process.memory_info().rss)

    def free(self) -> float:
        """What the machine has, or the container's limit leaves, if that is less."""
        return min(float(psutil.virtual_memory().available), self._left_of_limit())

    def _left_of_limit(self) -> float:
        for limit, usage, stat, droppable in _LIMITS:
            try:
                most = int((self._cgroup / limit).read_text("ascii"))
                held = int((self._cgroup / usage).read_text("ascii"))
                lines = (self._cgroup / stat).read_text("ascii").splitlines()
            except (OSError, ValueError):
                continue  # another version, no container, or "max": no limit
            kept = dict(line.split() for line in lines)
            return max(0.0, most - held + int(kept[droppable]))
        return math.inf


class GpuMemory:
    """The first GPU that CUDA shows to this process, which is the one the engine takes.

    All that is in use of it, not this process's share: in a container the driver can't tell whose
    it is, and an engine has its GPU for itself.
    """

    def __init__(self) -> None:
        """Looks for it.

        Raises:
            pynvml.NVMLError: there is no driver, or no such GPU.
        """
        # By number or by name, if not all are shown.
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
        pynvml.nvmlInit()
        self._handle = (
            pynvml.nvmlDeviceGetHandleByIndex(int(first))
            if first.isdigit()
            else pynvml.nvmlDeviceGetHandleByUUID(first)
        )

    def used(self) -> float:
        """What is in use of it."""
        return self._told("used")

    def free(self) -> float:
        """What is not."""
        return self._told("free")

    def _told(self, what: str) -> float:
        try:
            return float(getattr(pynvml.nvmlDeviceGetMemoryInfo(self._handle), what))
        except pynvml.NVMLError:
            # A device that is lost is the engine's to tell; metrics must still come.
            return math.nan


def of_device(device: str) -> DeviceMemory | None:
    """The memory of `device` (cpu, cuda, remote); None: it has none here, or can't say."""
    if device == "remote":
        return None
    if device == "cpu":
        return HostMemory()
    try:
        return GpuMemory()
    except pynvml.NVMLError as error:
        log.warning("the GPU's memory is not told", error=str(error))
        return None
