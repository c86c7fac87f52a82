"""Settings come from the environment, are never changed afterwards, and stand in the docs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from hearsight_core.settings import (
    ApiSettings,
    AsrSettings,
    CoreSettings,
    DownloadSettings,
    MigrationSettings,
    StackSettings,
    WorkerSettings,
    masked,
)

ROOT = Path(__file__).parents[2]

SECTIONS: dict[str, type[BaseSettings]] = {
    "Every service": CoreSettings,
    "Migration": MigrationSettings,
    "API": ApiSettings,
    "Both workers": WorkerSettings,
    "Download worker": DownloadSettings,
    "ASR worker": AsrSettings,
    "The command and the local stack": StackSettings,
}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in SECTIONS.values():
        for name, _ in _own(settings):
            monkeypatch.delenv(name, raising=False)


def _own(settings: type[BaseSettings]) -> Iterator[tuple[str, FieldInfo]]:
    """The settings that a class has and its parent has not: (environment variable, field)."""
    inherited = settings.__mro__[1]
    above = inherited.model_fields if issubclass(inherited, BaseSettings) else {}
    for name, field in settings.model_fields.items():
        if name not in above:
            yield str(field.validation_alias or f"HEARSIGHT_{name.upper()}"), field


def _shown(default: object) -> str:
    match default:
        case None | ():
            return "unset"
        case tuple():
            return f"`{','.join(default)}`"
        case float() if default.is_integer():
            return f"`{int(default)}`"
        case _:
            return f"`{default}`"


def _documented() -> dict[str, list[tuple[str, str, str]]]:
    sections: dict[str, list[tuple[str, str, str]]] = {}
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        found = re.findall(r"^\| `([A-Z_0-9]+)` \| (.+?) \| (.+?) \|$", body, re.MULTILINE)
        if found:
            sections[title] = found
    return sections


def test_the_documentation_lists_every_setting_with_default_and_meaning() -> None:
    told = {
        title: [
            (name, _shown(field.get_default(call_default_factory=True)), field.description)
            for name, field in _own(settings)
        ]
        for title, settings in SECTIONS.items()
    }
    assert _documented() == told


def test_every_setting_is_called_hearsight_or_celery() -> None:
    for settings in SECTIONS.values():
        for name, _ in _own(settings):
            assert re.fullmatch(r"HEARSIGHT_[A-Z_]+|CELERY_[A-Z_]+", name)


def test_what_two_processes_share_means_the_same_in_both() -> None:
    meanings: dict[str, set[str | None]] = {}
    for settings in SECTIONS.values():
        for name, field in _own(settings):
            meanings.setdefault(name, set()).add(field.description)
    assert {name: told for name, told in meanings.items() if len(told) > 1} == {}


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_LEASE_S", "12.5")
    monkeypatch.setenv("HEARSIGHT_LANGUAGE", "zh")
    settings = CoreSettings()
    assert (settings.lease_s, settings.language) == (12.5, "zh")


def test_celery_s_own_variables_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_WORKER_CONCURRENCY", "7")
    monkeypatch.setenv("CELERY_LOG_LEVEL", "debug")
    for kind in (DownloadSettings, AsrSettings):
        settings = kind()
        assert (settings.worker_concurrency, settings.celery_log_level) == (7, "DEBUG")


@pytest.mark.parametrize("kind", [ApiSettings, DownloadSettings])
def test_allowed_hosts_are_a_list_in_one_variable(
    kind: type[ApiSettings | DownloadSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARSIGHT_DOWNLOAD_ALLOW_HOSTS", " Media.local, 10.0.0.5:8080,,")
    assert kind().allow_hosts == ("media.local", "10.0.0.5:8080")


def test_pools_are_a_list_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_ASR_POOLS", "large, default")
    assert ApiSettings().asr_pools == ("large", "default")


@pytest.mark.parametrize("pools", ["", ",", "big_one", "a,-b"])
def test_a_list_of_pools_that_can_not_be_is_refused(
    pools: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARSIGHT_ASR_POOLS", pools)
    with pytest.raises(ValidationError, match="asr_pools"):
        ApiSettings()


def test_settings_do_not_show_the_reader_s_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_DATABASE_READER_PASSWORD", "swordfish")
    assert "swordfish" not in repr(MigrationSettings())


def test_settings_can_not_be_changed() -> None:
    settings = CoreSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.lease_s = 1  # type: ignore[misc]  # that this is refused is the point


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARSIGHT_LEASE_S", "0"),
        ("HEARSIGHT_MAX_FAILURES", "0"),
        ("HEARSIGHT_LANGUAGE", "de"),
        ("HEARSIGHT_DATABASE_POOL_SIZE", "1"),
        ("HEARSIGHT_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_out_of_range_is_refused_and_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("HEARSIGHT_").lower()):
        CoreSettings()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("redis://:secret@cache:6379/1", "redis://:***@cache:6379/1"),
        ("redis://cache:6379/1", "redis://cache:6379/1"),
        ("postgresql://me:s%40cret@[::1]:5432/x", "postgresql://me:***@[::1]:5432/x"),
        ("file:///var/lib/media", "file:///var/lib/media"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
