"""Nobody gets in without a key: the first one, those that are made, one that is revoked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.client import Client
from tests.cluster.documented import Shell, blocks
from tests.cluster.outside import Outside
from tests.cluster.recordings import recordings
from tests.cluster.release import Release, Values, bearer
from tests.cluster.waiting import eventually

KEY_ID = "KEY_ID"
"""How the page writes the id of a key that one has to look up."""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell.beside_the_chart(tmp_path_factory.mktemp("access"))


@contextmanager
def _client_of(release: Release, shell: Shell, owner: str) -> Iterator[Client]:
    """A client with a key that the documented command made."""
    _, create, *_ = blocks("API keys")
    made = shell.run(create.replace("create alice", f"create {owner}"), release)
    with release.client(made.strip()) as reaching:
        yield reaching


def _status(client: Client) -> int:
    return client.http.get("/api/jobs").status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs"),
        ("GET", "/api/progress/task/1/events"),
        ("POST", "/api/tasks/process"),
        ("POST", "/api/upload"),
        ("DELETE", "/api/jobs/1"),
    ],
)
@pytest.mark.parametrize("key", [None, "hs_" + "a" * 43])
def test_without_a_key_or_with_a_wrong_one_the_ingress_answers_401(
    release: Release, method: str, path: str, key: str | None
) -> None:
    with release.client(key) as nobody:
        answer = nobody.http.request(method, path)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == ("auth.invalid" if key else "auth.missing")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_neither_metrics_nor_probes_are_there_on_the_ingress(client: Client, path: str) -> None:
    assert client.http.get("/docs").status_code == httpx.codes.OK
    assert client.http.get(path).status_code == httpx.codes.NOT_FOUND


def test_the_first_key_is_read_as_documented(release: Release, shell: Shell) -> None:
    read, *_ = blocks("API keys")
    key = shell.run(f'{read}\necho "$KEY"', release).strip()
    with release.client(key) as admin:
        assert _status(admin) == httpx.codes.OK


def test_a_key_made_as_documented_opens_its_owners_jobs_alone(
    release: Release, client: Client, outside: Outside, shell: Shell
) -> None:
    with _client_of(release, shell, "alice") as alice, _client_of(release, shell, "bob") as bob:
        job_id = alice.submit(outside.media_url(recordings()[0].name), language="en")
        seen = [one.http.get(f"/api/jobs/{job_id}") for one in (alice, client, bob)]
        assert [answer.status_code for answer in seen] == [200, 200, 404]
        assert seen[0].json()["owner"] == "alice"
        assert alice.outcome(job_id)["status"] == "completed"


def test_a_key_revoked_as_documented_opens_nothing_any_more(release: Release, shell: Shell) -> None:
    _, _, listing, revoke, _ = blocks("API keys")
    with _client_of(release, shell, "carol") as carol:
        assert _status(carol) == httpx.codes.OK
        keys = [json.loads(line) for line in shell.run(listing, release).splitlines()]
        [key_id] = [key["id"] for key in keys if key["owner"] == "carol"]
        shell.run(revoke.replace(KEY_ID, key_id), release)
        eventually("the key is refused", lambda: _status(carol) == httpx.codes.UNAUTHORIZED)


def test_an_upgrade_keeps_the_first_key(
    release: Release, client: Client, values: list[Values]
) -> None:
    before = release.first_key()
    release.install(*values)
    assert release.first_key() == before
    assert _status(client) == httpx.codes.OK


def test_the_first_key_is_changed_as_documented(
    release: Release, client: Client, values: list[Values], shell: Shell
) -> None:
    *_, rotate = blocks("API keys")
    shell.write_values(release, *values)
    before = release.first_key()
    with release.client(before) as old:
        shell.run(rotate, release)
        assert release.first_key() != before
        client.http.headers.update(bearer(release.first_key()))
        eventually("the new key is taken", lambda: _status(client) == httpx.codes.OK)
        eventually("the old key is refused", lambda: _status(old) == httpx.codes.UNAUTHORIZED)
