"""An object store that fails, refuses, is slow or cut off: what is told, and what is not lost."""

import asyncio
import os
from http import HTTPStatus
from pathlib import Path

import pytest

from hearsight_core import storage as storage_module
from hearsight_core.errors import AccessDeniedError, DiskFullError, ObjectStoreError
from hearsight_core.storage import BLOCK_BYTES, PART_BYTES, ObjectStorage
from tests.chaos.places import Bucket, disk
from tests.chaos.store_proxy import Trouble

KEY = "jobs/1/media"


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_store_that_refuses_is_told_as_such(
    failing: Bucket, through: ObjectStorage, method: str
) -> None:
    failing.opened().put_bytes(KEY, b"content")
    with failing.proxy.giving(Trouble("answer", HTTPStatus.FORBIDDEN, method=method)):
        with pytest.raises(AccessDeniedError) as refused:
            through.put_bytes(KEY, b"x") if method == "PUT" else through.get_bytes(KEY)
        assert refused.value.code == "storage.denied"
        assert refused.value.retryable
    assert through.get_bytes(KEY) == b"content"


def test_a_read_that_is_cut_goes_on_where_it_was(
    failing: Bucket, through: ObjectStorage, tmp_path: Path
) -> None:
    content = os.urandom(2 * BLOCK_BYTES + 1)
    failing.opened().put_bytes(KEY, content)
    with failing.proxy.giving(Trouble("cut", method="GET"), times=2):
        assert sum(1 for _ in through.get_file(KEY, tmp_path / "copy")) == 3
    assert (tmp_path / "copy").read_bytes() == content
    assert failing.proxy.met > 0


def test_a_write_that_is_cut_is_no_object(failing: Bucket, through: ObjectStorage) -> None:
    with (
        failing.proxy.giving(Trouble("cut", method="PUT")),
        pytest.raises(ObjectStoreError),
    ):
        through.put_bytes("jobs/1/cut", os.urandom(PART_BYTES // 2))
    through.put_bytes("jobs/1/cut", b"whole")
    assert failing.opened().get_bytes("jobs/1/cut") == b"whole"


def test_a_large_object_may_take_longer_than_a_request(
    failing: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At this speed a block takes a good second, all of them longer than a request may."""
    content = os.urandom(3 * BLOCK_BYTES)
    failing.opened().put_bytes(KEY, content)
    monkeypatch.setitem(storage_module.CLIENT_OPTIONS, "timeout", "3s")
    monkeypatch.setitem(storage_module.RETRY_CONFIG, "max_retries", 0)
    impatient = failing.opened(through_proxy=True)

    async def read() -> bytes:
        return b"".join([b async for b in impatient.read_range(KEY, 0, len(content))])

    slow = Trouble("crawl", bytes_a_second=int(BLOCK_BYTES / 1.2), method="GET")
    with failing.proxy.giving(slow):
        assert list(impatient.get_file(KEY, tmp_path / "copy"))[-1] == len(content)
        assert asyncio.run(read()) == content
    assert (tmp_path / "copy").read_bytes() == content


def test_a_full_disk_is_told_as_such_and_written_to_once_there_is_room(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    with disk(tmp_path) as small:
        storage = small.opened()
        storage.put_bytes(KEY, b"before")
        small.fill()
        with pytest.raises(DiskFullError):
            storage.put_bytes("jobs/1/more", bytes(PART_BYTES))
        assert [found.key for found in storage.list("")] == [KEY]
        assert storage.get_bytes(KEY) == b"before"
        small.heal()
        storage.put_bytes("jobs/1/more", bytes(PART_BYTES))
        assert storage.size("jobs/1/more") == PART_BYTES
