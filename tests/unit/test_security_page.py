"""What docs/security.md says is shown by a test, is: the test is there."""

import re
from pathlib import Path

import pytest

PAGE = Path("docs/security.md")
NAMED = re.findall(r"`((?:[a-z]+/)?test_\w+\.py)`", PAGE.read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_a_test_that_is_named_is_there(name: str) -> None:
    places = (Path("tests") / name, Path("tests/integration/security") / name)
    named_with_others = (Path("tests/integration") / name,)
    assert any(place.is_file() for place in (*places, *named_with_others)), name


def test_every_attack_is_told_of() -> None:
    here = {path.name for path in Path("tests/integration/security").glob("test_*.py")}
    assert here <= {name.rpartition("/")[2] for name in NAMED}


def test_every_place_that_is_linked_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / link).exists(), link
