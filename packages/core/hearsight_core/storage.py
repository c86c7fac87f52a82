"""Media and parts as objects, on whatever obstore speaks to: a folder, S3, GCS, Azure.

Keys: `uploads/{uuid}` for what people send, `jobs/{job_id}/...` for what workers make. Worker keys
carry task and attempt, so that two attempts never write the same object.
"""

import errno
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from hearsight_core.errors import AccessDeniedError, DiskFullError, ObjectStoreError
from hearsight_core.settings import CoreSettings, masked

if TYPE_CHECKING:
    from obstore import ObjectMeta  # not there at run time
    from obstore.store import RetryConfig  # as above

log = structlog.get_logger(__name__)

BLOCK_BYTES = 4 * 1024 * 1024
"""How much of an object is held in memory at a time; S3 asks for 5 MiB a part at least."""
PART_BYTES = 8 * 1024 * 1024

PAGE_OBJECTS = 1000
"""How many objects are listed at a time; S3 gives no more."""

_UNFINISHED = re.compile(r"#[0-9]+$")
"""How obstore calls the file in a folder that becomes an object when it is whole."""

CLIENT_OPTIONS = {"timeout": "60s", "connect_timeout": "5s"}
RETRY_CONFIG: "RetryConfig" = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}
"""A store that is away is told within half a minute: the task is tried again later anyway, and the
dispatcher must not stand still for minutes."""


def upload_prefix() -> str:
    """Where uploads lie."""
    return "uploads/"


def jobs_prefix() -> str:
    """Where everything lies that workers made."""
    return "jobs/"


def job_prefix(job_id: int) -> str:
    """Where everything lies that workers made for a job."""
    return f"{jobs_prefix()}{job_id}/"


def parts_prefix(job_id: int) -> str:
    """Where a job's parts lie; nobody needs them once the job is completed."""
    return f"{job_prefix(job_id)}parts/"


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or "No space left on device" in str(error):
            raise DiskFullError(detail=what) from error
        if isinstance(error, FileNotFoundError):
            raise ObjectMissingError(detail=what) from error
        denied = isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError)
        kind = AccessDeniedError if denied else ObjectStoreError
        raise kind(detail=f"{what}: {str(error).strip().partition(chr(10))[0]}") from error


@contextmanager
def _refusals(url: str) -> Iterator[None]:
    """What obstore says of a URL that it makes nothing of."""
    try:
        yield
    except ValueError as error:
        raise ObjectStoreError(detail=f"{masked(url)!r} is no URL of a store") from error


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The bytes from `start` up to `end` in pieces, each read by a request of its own.

    A request has a time within which its last byte must be there, however large the object is and
    however slowly somebody takes it.
    """
    for first in range(start, end, BLOCK_BYTES):
        yield first, min(end, first + BLOCK_BYTES)


def _whole(key: str, block: obstore.Bytes, length: int) -> bytes:
    """The block's bytes, if it is as long as it was asked to be."""
    content = bytes(block)
    if len(content) != length:
        raise ObjectStoreError(detail=f"get {key}: {len(content)} bytes came for {length}")
    return content


def _stat(found: "ObjectMeta") -> "Stat":
    modified = found["last_modified"]
    age = modified.now(modified.tzinfo) - modified
    return Stat(key=found["path"], size_bytes=found["size"], age_s=age.total_seconds())


class ObjectMissingError(ObjectStoreError):
    """The object is not there (any more)."""


@dataclass(frozen=True, kw_only=True)
class Stat:
    """What the store knows of an object."""

    key: str
    size_bytes: int
    age_s: float


class ObjectStorage:
    """The object store of this deployment."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self.folder = folder
        """Where the objects lie, if that is a folder of this machine."""

    @classmethod
    def from_settings(cls, settings: CoreSettings) -> "ObjectStorage":
        """Opens the store that `HEARSIGHT_STORAGE_URL` names; a folder is made if it is missing.

        Raises:
            ObjectStoreError: the URL or the credentials are of no use.
        """
        url = settings.storage_url
        with _failures(url), _refusals(url):
            if urlsplit(url).scheme == "file":
                folder = Path(unquote(urlsplit(url).path))
                folder.mkdir(parents=True, exist_ok=True)
                return cls(from_url(url), folder)
            config: dict[str, object] = {
                "endpoint": settings.storage_endpoint,
                "region": settings.storage_region,
                "access_key_id": settings.storage_access_key_id,
                "secret_access_key": settings.storage_secret_access_key,
            }
            given = {name: value for name, value in config.items() if value is not None}
            options: dict[str, object] = dict(CLIENT_OPTIONS)
            if (settings.storage_endpoint or "").startswith("http://"):
                options["allow_http"] = True
            return cls(
                from_url(  # type: ignore[call-overload]  # the options depend on the scheme
                    url, config=given or None, client_options=options, retry_config=RETRY_CONFIG
                )
            )

    def ping(self) -> None:
        """Asks the store for a sign of life.

        Raises:
            ObjectStoreError: none came, or it does not let us in.
        """
        with _failures("head ping"):
            if self.folder is not None and not os.access(self.folder, os.R_OK | os.W_OK):
                raise ObjectStoreError(detail=f"{self.folder} can't be written")
            try:
                obstore.head(self._store, "ping")
            except FileNotFoundError:
                return  # such an answer is all that was asked for

    def put_bytes(self, key: str, content: bytes) -> None:
        """Stores `content` under `key`, whole or not at all."""
        with _failures(f"put {key}"):
            obstore.put(self._store, key, content)

    def put_file(self, key: str, path: Path) -> None:
        """Stores a file under `key`, whole or not at all, a block in memory at a time."""
        with _failures(f"put {key}"):
            obstore.put(self._store, key, path, chunk_size=PART_BYTES, max_concurrency=2)

    def get_bytes(self, key: str) -> bytes:
        """Reads a whole object; meant for parts, which are a few megabytes."""
        with _failures(f"get {key}"):
            return bytes(obstore.get(self._store, key).bytes())

    def get_file(self, key: str, path: Path) -> Iterator[int]:
        """Copies an object to `path`, yielding the number of bytes written so far."""
        written = 0
        with _failures(f"get {key}"), path.open("wb") as file:
            for start, end in _blocks(0, self.size(key)):
                block = obstore.get_range(self._store, key, start=start, end=end)
                written += file.write(_whole(key, block, end - start))
                yield written

    def size(self, key: str) -> int:
        """Tells an object's size in bytes."""
        with _failures(f"head {key}"):
            return int(obstore.head(self._store, key)["size"])

    async def read_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to, not including, `end`."""
        with _failures(f"get {key}"):
            for first, last in _blocks(start, end):
                block = await obstore.get_range_async(self._store, key, start=first, end=last)
                yield _whole(key, block, last - first)

    def writer(self, key: str) -> "ObjectWriter":
        """Opens `key` for writing from an event loop; it appears when the writer is left well."""
        return ObjectWriter(self._store, key)

    def list(self, prefix: str) -> Iterator[Stat]:
        """Lists the objects under `prefix`."""
        for page in self.pages(prefix):
            yield from page

    def pages(self, prefix: str) -> Iterator[Sequence[Stat]]:
        """Lists the objects under `prefix` in pages, each asked for when it is wanted."""
        with _failures(f"list {prefix}"):
            for page in obstore.list(self._store, prefix=prefix, chunk_size=PAGE_OBJECTS):
                yield [_stat(found) for found in page]

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is no error."""
        with _failures(f"delete {key}"):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def delete_prefix(self, prefix: str) -> int:
        """Removes every object under `prefix`; returns how many there were."""
        keys = [found.key for found in self.list(prefix)]
        self.delete_all(keys)
        return len(keys)

    def delete_all(self, keys: Sequence[str]) -> None:
        """Removes these objects; one that is not there is no error."""
        if not keys:
            return
        with _failures(f"delete {keys[0]} and others"):
            try:
                obstore.delete(self._store, keys)  # S3 takes a thousand in one request
            except FileNotFoundError:
                # Somebody else is at the same; a folder stops at the first that is gone.
                for key in keys:
                    self.delete(key)

    def remove_unfinished(self, *, older_than_s: float) -> int:
        """Removes what killed processes left half-written in a folder; returns how many files.

        Other stores keep such parts where no listing shows them; they have rules that remove them
        (S3: AbortIncompleteMultipartUpload).
        """
        if self.folder is None:
            return 0
        removed = 0
        with _failures("remove unfinished objects"):
            for path in self.folder.rglob("*#*"):
                if not _UNFINISHED.search(path.name):
                    continue
                with suppress(FileNotFoundError):  # it was finished, or removed, a moment ago
                    if time.time() - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        removed += 1
        return removed


class ObjectWriter:
    """An object in the making: `async with storage.writer(key) as writer: await writer.write(...)`.

    Nothing appears under the key unless the block ends without an exception.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._writer = obstore.open_writer_async(
            store, key, buffer_size=PART_BYTES, max_concurrency=2
        )

    async def __aenter__(self) -> Self:
        await self._writer.__aenter__()
        return self

    async def write(self, content: bytes) -> None:
        """Adds `content`; waits while the store is slower than the sender."""
        with _failures(f"put {self._key}"):
            await self._writer.write(content)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with _failures(f"put {self._key}"):
                # Told of an error, it takes back what is sent already: S3 would keep it, and ask
                # money for it, without ever showing it.
                await self._writer.__aexit__(kind, error, traceback)
        except ObjectStoreError as failure:
            if error is None:
                raise
            log.warning("an unfinished object may have left parts", error=str(failure))
