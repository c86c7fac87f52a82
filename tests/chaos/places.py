"""Where a fault needs the system to run: on which object store, with which recogniser.

A store that a fault needs has ways to hurt it, and is healed with everything else.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import boto3  # type: ignore[import-untyped]  # it comes with moto and ships no types
from moto.server import ThreadedMotoServer

from hearsight.stack.ports import HOST
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import ObjectStorage
from tests.chaos.store_proxy import StoreProxy

BUCKET = "chaos"
KEY = "known-to-nobody"
"""The server asks for a key and takes any."""

TRIES_TO_FILL = 50

DISK_MIB = 512
"""How large the disk is while it is not full; it takes memory only for what lies on it."""


@dataclass(frozen=True)
class Folder:
    """Objects in a folder of this machine."""

    path: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What the services are told of it."""
        return {"HEARSIGHT_STORAGE_URL": self.path.as_uri()}

    def opened(self) -> ObjectStorage:
        """The driver's own way in."""
        return ObjectStorage.from_settings(CoreSettings(storage_url=self.path.as_uri()))

    def heal(self) -> None:
        """Nothing was done to it."""


@dataclass(frozen=True)
class Disk(Folder):
    """A folder on a disk of its own, which can be full."""

    def fill(self) -> None:
        """Leaves no room, not even for one more block."""
        for _ in range(TRIES_TO_FILL):
            used = os.statvfs(self.path)
            with suppress(RuntimeError):  # something was written meanwhile: it is larger than that
                self._resize(max(1, used.f_blocks - used.f_bfree) * used.f_frsize)
                return
        raise AssertionError("the disk could not be filled")

    def heal(self) -> None:
        """There is room again."""
        self._resize(DISK_MIB * 1024 * 1024)

    def _resize(self, size_bytes: int) -> None:
        _run("mount", "-o", f"remount,size={size_bytes}", str(self.path))


@dataclass(frozen=True)
class Bucket:
    """A bucket on an S3 server, behind a proxy that fails."""

    proxy: StoreProxy
    port: int

    @property
    def environment(self) -> Mapping[str, str]:
        """What the services are told of it."""
        return {
            "HEARSIGHT_STORAGE_URL": f"s3://{BUCKET}/hearsight",
            "HEARSIGHT_STORAGE_ENDPOINT": f"http://{HOST}:{self.proxy.port}",
            "HEARSIGHT_STORAGE_REGION": "us-east-1",
            "HEARSIGHT_STORAGE_ACCESS_KEY_ID": KEY,
            "HEARSIGHT_STORAGE_SECRET_ACCESS_KEY": KEY,
        }

    def opened(self, *, through_proxy: bool = False) -> ObjectStorage:
        """The driver's own way in, past the proxy unless it is asked for."""
        port = self.proxy.port if through_proxy else self.port
        return ObjectStorage.from_settings(
            CoreSettings(
                storage_url=f"s3://{BUCKET}/hearsight",
                storage_endpoint=f"http://{HOST}:{port}",
                storage_region="us-east-1",
                storage_access_key_id=KEY,
                storage_secret_access_key=KEY,
            )
        )

    def heal(self) -> None:
        """Takes back every trouble that does not last."""
        self.proxy.heal()


Objects = Folder | Bucket


@contextmanager
def folder(home: Path) -> Iterator[Folder]:
    """A folder in `home`."""
    yield Folder(home / "media")


@contextmanager
def in_memory(path: Path, size_mib: int) -> Iterator[None]:
    """A new folder that is a file system of its own in memory, for the length of the block.

    Raises:
        RuntimeError: nothing can be mounted here; it takes root.
    """
    path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "hearsight-chaos", str(path))
    try:
        yield
    finally:
        # Lazily: a process that was killed a moment ago may still be on its way out.
        _run("umount", "--lazy", str(path))


@contextmanager
def disk(home: Path) -> Iterator[Disk]:
    """A small disk in `home`.

    Raises:
        RuntimeError: as `in_memory`.
    """
    path = home / "media"
    with in_memory(path, DISK_MIB):
        yield Disk(path)


@contextmanager
def bucket(home: Path) -> Iterator[Bucket]:
    """An S3 server of this process."""
    del home  # the server keeps its objects in memory
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{port}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        with StoreProxy(port) as proxy:
            yield Bucket(proxy, port)
    finally:
        server.stop()


def _run(*command: str) -> None:
    """Runs it, and shows what it says only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@dataclass(frozen=True, eq=False)
class Place:
    """What a system under fault is made of."""

    name: str
    objects: Callable[[Path], AbstractContextManager[Objects]] = folder
    asr_module: str = "hearsight_asr_worker"
    settings: Mapping[str, str] = field(default_factory=dict)
    """On top of those of every place."""
    media: Callable[[Path], None] = lambda _: None
    """Makes recordings on top of those of every place, in the folder that is served."""
    asr_memory_mib: int | None = None
    """How much memory an ASR worker may take before it is killed."""


PLAIN = Place("a folder and the real engine")
"""Where a fault runs that needs nothing else."""
ON_S3 = Place("an S3 bucket", objects=bucket)
ON_SMALL_DISK = Place("a folder on a small disk", objects=disk)
