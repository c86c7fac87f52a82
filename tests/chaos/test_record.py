"""The record of a long run counts what was done, and only that."""

from pathlib import Path

import pytest

from tests.chaos.record import Record, Round


def _made(kind: str, injections: int, *, number: int = 1, error: str = "", **own: str) -> Round:
    return Round(kind, number, 7, injections, 30, 60, error, **own)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """What was done in two sittings, with a failure between them."""
    record = Record(tmp_path / "of" / "rounds.jsonl")
    record.add(_made("disk is full", 2, number=7))
    record.add(_made("kill an API", 13))
    record.add(_made("kill an API", 5, error="a job was lost"))
    record.add(_made("kill an API", 12))
    record.add(_made("kill every worker", 13, commit="another"))
    return record


def test_a_run_goes_on_after_what_went_well_with_the_same_sources(record: Record) -> None:
    assert record.injected() == {"kill an API": 25, "disk is full": 2}


def test_a_run_that_has_no_file_yet_begins_at_the_beginning(tmp_path: Path) -> None:
    assert not Record(tmp_path / "rounds.jsonl").injected()


def test_the_report_tells_failures_and_counts_only_what_went_well(record: Record) -> None:
    assert list(record.table())[2:] == [
        "| 1 | kill an API | 25 | 2 | 60 | 1 |",
        "| 1 | kill every worker | 13 | 1 | 30 | 0 |",
        "| 7 | disk is full | 2 | 1 | 30 | 0 |",
    ]
