"""A pinned package with a known advisory does not pass, and silence is not taken for a pass."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.advisories import pins

LOCK = """
anyio==4.11.0 \\
    --hash=sha256:00
    # via httpx
lxml==4.6.2 ; python_version >= "3.11" \\
    --hash=sha256:00
# requests==1.0.0 is only named here
"""


class Advisories:
    """OSV as far as it is asked here, with advisories of the test's own."""

    def __init__(self) -> None:
        self.told: dict[str, list[list[str]]] = {}
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked += body["queries"]
                answer = {"results": [outer.result(query) for query in body["queries"]]}
                content = json.dumps(answer).encode()
                self.send_response(200 if self.path == "/v1/querybatch" else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """What was asked is kept."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def result(self, query: dict[str, Any]) -> dict[str, Any]:
        """One page of what is known of a package."""
        pages = self.told.get(query["package"]["name"], [])
        number = int(query.get("page_token", "0"))
        if number >= len(pages):
            return {}
        more = {"next_page_token": str(number + 1)} if number + 1 < len(pages) else {}
        return {"vulns": [{"id": one} for one in pages[number]], **more}


@pytest.fixture
def osv() -> Iterator[Advisories]:
    one = Advisories()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    (tmp_path / "one.lock").write_text(LOCK)
    (tmp_path / "two.lock").write_text(LOCK)
    return tmp_path


def audit(locks: Path, url: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.advisories", "--locks", str(locks), "--url", url]
    ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_every_pinned_package_is_asked_about_once(osv: Advisories, locks: Path) -> None:
    code, said = audit(locks, osv.url)
    assert code == 0, said
    assert [(query["package"]["name"], query["version"]) for query in osv.asked] == [
        ("anyio", "4.11.0"),
        ("lxml", "4.6.2"),
    ]
    assert {query["package"]["ecosystem"] for query in osv.asked} == {"PyPI"}


def test_an_advisory_does_not_pass_and_is_named(osv: Advisories, locks: Path) -> None:
    osv.told["lxml"] = [["PYSEC-1"], ["GHSA-2"]]  # on two pages
    code, said = audit(locks, osv.url)
    assert code == 1
    assert "lxml 4.6.2: PYSEC-1" in said
    assert "lxml 4.6.2: GHSA-2" in said


def test_an_advisory_that_was_looked_at_passes_with_its_reason(
    osv: Advisories, locks: Path
) -> None:
    osv.told["lxml"] = [["PYSEC-1"]]
    (locks / "advisories.txt").write_text("# why\nPYSEC-1 only its XSLT, which is not used\n")
    code, said = audit(locks, osv.url)
    assert code == 0
    assert "only its XSLT" in said


def test_silence_is_told_and_where_it_is_required_no_pass(locks: Path) -> None:
    code, said = audit(locks, "http://127.0.0.1:1")
    assert code == 0
    assert "NOT CHECKED" in said
    code, said = audit(locks, "http://127.0.0.1:1", "--required")
    assert code == 2
    assert "NOT CHECKED" in said


def test_the_lock_files_of_this_project_are_understood() -> None:
    found = dict(pins(Path("requirements")))
    assert len(found) > 100
    assert {"fastapi", "yt-dlp", "av", "sqlalchemy", "cryptography"} <= found.keys()
