"""The object store on S3, under a prefix of a bucket that others use too."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # it comes with moto and ships no types
import pytest
from moto.server import ThreadedMotoServer

from hearsight.stack.ports import free_port
from hearsight_core.errors import ObjectStoreError
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import PART_BYTES, ObjectMissingError, ObjectStorage

BUCKET = "media"
KEY = "known-to-nobody"
"""The server under test asks for a key and takes any."""


Bucket = Any
"""boto3's client; its types are made at run time."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Bucket]:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    client.close()


def _storage(endpoint: str, url: str = f"s3://{BUCKET}/team/hearsight") -> ObjectStorage:
    return ObjectStorage.from_settings(
        CoreSettings(
            storage_url=url,
            storage_endpoint=endpoint,
            storage_region="us-east-1",
            storage_access_key_id=KEY,
            storage_secret_access_key=KEY,
        )
    )


@pytest.fixture
def storage(endpoint: str, bucket: Bucket) -> ObjectStorage:
    del bucket  # has to exist
    return _storage(endpoint)


def _in(bucket: Bucket) -> list[str]:
    return [found["Key"] for found in bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def _unfinished(bucket: Bucket) -> list[str]:
    return [
        found["Key"] for found in bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads") or []
    ]


def test_everything_lies_under_the_prefix(storage: ObjectStorage, bucket: Bucket) -> None:
    storage.put_bytes("jobs/1/a", b"content")
    assert _in(bucket) == ["team/hearsight/jobs/1/a"]
    assert storage.get_bytes("jobs/1/a") == b"content"
    assert storage.size("jobs/1/a") == 7
    assert [found.key for found in storage.list("jobs/1/")] == ["jobs/1/a"]


def test_a_bucket_can_be_used_without_a_prefix(endpoint: str, bucket: Bucket) -> None:
    _storage(endpoint, f"s3://{BUCKET}").put_bytes("a", b"x")
    assert _in(bucket) == ["a"]


def test_large_files_go_in_parts(storage: ObjectStorage, tmp_path: Path, bucket: Bucket) -> None:
    content = os.urandom(2 * PART_BYTES + 1)
    (tmp_path / "file").write_bytes(content)
    storage.put_file("jobs/1/media", tmp_path / "file")
    told = list(storage.get_file("jobs/1/media", tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content
    assert told[-1] == len(content)
    assert _unfinished(bucket) == []


def test_a_range_is_read(storage: ObjectStorage) -> None:
    content = os.urandom(100_000)
    storage.put_bytes("media", content)

    async def read(start: int, end: int) -> bytes:
        return b"".join([block async for block in storage.read_range("media", start, end)])

    for start, end in [(0, 1), (500, 99_999), (99_999, 100_000)]:
        assert asyncio.run(read(start, end)) == content[start:end]


@pytest.mark.parametrize("blocks", [1, 7], ids=["little", "much"])
def test_what_is_written_piece_by_piece_appears_at_the_end(
    storage: ObjectStorage, bucket: Bucket, blocks: int
) -> None:
    content = [os.urandom(3_000_000) for _ in range(blocks)]

    async def write() -> None:
        async with storage.writer("uploads/a") as writer:
            for block in content:
                await writer.write(block)
            assert _in(bucket) == []

    asyncio.run(write())
    assert storage.get_bytes("uploads/a") == b"".join(content)
    assert _unfinished(bucket) == []


@pytest.mark.parametrize("blocks", [1, 7], ids=["little", "much"])
def test_what_is_broken_off_leaves_nothing_that_costs_money(
    storage: ObjectStorage, bucket: Bucket, blocks: int
) -> None:
    async def write() -> None:
        async with storage.writer("uploads/a") as writer:
            for _ in range(blocks):
                await writer.write(os.urandom(3_000_000))
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(write())
    assert _in(bucket) == []
    assert _unfinished(bucket) == []


def test_a_prefix_is_removed_with_all_below_and_nothing_beside(
    storage: ObjectStorage, bucket: Bucket
) -> None:
    for key in (*(f"jobs/1/parts/{number}" for number in range(30)), "jobs/12/a", "uploads/1"):
        storage.put_bytes(key, b"x")
    assert storage.delete_prefix("jobs/1/") == 30
    assert sorted(_in(bucket)) == ["team/hearsight/jobs/12/a", "team/hearsight/uploads/1"]


def test_removing_what_is_not_there_is_no_error(storage: ObjectStorage) -> None:
    storage.delete("nothing")
    assert storage.delete_prefix("nothing/") == 0


def test_an_object_that_is_not_there_is_told_as_such(storage: ObjectStorage) -> None:
    with pytest.raises(ObjectMissingError):
        storage.get_bytes("nothing")


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_told(endpoint: str) -> None:
    with pytest.raises(ObjectStoreError):
        _storage(endpoint, "s3://no-such-bucket/x").put_bytes("a", b"x")


@pytest.mark.timeout(30)
def test_a_store_that_refuses_connections_is_told_within_seconds() -> None:
    away = _storage(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ObjectStoreError):
        away.put_bytes("a", b"x")
    with pytest.raises(ObjectStoreError):
        list(away.list(""))


@pytest.fixture
def cutting_endpoint() -> Iterator[str]:
    """A server that takes every connection and closes it at once."""
    ended = threading.Event()

    def cut(server: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=cut, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


@pytest.mark.timeout(60)
def test_a_store_that_cuts_every_connection_is_told_within_seconds(cutting_endpoint: str) -> None:
    with pytest.raises(ObjectStoreError):
        _storage(cutting_endpoint).get_bytes("a")


@pytest.fixture
def refusing_endpoint() -> Iterator[str]:
    """A server that knows nobody's key, as S3 says it."""
    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>"

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests need no access log."""

    with HTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.timeout(30)
def test_a_wrong_key_is_told_at_once(refusing_endpoint: str) -> None:
    with pytest.raises(ObjectStoreError, match=r"InvalidAccessKeyId|403|Forbidden|denied"):
        _storage(refusing_endpoint).get_bytes("a")
