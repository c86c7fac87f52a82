"""Every sentence stands in English and in Chinese, and both name the same values."""

import ast
from pathlib import Path
from string import Formatter

import pytest

from hearsight_core.contract import Stage
from hearsight_core.messages import _TEXTS, keys, render

ROOT = Path(__file__).parents[2]
KEYS = sorted(keys())


def placeholders(key: str) -> tuple[set[str], set[str]]:
    """The values that the English and the Chinese text of `key` name."""
    english, chinese = (
        {name for _, name, _, _ in Formatter().parse(text) if name} for text in _TEXTS[key]
    )
    return english, chinese


@pytest.mark.parametrize("key", KEYS)
def test_both_languages_name_the_same_values(key: str) -> None:
    english, chinese = placeholders(key)
    assert english == chinese


@pytest.mark.parametrize("key", KEYS)
def test_every_text_renders_with_its_values_in_it(key: str) -> None:
    values = {name: f"<{name}>" for name in placeholders(key)[0]}
    texts = render(key, "en", **values), render(key, "zh", **values)
    assert texts[0] != texts[1]
    for text in texts:
        assert text.strip() == text
        assert "{" not in text
        assert all(value in text for value in values.values())


@pytest.mark.parametrize("key", KEYS)
def test_english_is_written_in_ascii_and_chinese_in_chinese(key: str) -> None:
    english, chinese = _TEXTS[key]
    assert english.isascii()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)


@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.ERROR}))
def test_every_stage_can_be_told(stage: Stage) -> None:
    assert f"progress.{stage}" in keys()


def test_a_value_that_is_missing_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError):
        render("network.dns", "en")
    with pytest.raises(KeyError):
        render("no.such.key", "en")


def test_a_value_with_braces_is_put_in_as_it_is() -> None:
    assert "{host}" in render("network.dns", "en", host="{host}")


def test_whoever_renders_a_text_gives_what_it_names() -> None:
    for folder in ("packages", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                    continue
                key = node.args[0] if node.func.id == "render" and node.args else None
                if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                    continue
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert key.value in keys(), place
                given = {keyword.arg for keyword in node.keywords}
                assert None in given or placeholders(key.value)[0] <= given, place
