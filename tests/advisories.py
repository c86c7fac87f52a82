"""Known advisories about the pinned dependencies: `python -m tests.advisories`, `make audit`.

Asks OSV (https://osv.dev), which gathers the advisories of PyPI and GitHub, about every name and
version in `requirements/*.lock`. Ends with 1 if there is one that `requirements/advisories.txt`
does not name, with 0 if there is none; and with 0 and a clear word if OSV can't be reached, or with
2 if it is `--required`.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx

OSV: Final = "https://api.osv.dev"
LOCKS: Final = Path("requirements")
KNOWN: Final = "advisories.txt"

_BATCH: Final = 500
"""Packages asked for at a time; OSV takes a thousand."""

_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_TIMEOUT_S: Final = 30.0

Pin = tuple[str, str]


class NotReachedError(Exception):
    """OSV gave no answer, or none that makes sense."""


def pins(folder: Path) -> list[Pin]:
    """Every name and version in the lock files, each once."""
    found = {pin for lock in folder.glob("*.lock") for pin in _PIN.findall(lock.read_text("utf-8"))}
    return sorted(found)


def known(folder: Path) -> dict[str, str]:
    """The advisories that were looked at and do not matter here: id -> why."""
    path = folder / KNOWN
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    pairs = (line.split(maxsplit=1) for line in lines if line.strip() and line[0] != "#")
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def advisories(url: str, asked: list[Pin]) -> dict[Pin, set[str]]:
    """The ids of the advisories about each of these packages.

    Raises:
        NotReachedError: OSV can't be asked.
    """
    found: dict[Pin, set[str]] = defaultdict(set)
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as http:
        for start in range(0, len(asked), _BATCH):
            for pin, ids in _batch(http, asked[start : start + _BATCH]):
                found[pin] |= ids
    return found


def _batch(http: httpx.Client, asked: list[Pin]) -> Iterator[tuple[Pin, set[str]]]:
    left = [(pin, _query(pin)) for pin in asked]
    while left:
        results = _results(http, [query for _, query in left])
        if len(results) != len(left):
            raise NotReachedError(f"asked about {len(left)} packages, told of {len(results)}")
        again = []
        for (pin, query), result in zip(left, results, strict=True):
            ids = {advisory["id"] for advisory in result.get("vulns", ())}
            if ids:
                yield pin, ids
            if token := result.get("next_page_token"):
                again.append((pin, {**query, "page_token": token}))
        left = again


def _query(pin: Pin) -> dict[str, Any]:
    return {"package": {"name": pin[0], "ecosystem": "PyPI"}, "version": pin[1]}


def _results(http: httpx.Client, queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        answer = http.post("/v1/querybatch", json={"queries": queries}).raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise NotReachedError(f"{type(error).__name__}: {error}") from error
    return results


def report(found: dict[Pin, set[str]], accepted: dict[str, str]) -> Iterable[str]:
    """A line for each advisory, those that were accepted with the reason."""
    for (name, version), ids in sorted(found.items()):
        for one in sorted(ids):
            why = f" (accepted: {accepted[one]})" if one in accepted else ""
            yield f"{name} {version}: {one} https://osv.dev/{one}{why}"


def main() -> int:
    """Asks and tells; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.advisories", description=__doc__)
    parser.add_argument("--url", default=OSV, help="where OSV is")
    parser.add_argument("--locks", type=Path, default=LOCKS, help="the folder of the lock files")
    parser.add_argument("--required", action="store_true", help="fail if OSV can't be reached")
    chosen = parser.parse_args()
    asked, accepted = pins(chosen.locks), known(chosen.locks)
    try:
        found = advisories(chosen.url, asked)
    except NotReachedError as error:
        sys.stdout.write(f"NOT CHECKED for advisories: {chosen.url} can't be asked ({error})\n")
        return 2 if chosen.required else 0
    for line in report(found, accepted):
        sys.stdout.write(f"{line}\n")
    bad = {one for ids in found.values() for one in ids} - accepted.keys()
    sys.stdout.write(f"{len(asked)} pinned packages, {len(bad)} advisories to look at\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
