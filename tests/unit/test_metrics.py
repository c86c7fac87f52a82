"""Every instrument follows Prometheus' naming rules and stands in the docs."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from hearsight_core.telemetry import metrics

ROOT = Path(__file__).parents[2]
KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


def _instruments() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Every instrument: (name, type, labels, meaning)."""
    for instrument in vars(metrics).values():
        if isinstance(instrument, Counter | Gauge | Histogram):
            [family] = instrument.describe()
            kind = KINDS[type(instrument)]
            name = f"{family.name}_total" if kind == "counter" else family.name
            yield name, kind, tuple(instrument._labelnames), family.documentation


def _unit(name: str) -> str:
    """The unit a name ends with, as Prometheus wants it; without one it counts things."""
    bare = name.removesuffix("_total")
    return next((unit for unit in ("seconds", "bytes") if bare.endswith(f"_{unit}")), "count")


def test_the_documentation_lists_every_metric_as_the_code_has_it() -> None:
    row = re.compile(r"^\| `(hearsight_\w+)` \| (\w+) \| (.+?) \| (\w+) \| (.+?) \|$", re.MULTILINE)
    documented = set(row.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    told = {
        (name, kind, ", ".join(f"`{label}`" for label in labels) or "none", _unit(name), meaning)
        for name, kind, labels, meaning in _instruments()
    }
    assert documented == told


def test_every_metric_is_ours_by_name() -> None:
    names = [name for name, *_ in _instruments()]
    assert len(names) == len(set(names)) > 10
    assert all(name.startswith("hearsight_") for name in names)


def test_no_metric_has_a_label_without_bound() -> None:
    for name, _, labels, _ in _instruments():
        assert not {"job_id", "task_id", "url", "path", "worker"} & set(labels), name
