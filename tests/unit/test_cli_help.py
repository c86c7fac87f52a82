"""The command explains itself."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from hearsight.failures import Exit
from hearsight.main import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]  # a group, typed a command


def plain_help(*arguments: str) -> str:
    outcome = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "100"})
    assert outcome.exit_code == 0
    return outcome.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str) -> None:
    assert re.search(rf"Example: .*hearsight {command}\b", plain_help(command))


def test_the_help_names_every_exit_code() -> None:
    text = plain_help()
    for code in Exit:
        assert re.search(rf"\b{code.value} {{2}}\S", text), code


def test_every_command_is_listed_once() -> None:
    text = plain_help()
    for command in COMMANDS:
        assert len(re.findall(rf"│ {command} ", text)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "no-such-file.mp3"],
        ["submit", "ftp://example.org/a.mp3"],
        ["submit", "--job-id", "5", "http://a.example/", "http://b.example/"],
        ["watch", "seven"],
        ["watch", "0"],
        ["delete", "5"],
        ["--json", "transcript", "5", "--format", "srt"],
        ["no-such-command"],
    ],
)
def test_what_can_not_be_understood_is_refused_before_anything_is_sent(
    arguments: list[str],
) -> None:
    outcome = CliRunner().invoke(app, arguments)
    code = getattr(outcome.exception, "exit", outcome.exit_code)
    assert code == Exit.USAGE
