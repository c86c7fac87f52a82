"""Every instrument follows Prometheus' naming rules and stands in the docs."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from hearsight_core.contract import TaskKind
from hearsight_core.telemetry import metrics
from hearsight_core.telemetry.metrics import ReadCounter

ROOT = Path(__file__).parents[2]
KINDS = {Counter: "counter", ReadCounter: "counter", Gauge: "gauge", Histogram: "histogram"}


def _instruments() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Every instrument: (name, type, labels, meaning)."""
    for instrument in vars(metrics).values():
        if isinstance(instrument, Counter | Gauge | Histogram | ReadCounter):
            [family] = instrument.describe()
            kind = KINDS[type(instrument)]
            name = f"{family.name}_total" if kind == "counter" else family.name
            yield name, kind, tuple(getattr(instrument, "_labelnames", ())), family.documentation


def _unit(name: str) -> str:
    """The unit a name ends with, as Prometheus wants it; without one it counts things."""
    bare = name.removesuffix("_total")
    units = {"seconds": "seconds", "bytes": "bytes", "factor": "ratio"}
    return next((unit for end, unit in units.items() if bare.endswith(f"_{end}")), "count")


def test_the_documentation_lists_every_metric_as_the_code_has_it() -> None:
    row = re.compile(r"^\| `(hearsight_\w+)` \| (\w+) \| (.+?) \| (\w+) \| (.+?) \|$", re.MULTILINE)
    documented = set(row.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    told = {
        (name, kind, ", ".join(f"`{label}`" for label in labels) or "none", _unit(name), meaning)
        for name, kind, labels, meaning in _instruments()
    }
    assert documented == told


def test_the_documentation_lists_the_buckets_as_the_code_has_them() -> None:
    row = re.compile(r"^\| `(hearsight_\w+)` \| ([\d., ]+) \|$", re.MULTILINE)
    documented = dict(row.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    told = {}
    for instrument in vars(metrics).values():
        if isinstance(instrument, Histogram):
            [family] = instrument.describe()
            told[family.name] = ", ".join(f"{bound:g}" for bound in instrument._kwargs["buckets"])
    assert documented == told


def test_counters_whose_labels_are_known_begin_at_0() -> None:
    metrics.begin_worker(TaskKind.TRANSCRIBE, "a-queue")
    told = dict(_samples("a-queue"))
    assert set(told.values()) == {0}
    assert ("hearsight_task_attempts_total", "outcome", "done") in told
    assert ("hearsight_task_attempts_total", "outcome", "asr.failed") in told
    assert ("hearsight_retries_total", "code", "worker.lost") in told
    assert ("hearsight_retries_total", "code", "media.corrupt") not in told, "it is never retried"
    assert ("hearsight_hints_total", "fate", "stale") in told
    for status, code in (("completed", ""), ("cancelled", ""), ("failed", "media.corrupt")):
        labels = {"status": status, "code": code}
        assert REGISTRY.get_sample_value("hearsight_jobs_finished_total", labels) is not None


def _samples(queue: str) -> Iterator[tuple[tuple[str, str, str], float]]:
    """What the counters with the label `queue` and another one say of a queue."""
    for family in REGISTRY.collect():
        for sample in family.samples:
            other = [item for item in sample.labels.items() if item[0] != "queue"]
            if sample.labels.get("queue") == queue and sample.name.endswith("_total") and other:
                yield (sample.name, *other[0]), sample.value


def test_the_room_of_a_store_that_is_no_folder_is_not_told() -> None:
    assert REGISTRY.get_sample_value("hearsight_storage_free_bytes") is None


def test_every_metric_is_ours_by_name() -> None:
    names = [name for name, *_ in _instruments()]
    assert len(names) == len(set(names)) > 10
    assert all(name.startswith("hearsight_") for name in names)


def test_no_metric_has_a_label_without_bound() -> None:
    for name, _, labels, _ in _instruments():
        assert not {"job_id", "task_id", "url", "path", "worker"} & set(labels), name
