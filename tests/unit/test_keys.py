"""What a key looks like, what is kept of it, and who is let in without one."""

import re

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers

from hearsight_api.access import is_foreign
from hearsight_core.keys import digest_of, id_of, is_owner, is_token, new_token
from hearsight_core.settings import ApiSettings, MigrationSettings, is_loopback


def test_no_two_keys_are_alike_and_each_holds_256_bits() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    for token in tokens:
        assert re.fullmatch(r"hs_[A-Za-z0-9_-]{43}", token)
        assert is_token(token)


def test_a_key_is_named_by_what_can_not_be_turned_back() -> None:
    token = new_token()
    assert digest_of(token).startswith(id_of(digest_of(token)))
    assert token not in digest_of(token)


@pytest.mark.parametrize("text", ["", "hs_", "hs_short", "x" * 46, "hs_" + "a" * 201, "hs_a b" * 9])
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize("name", ["alice", "team-7", "a@example.org", "a", "0", "a.b_c"])
def test_a_plain_name_can_own_jobs(name: str) -> None:
    assert is_owner(name)


@pytest.mark.parametrize(
    "name",
    ["Alice", "a b", "", "-", "a" * 70, "\N{LATIN SMALL LETTER A WITH DIAERESIS}", "a\n", "a'"],
)
def test_any_other_name_can_not(name: str) -> None:
    assert not is_owner(name)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_an_api_that_this_machine_alone_can_reach_asks_for_no_keys(host: str) -> None:
    assert is_loopback(host)
    assert ApiSettings(host=host).keys == "loopback"
    assert ApiSettings(host=host, auth="on").keys == "on"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "api.example.org", "127.0.0.1.evil.example", ""]
)
def test_an_api_that_others_can_reach_asks_for_keys_unless_told_not_to(host: str) -> None:
    assert ApiSettings(host=host).keys == "on"
    assert ApiSettings(host=host, auth="off").keys == "off"


@pytest.mark.parametrize(
    ("host", "origin", "foreign"),
    [
        ("127.0.0.1:8000", None, False),
        ("localhost:8000", None, False),
        ("[::1]:8000", None, False),
        (None, None, False),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", False),
        ("127.0.0.1:8000", "http://127.0.0.1:9000", True),
        ("127.0.0.1:8000", "https://evil.example", True),
        ("127.0.0.1:8000", "null", True),
        ("evil.example", None, True),
        ("evil.example:8000", "http://evil.example:8000", True),
        ("127.0.0.1.evil.example", None, True),
        ("api.example.org", None, True),
        ("[", None, True),
        ("", None, True),
    ],
)
def test_an_api_without_keys_knows_what_was_not_meant_for_it(
    host: str | None, origin: str | None, *, foreign: bool
) -> None:
    sent = {"host": host, "origin": origin}
    assert is_foreign(Headers({k: v for k, v in sent.items() if v is not None})) is foreign


def test_a_weak_first_key_is_refused_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_BOOTSTRAP_API_KEY", "hs_weak-secret")
    with pytest.raises(ValidationError) as raised:
        MigrationSettings()
    assert "weak-secret" not in str(raised.value)
    assert "weak-secret" not in repr(raised.value)


def test_a_first_key_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_BOOTSTRAP_API_KEY", "")
    assert MigrationSettings().bootstrap_api_key is None
