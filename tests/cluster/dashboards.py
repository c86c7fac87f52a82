"""The chart's Grafana dashboards as data: their panels, their queries, their variables."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "charts" / "hearsight" / "dashboards"

Json = dict[str, Any]
"""A JSON object of Grafana's, whose fields are of every type."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


@dataclass(frozen=True)
class Variable:
    """A variable that a person chooses values of, and Grafana finds them by a query."""

    name: str
    selector: str
    """Which series have the values."""
    label: str
    """Which of their labels it is."""
    all_value: str | None
    """What stands for the choice `All`; None: all values, one or the other."""


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    dashboard: str
    panel: str
    expr: str
    instant: bool
    """Asked at one moment, not over the time shown."""

    def __str__(self) -> str:
        return f"{self.dashboard} > {self.panel}: {self.expr}"


@dataclass(frozen=True)
class Dashboard:
    """One dashboard, as its file has it."""

    path: Path
    content: Json

    @property
    def title(self) -> str:
        """Its title."""
        return str(self.content["title"])

    @property
    def panels(self) -> list[Json]:
        """Its panels, without the rows that only group them."""
        return [panel for panel in self.content["panels"] if panel["type"] != "row"]

    @property
    def queries(self) -> Iterator[Query]:
        """Every query of every panel, as written."""
        for panel in self.panels:
            for target in panel["targets"]:
                yield Query(
                    self.title, panel["title"], target["expr"], target.get("instant", False)
                )

    @property
    def variables(self) -> Iterator[Variable]:
        """Its variables, in the order in which one may use the one before it.

        Raises:
            ValueError: a variable's query is no `label_values(selector, label)`.
        """
        for variable in self.content["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                found = _LABEL_VALUES.fullmatch(query)
                if found is None:
                    raise ValueError(f"{self.title}: {variable['name']} asks {query}")
                yield Variable(
                    variable["name"],
                    found["selector"],
                    found["label"],
                    variable.get("allValue"),
                )


def every() -> list[Dashboard]:
    """Every dashboard of the chart."""
    return [
        Dashboard(path, json.loads(path.read_bytes())) for path in sorted(FOLDER.glob("*.json"))
    ]


def used(text: str) -> set[str]:
    """The names of the variables in a query."""
    return {braced or plain for braced, plain in _VARIABLE.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """A query with the values put in for its variables.

    Raises:
        KeyError: it uses a variable that has none.
    """
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)
