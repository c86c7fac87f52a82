"""What `hearsight doctor` looks at: one function a thing, each telling what it found."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import redis

from hearsight.finding import Finding
from hearsight.stack.home import State
from hearsight.surroundings import Surroundings
from hearsight.times import size
from hearsight_core.contract import progress_key
from hearsight_core.errors import HearSightError
from hearsight_core.settings import CoreSettings, masked
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import health, migrate
from hearsight_core.store.database import Database

ROOM_BYTES = 2 * 1024**3
"""Less room than this is soon used up by one long video."""
CHECK_TIMEOUT_S = 120
"""Loading a large model takes its time."""


def everything(where: Surroundings) -> Iterator[Finding]:
    """All checks, one after the other, on what `where` names."""
    settings, environment = where.stores.value, where.environment()
    yield database(settings)
    yield redis_db(settings.broker_url, "HEARSIGHT_BROKER_URL")
    yield redis_db(settings.redis_url, "HEARSIGHT_REDIS_URL")
    yield storage(settings)
    yield from room(settings, environment)
    yield download_tools(environment)
    yield model(environment)
    yield from api(where.url.value, where.api_key)
    if where.running:
        yield from probes(where.running)


def database(settings: CoreSettings) -> Finding:
    """PostgreSQL answers, and its tables are those of this version."""
    url = settings.database_url
    name = f"PostgreSQL {masked(url)}"
    try:
        revision = migrate.current(url)
        version = _version(url)
    except HearSightError as error:
        return Finding(
            name, ok=False, detail=str(error), advice=_start_or_name("HEARSIGHT_DATABASE_URL")
        )
    return Finding(
        name,
        ok=not migrate.is_behind(revision),
        detail=f"version {version}, {migrate.standing(revision)}",
        advice="Bring the tables up to date with: hearsight migrate",
    )


def _version(url: str) -> str:
    connections = Database(url, pool_size=1, application="hearsight-doctor")
    try:
        return health.server_version(connections)
    finally:
        connections.close()


def redis_db(url: str, variable: str) -> Finding:
    """A Redis database takes a key of our own, gives it back, lets it expire, deletes it."""
    name = f"Redis {masked(url)}"
    key = f"hearsight:doctor:{secrets.token_hex(8)}"
    try:
        with _redis(url) as client:
            client.set(key, "well", ex=60)
            found, expires_s = client.get(key), client.ttl(key)
            deleted = client.delete(key)
            server = client.info("server")
            version = server.get("valkey_version") or server.get("redis_version")
    except (redis.RedisError, ValueError) as error:
        return Finding(name, ok=False, detail=str(error), advice=_start_or_name(variable))
    return Finding(
        name,
        ok=found == "well" and 0 < int(expires_s) <= 60 and deleted == 1,  # noqa: PLR2004  as set
        detail=f"version {version}: write, read, expiry, delete",
        advice="It does not keep what is written. Look for another program that uses it.",
    )


def progress_keys(settings: CoreSettings) -> list[str] | None:
    """Every `task_progress:*` key, in the order of the jobs; None: Redis can't be asked."""
    prefix = progress_key(0).removesuffix("0")
    try:
        with _redis(settings.redis_url) as client:
            found = [str(key) for key in client.scan_iter(match=f"{prefix}*", count=500)]
    except (redis.RedisError, ValueError):
        return None
    return sorted(found, key=lambda key: (len(key), key))


def _redis(url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        url, socket_timeout=5, socket_connect_timeout=5, decode_responses=True
    )


def storage(settings: CoreSettings) -> Finding:
    """The object store takes an object of our own, gives back all of it and a range, deletes it."""
    name = f"Storage {masked(settings.storage_url)}"
    key = f"doctor/{secrets.token_hex(8)}"
    try:
        store = ObjectStorage.from_settings(settings)
        store.put_bytes(key, b"all is well")
        whole = store.get_bytes(key)
        part = asyncio.run(_range(store, key, 4, 6))
        store.delete(key)
    except HearSightError as error:
        return Finding(
            name,
            ok=False,
            detail=str(error),
            advice="Check HEARSIGHT_STORAGE_URL, the rights on the folder or bucket, and the keys"
            " in HEARSIGHT_STORAGE_ACCESS_KEY_ID and _SECRET_ACCESS_KEY.",
        )
    return Finding(
        name,
        ok=(whole, part) == (b"all is well", b"is"),
        detail="put, get, range, delete",
        advice="The store gives back something else than was put. Do not use it.",
    )


async def _range(store: ObjectStorage, key: str, start: int, end: int) -> bytes:
    return b"".join([block async for block in store.read_range(key, start, end)])


def room(settings: CoreSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """There is room where media are kept and where files in work lie."""
    places = {"scratch": Path(environment.get("HEARSIGHT_SCRATCH_DIR") or tempfile.gettempdir())}
    if urlsplit(settings.storage_url).scheme == "file":
        places["storage"] = Path(unquote(urlsplit(settings.storage_url).path))
    for what, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        yield Finding(
            f"Disk, {what} {place}",
            ok=free >= ROOM_BYTES and os.access(there, os.W_OK),
            detail=f"{size(free)} free",
            advice=f"Free some space, at least {size(ROOM_BYTES)}, or move it to another disk.",
        )


def download_tools(environment: Mapping[str, str]) -> Finding:
    """yt-dlp, its JavaScript runtime and the decoder are there."""
    return _child(
        "Download tools",
        "hearsight_download_worker",
        environment,
        "Install the download worker anew: make clean, then make up.",
    )


def model(environment: Mapping[str, str]) -> Finding:
    """The model can be found and loaded on the device."""
    return _child(
        "Model",
        "hearsight_asr_worker",
        environment,
        "Check HEARSIGHT_MODEL, HEARSIGHT_MODEL_DIR and HEARSIGHT_DEVICE.",
    )


def _child(name: str, module: str, environment: Mapping[str, str], advice: str) -> Finding:
    """Asks a worker, by its `--check`, what it has; its answer is one line of JSON."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, "--check"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, ok=False, detail=f"no answer in {CHECK_TIMEOUT_S} s", advice=advice)
    lines = done.stdout.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        told = {}
    if done.returncode == 0:
        return Finding(name, ok=True, detail=", ".join(f"{k} {v}" for k, v in told.items() if v))
    last_words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    detail = str(told.get("error") or "".join(last_words) or f"exit code {done.returncode}")
    return Finding(name, ok=False, detail=detail, advice=advice)


def api(url: str, api_key: str | None) -> Iterator[Finding]:
    """The API answers and is ready, lets nobody in who should stay out, and this command in."""
    ready = _ready(f"API {url}", f"{url}/readyz", "Start it with: hearsight up")
    yield ready
    if not ready.ok:
        return
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        keys = httpx.get(f"{url}/readyz", timeout=5, trust_env=False).json().get("keys")
        answer = httpx.get(f"{url}/api/jobs?limit=1", headers=headers, timeout=5, trust_env=False)
    except (httpx.HTTPError, ValueError) as error:
        yield Finding("API keys", ok=False, detail=str(error), advice="See the log of the API.")
        return
    if keys == "off":
        yield Finding(
            "API keys",
            ok=False,
            detail="off: whoever reaches the API may read and delete every job",
            advice="Set HEARSIGHT_AUTH=on, or bind it to a loopback address.",
        )
        return
    yield Finding(
        "API keys",
        ok=answer.is_success,
        detail=f"{keys}; HTTP {answer.status_code}",
        advice="Put a key with the scope read into HEARSIGHT_API_KEY; hearsight keys create makes"
        " one.",
    )


def probes(stack: State) -> Iterator[Finding]:
    """The processes of the local stack answer on the ports of their probes and are ready."""
    for name, shown in (
        ("api metrics", "API metrics"),
        ("download", "Worker download"),
        ("asr", "Worker asr"),
    ):
        yield _ready(
            shown,
            f"http://127.0.0.1:{stack.ports.get(name, 0)}/readyz",
            "Look at its lines where `hearsight up` runs.",
        )


def _ready(name: str, url: str, advice: str) -> Finding:
    try:
        response = httpx.get(url, timeout=5, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(name, ok=False, detail=str(error) or type(error).__name__, advice=advice)
    detail = "ready" if response.is_success else f"HTTP {response.status_code}: {response.text}"
    return Finding(name, ok=response.is_success, detail=detail, advice=advice)


def _start_or_name(variable: str) -> str:
    return f"Start the local stack with: hearsight up. For another one, check {variable}."
