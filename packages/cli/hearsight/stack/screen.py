"""The foreground of the stack: each program's lines with its name before them."""

from typing import Protocol

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

STACK = "stack"

_STYLES = {
    STACK: "bold",
    "postgres": "blue",
    "valkey": "magenta",
    "migrate": "bright_blue",
    "api": "green",
    "download": "yellow",
    "asr": "cyan",
}
_WIDTH = max(len(name) for name in _STYLES)


class Screen(Protocol):
    """Takes what programs and the stack have to say."""

    def line(self, name: str, text: str) -> None:
        """Shows one line of the program `name`."""


class RichScreen:
    """A console; colours are rich's to decide (no terminal, NO_COLOR: none).

    Once nobody reads any more, such as a pipe's other end, it falls silent; the stack goes on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._read = True

    def line(self, name: str, text: str) -> None:
        """Shows one line; a program's own colours are kept where colours are shown."""
        prefix = (f"{name:<{_WIDTH}} │ ", _STYLES.get(name, "white"))
        self.show(Text.assemble(prefix, Text.from_ansi(text)))

    def show(self, what: Text | Panel) -> None:
        """Shows something without a name before it."""
        if not self._read:
            return
        try:
            self._console.print(what, soft_wrap=isinstance(what, Text), highlight=False)
        except OSError:
            self._read = False
