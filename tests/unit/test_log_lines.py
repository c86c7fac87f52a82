"""A line of the log is one line, whatever strangers sent, and gives a terminal no orders."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hearsight_core.settings import masked
from hearsight_core.telemetry import logs

FORGED = "/api/\n12:00:00 [info     ] all is well\x1b[2J\x9b31m\u202eabc\u2028\x85\x7f\r\0"
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, left as it was found."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)
    structlog.reset_defaults()


def written(root: logging.Logger, log_format: Literal["console", "json"]) -> list[str]:
    """The lines of three entries that hold what a stranger sent, each in another place."""
    logs.configure(log_format=log_format, level="INFO", colors=False)
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    out = handler.stream = io.StringIO()
    logging.getLogger("a.library").warning("it said %s", FORGED)
    structlog.get_logger("ours").info("request", path=FORGED, given=[FORGED])
    try:
        int(FORGED)
    except ValueError:
        structlog.get_logger("ours").exception("it failed")
    assert not UNSEEN.search(out.getvalue())
    return out.getvalue().removesuffix("\n").split("\n")


def test_an_entry_for_people_begins_where_we_say(root: logging.Logger) -> None:
    lines = written(root, "console")
    entries = [line for line in lines if re.match(r"\d\d:\d\d:\d\d \[", line)]
    assert [re.split(r"\W+", line)[3] for line in entries] == ["warning", "info", "error"]
    # What else there is, is indented: the traceback.
    assert all(line.startswith("  ") for line in lines if line not in entries)
    assert any("ValueError" in line for line in lines)


def test_an_entry_for_machines_is_one_line_and_keeps_all(root: logging.Logger) -> None:
    library, request, failure = map(json.loads, written(root, "json"))
    assert library["event"] == f"it said {FORGED}"
    assert request["path"] == FORGED
    assert request["given"] == [FORGED]
    assert "all is well" in failure["exception"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hush@host/d", "postgresql://u:***@host/d"),
        ("postgresql://u:hu/sh@host/d", "postgresql://u:***@host/d"),
        ("postgresql://u:hu?s#h@host/d", "postgresql://u:***@host/d"),
        (
            "postgresql://host/d?user=u&password=hush&x=1",
            "postgresql://host/d?user=u&password=***&x=1",
        ),
        ("redis://:hu@sh@host:1/0", "redis://:***@host:1/0"),
        ("redis://host/0?PASSWORD=hush", "redis://host/0?PASSWORD=***"),
        ("http://collector:4318/v1", "http://collector:4318/v1"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("file:///a:b/c@d", "file:///a:b/c@d"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_password_is_shown_whatever_it_holds(password: str) -> None:
    secret = f"\u00a7{password}\u00a7"
    assert "\u00a7" not in masked(f"postgresql://user:{secret}@host:5432/d")
