"""The table of values in the chart's README.

`python -m tests.chart.values_table` writes it anew.
"""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.chart.rendering import CHART

README = CHART / "README.md"
HEAD = "| Value | Default | Meaning |\n|---|---|---|\n"

Schema = dict[str, Any]


def schema() -> Schema:
    """`values.schema.json`."""
    found: Schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return found


def resolved(node: Schema) -> Schema:
    """A node of the schema, or the one it refers to."""
    while "$ref" in node:
        found = schema()
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def leaves(node: Schema, values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, str]]:  # noqa: ANN401  # values are of any kind
    """Every value that stands for itself: its path, its default, what it means."""
    node = resolved(node)
    properties = node.get("properties")
    if properties and isinstance(values, dict):
        for name, value in values.items():
            yield from leaves(properties[name], value, (*path, name))
    else:
        yield ".".join(path), values, node["description"]


def rows() -> list[str]:
    """The table's rows, in the order of `values.yaml`."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    cells = [
        (path, json.dumps(default), meaning) for path, default, meaning in leaves(schema(), values)
    ]
    return [f"| `{path}` | `{default}` | {meaning} |" for path, default, meaning in cells]


def with_table(readme: str) -> str:
    """The README with the table as it has to be."""
    before, _, rest = readme.partition(HEAD)
    after = rest[rest.find("\n\n") + 1 :] if "\n\n" in rest else ""
    return before + HEAD + "\n".join(rows()) + "\n" + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
