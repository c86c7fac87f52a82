"""Objects appear whole or not at all, and are read back as they were written: in a folder."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hearsight_core import storage as storage_module
from hearsight_core.errors import DiskFullError, ObjectStoreError
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import (
    PART_BYTES,
    ObjectMissingError,
    ObjectStorage,
    job_prefix,
    parts_prefix,
    upload_prefix,
)
from tests.integration.conftest import Together


def _keys(storage: ObjectStorage, prefix: str = "") -> list[str]:
    return sorted(found.key for found in storage.list(prefix))


async def _write(storage: ObjectStorage, key: str, blocks: list[bytes]) -> None:
    async with storage.writer(key) as writer:
        for block in blocks:
            await writer.write(block)


async def _write_and_fail(storage: ObjectStorage, key: str, blocks: list[bytes]) -> None:
    async with storage.writer(key) as writer:
        for block in blocks:
            await writer.write(block)
        raise ConnectionResetError


async def _read(storage: ObjectStorage, key: str, start: int, end: int) -> bytes:
    return b"".join([block async for block in storage.read_range(key, start, end)])


def test_what_is_put_is_got(storage: ObjectStorage) -> None:
    storage.put_bytes("jobs/1/a", b"one")
    storage.put_bytes("jobs/1/a", b"two")
    assert storage.get_bytes("jobs/1/a") == b"two"
    assert storage.size("jobs/1/a") == 3


def test_an_empty_object_is_an_object(storage: ObjectStorage, tmp_path: Path) -> None:
    storage.put_bytes("empty", b"")
    assert storage.get_bytes("empty") == b""
    assert sum(storage.get_file("empty", tmp_path / "copy"), 0) == 0
    assert (tmp_path / "copy").read_bytes() == b""


def test_a_file_goes_in_and_out_in_blocks(storage: ObjectStorage, tmp_path: Path) -> None:
    content = os.urandom(2 * PART_BYTES + 12345)
    (tmp_path / "file").write_bytes(content)
    storage.put_file("jobs/1/media", tmp_path / "file")
    told = list(storage.get_file("jobs/1/media", tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content
    assert told[-1] == len(content)
    assert told == sorted(told)
    assert len(told) > 1


def test_a_range_is_read(storage: ObjectStorage) -> None:
    content = os.urandom(10_000_000)
    storage.put_bytes("media", content)
    for start, end in [(0, 1), (5, 105), (9_999_999, 10_000_000), (0, 10_000_000)]:
        assert asyncio.run(_read(storage, "media", start, end)) == content[start:end]


def test_what_is_written_piece_by_piece_appears_at_the_end(storage: ObjectStorage) -> None:
    blocks = [os.urandom(3_000_000) for _ in range(7)]

    async def write() -> None:
        async with storage.writer("uploads/a") as writer:
            for block in blocks:
                await writer.write(block)
                assert _keys(storage) == []

    asyncio.run(write())
    assert storage.get_bytes("uploads/a") == b"".join(blocks)


@pytest.mark.parametrize("blocks", [0, 1, 7], ids=["nothing", "little", "much"])
def test_what_is_broken_off_leaves_nothing(storage: ObjectStorage, blocks: int) -> None:
    content = [os.urandom(3_000_000) for _ in range(blocks)]
    with pytest.raises(ConnectionResetError):
        asyncio.run(_write_and_fail(storage, "uploads/a", content))
    assert _keys(storage) == []
    with pytest.raises(ObjectMissingError):
        storage.get_bytes("uploads/a")


def test_what_is_broken_off_leaves_no_file_behind(storage: ObjectStorage, storage_url: str) -> None:
    content = [os.urandom(3_000_000) for _ in range(7)]
    with pytest.raises(ConnectionResetError):
        asyncio.run(_write_and_fail(storage, "uploads/a", content))
    folder = Path(storage_url.removeprefix("file://"))
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_what_is_cancelled_leaves_nothing(storage: ObjectStorage) -> None:
    async def run() -> None:
        started = asyncio.Event()

        async def write() -> None:
            async with storage.writer("uploads/a") as writer:
                for _ in range(7):
                    await writer.write(os.urandom(3_000_000))
                started.set()
                await asyncio.sleep(60)

        writing = asyncio.create_task(write())
        await started.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    asyncio.run(run())
    assert _keys(storage) == []


def test_an_object_that_is_not_there_is_told_as_such(
    storage: ObjectStorage, tmp_path: Path
) -> None:
    reads: list[Callable[[], object]] = [
        lambda: storage.get_bytes("nothing"),
        lambda: storage.size("nothing"),
        lambda: list(storage.get_file("nothing", tmp_path / "copy")),
        lambda: asyncio.run(_read(storage, "nothing", 0, 1)),
    ]
    for read in reads:
        with pytest.raises(ObjectMissingError, match="nothing"):
            read()


def test_removing_what_is_not_there_is_no_error(storage: ObjectStorage) -> None:
    storage.delete("nothing")
    assert storage.delete_prefix("nothing/") == 0


def test_a_prefix_is_removed_with_all_below_and_nothing_beside(storage: ObjectStorage) -> None:
    for key in ("jobs/1/media", "jobs/1/parts/a/0", "jobs/12/media", "uploads/1"):
        storage.put_bytes(key, b"x")
    assert storage.delete_prefix(parts_prefix(1)) == 1
    assert storage.delete_prefix(job_prefix(1)) == 1
    assert _keys(storage) == ["jobs/12/media", "uploads/1"]


def test_two_who_remove_the_same_remove_all(storage: ObjectStorage, together: Together) -> None:
    for number in range(50):
        storage.put_bytes(f"jobs/1/parts/{number}", b"x")
    together([partial(storage.delete_prefix, job_prefix(1))] * 4)
    assert _keys(storage) == []


def test_objects_are_listed_with_size_and_age(storage: ObjectStorage) -> None:
    storage.put_bytes("uploads/a", b"12345")
    [found] = storage.list(upload_prefix())
    assert (found.key, found.size_bytes) == ("uploads/a", 5)
    assert -5 < found.age_s < 60


def test_no_key_leads_out_of_the_folder(storage: ObjectStorage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(ValueError, match="illegal"):
        storage.get_bytes("../secret")


def test_a_folder_with_odd_letters_in_its_name_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space % and 中文"
    url = folder.as_uri()
    ObjectStorage.from_settings(CoreSettings(storage_url=url)).put_bytes("a", b"x")
    assert (folder / "a").read_bytes() == b"x"


def test_what_was_stored_is_there_for_the_next_process(storage_url: str) -> None:
    settings = CoreSettings(storage_url=storage_url)
    ObjectStorage.from_settings(settings).put_bytes("a", b"x")
    assert ObjectStorage.from_settings(settings).get_bytes("a") == b"x"


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", ""])
def test_an_address_of_no_store_is_told_at_once(url: str) -> None:
    with pytest.raises(ObjectStoreError):
        ObjectStorage.from_settings(CoreSettings(storage_url=url))


def test_a_full_disk_is_told_as_such() -> None:
    def fill() -> None:
        with storage_module._failures("put a"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError):
        fill()


def test_the_age_of_an_object_grows(storage: ObjectStorage, storage_url: str) -> None:
    storage.put_bytes("a", b"x")
    old = time.time() - 3600
    os.utime(Path(storage_url.removeprefix("file://")) / "a", (old, old))
    [found] = storage.list("")
    assert 3500 < found.age_s < 3700
