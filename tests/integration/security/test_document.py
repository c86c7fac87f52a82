"""Whatever is asked of the API, it keeps to its document, and never fails by itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearsight_core.keys import Scope
from tests.integration.security.conftest import ON
from tests.servers import api, keyed
from tests.servers.api import Api, Served
from tests.servers.forms import field, file, send, wav
from tests.store import rows

EXAMPLES = int(os.environ.get("HEARSIGHT_TEST_EXAMPLES", "0"))
"""Cases for each operation, on top of those that cover its parameters; 0: a few, always alike."""

CONFIG = """
max-stream-events = 1
request-timeout = 60

[dictionaries.addresses]
values = ["https://example.org/talk.mp4", "http://a.example:81/b?c=d", "http://127.0.0.1/", "x"]

[parameters]
"body.url" = {dictionary = "addresses", probability = 0.7}

# No schema can say which words are an address, a file a recording, and a cursor one of ours.
[[operations]]
include-path = "/api/tasks/process"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "409", "422"]
[[operations]]
include-path = "/api/upload"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "409", "415", "422"]
[[operations]]
include-path = "/api/jobs"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "422"]
"""


@pytest.fixture(scope="module")
def asked(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that asks for keys and lets each send as much as it likes.

    It begins without jobs: an administrator would be asked of whatever other tests have left.
    """
    rows(served.database, "DELETE FROM jobs RETURNING id")
    unlimited = {"HEARSIGHT_QUOTA_REQUESTS_PER_MINUTE": "0", "HEARSIGHT_QUOTA_QUEUED_JOBS": "0"}
    log = tmp_path_factory.mktemp("asked") / "api.log"
    with api.running(log, {**served.env, **ON, **unlimited}) as server:
        yield server


@pytest.mark.parametrize("who", ["nobody", "alice", "root"])
@pytest.mark.timeout(3600)
def test_every_answer_is_as_the_document_says(
    asked: Api, served: Served, tmp_path: Path, who: str
) -> None:
    scopes = {"alice": (Scope.SUBMIT, Scope.READ), "root": (Scope.ADMIN,)}
    token = keyed.made(served.database, who, *scopes[who]) if who in scopes else None
    if token is not None:
        with keyed.client(asked, token) as http:
            # So that somebody's recording is there to be asked for, under the lowest number.
            assert send(http, field("job_id", "1"), file(wav())).status_code in {200, 202, 409}
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    varied = "--generation-database=none" if EXAMPLES else "--generation-deterministic"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{asked.url}/openapi.json"),
            *("--checks", "all", "--continue-on-failure", "--no-color", "--warnings", "off"),
            *("--max-examples", str(EXAMPLES or 6), varied),
            *(("-H", f"Authorization: Bearer {token}") if token else ()),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-4000:]
    followed = re.search(r"API Links: *(\d+) covered", run.stdout)
    assert followed is not None
    assert (int(followed[1]) > 0) == (token is not None), run.stdout
