"""What a running process tells of itself on its port for metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from hearsight.stack.ports import HOST


def values(port: int, series: str, /, **labels: str) -> list[float]:
    """The values of a series with these labels, whatever others it has."""
    answer = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False)
    return [
        sample.value
        for family in text_string_to_metric_families(answer.raise_for_status().text)
        for sample in family.samples
        if sample.name == series and labels.items() <= sample.labels.items()
    ]
