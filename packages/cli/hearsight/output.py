"""What the command writes: for people, or as JSON for scripts."""

import json
import sys
from collections.abc import Mapping

from rich.console import Console, RenderableType
from rich.text import Text

from hearsight.failures import CommandError

PLAIN_WIDTH = 240


class Output:
    """Standard output and standard error, in the form that was asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Where nobody looks there is no width to keep to.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self._errors = Console(stderr=True, highlight=False)

    def document(self, document: Mapping[str, object]) -> None:
        """Writes one JSON document on a line of its own, if JSON was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def show(self, what: RenderableType) -> None:
        """Writes for people, if JSON was not asked for. Text is taken as it is."""
        if not self.as_json:
            self.console.print(what, markup=False, soft_wrap=isinstance(what, str))

    def error(self, error: CommandError) -> None:
        """Writes an error on standard error."""
        if self.as_json:
            document = {"code": error.code, "detail": str(error), "request_id": error.request_id}
            sys.stderr.write(json.dumps(document, ensure_ascii=False) + "\n")
            return
        text = Text(str(error))
        remark = f" [{error.code}"
        if error.request_id:
            remark += f", request {error.request_id}"
        marked = Text("Error: ", style="bold red") + text + Text(f"{remark}]", "dim")
        self._errors.print(marked, soft_wrap=not self._errors.is_terminal)
