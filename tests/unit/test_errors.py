"""Every error has a stable code and texts in both languages, and stands in tree and docs."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearsight_core import errors
from hearsight_core.errors import (
    DnsError,
    HearSightError,
    Interruption,
    InvalidRequestError,
    LeaseLost,
)
from hearsight_core.messages import keys, render
from tests.unit.test_messages import placeholders

ROOT = Path(__file__).parents[2]
CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, HearSightError) and found.__module__ == errors.__name__
]
LEAVES = [found for found in CLASSES if not found.__subclasses__() or "code" in vars(found)]
BY_NAME = {found.__name__: found for found in CLASSES}

_BRANCH = re.compile(r"^    ((?:│   |    )*)(?:├── |└── )(\w+)\s*(.*)$")


def _tree() -> Iterator[tuple[str, str, str]]:
    """The docstring's lines: (class, class above it, what stands behind it)."""
    above = ["HearSightError"]
    for line in (errors.__doc__ or "").splitlines():
        if branch := _BRANCH.match(line):
            indent, name, rest = branch.groups()
            depth = len(indent) // 4 + 1
            del above[depth:]
            yield name, above[-1], rest
            above.append(name)


def test_the_tree_shows_every_class_below_its_parent() -> None:
    drawn = {name: parent for name, parent, _ in _tree()}
    defined = {
        found.__name__: found.__bases__[0].__name__
        for found in CLASSES
        if found is not HearSightError
    }
    assert drawn == defined


def test_the_tree_tells_code_and_retryable_as_the_classes_do() -> None:
    for name, _, rest in _tree():
        found = BY_NAME[name]
        if "." in rest:
            code, _, retryable = rest.partition(" ")
            assert (name, code, retryable.strip() == "retryable") == (
                name,
                found.code,
                found.retryable,
            )
        elif not issubclass(found, Interruption):
            assert "code" not in vars(found) or found.__subclasses__(), name


def test_no_two_errors_share_a_code() -> None:
    own = [found.code for found in CLASSES if not found.__subclasses__()]
    assert len(own) == len(set(own))


@pytest.mark.parametrize("found", LEAVES, ids=lambda found: found.__name__)
def test_every_error_speaks_english_and_chinese(found: type[HearSightError]) -> None:
    assert found.code in keys()
    names, names_zh = placeholders(found.code)
    assert names == names_zh
    error = found(**{name: f"<{name}>" for name in names}, detail="the library said so")
    for language in ("en", "zh"):
        text = error.text(language)
        assert text.endswith("(the library said so)")
        assert all(f"<{name}>" in text for name in names)


def _raised() -> Iterator[tuple[str, type[HearSightError], set[str | None]]]:
    """Wherever an error is made: (place, class, names of the values given)."""
    for folder in ("packages", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
            ours = {
                alias.asname or alias.name: BY_NAME[alias.name]
                for node in nodes
                if isinstance(node, ast.ImportFrom) and node.module == errors.__name__
                for alias in node.names
            }
            for node in nodes:
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ours
                ):
                    given = {keyword.arg for keyword in node.keywords}
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ours[node.func.id], given


def test_whoever_makes_an_error_gives_what_its_text_names() -> None:
    made = [*_raised()]
    assert len(made) > 20
    for place, found, given in made:
        if None not in given:  # else the values come in a dict
            assert placeholders(found.code)[0] <= given, place


def test_an_error_reads_as_its_english_text_in_a_log() -> None:
    assert str(DnsError(host="example.org")) == DnsError(host="example.org").text("en")
    assert "example.org" in str(DnsError(host="example.org"))


def test_a_request_error_names_its_field() -> None:
    assert InvalidRequestError(field="url").field == "url"
    assert InvalidRequestError().field is None


def test_an_interruption_is_never_tried_again_as_a_failure() -> None:
    for found in CLASSES:
        if issubclass(found, Interruption):
            assert not found.retryable
    assert issubclass(LeaseLost, Interruption)


def test_the_documentation_lists_every_answer_of_the_protocol() -> None:
    documented = re.findall(
        r"^\| `(http\.[a-z_]+)` \| (.+?) \| (.+?) \|$",
        (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    told = [key for key in sorted(keys()) if key.startswith("http.")]
    assert sorted(documented) == [(key, render(key, "en"), render(key, "zh")) for key in told]


def test_the_documentation_lists_every_error_as_the_code_has_it() -> None:
    documented = {
        match["code"]: (match["retried"] == "yes", match["en"], match["zh"])
        for match in re.finditer(
            r"^\| `(?P<code>[a-z_.0-9]+)` \| (?P<retried>yes|no) \| (?P<en>.+?) \| (?P<zh>.+?) \|$",
            (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    told = {
        found.code: (
            found.retryable,
            *(
                found(**{name: f"`{name}`" for name in placeholders(found.code)[0]}).text(language)
                for language in ("en", "zh")
            ),
        )
        for found in CLASSES
        if not issubclass(found, Interruption) and (found.code in keys())
    }
    assert documented == told
