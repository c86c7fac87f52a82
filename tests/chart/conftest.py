"""The chart's tests need Helm, and no cluster."""

import pytest

from tests.chart.rendering import helms


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips them where there is no Helm."""
    if "helm" in helms():
        return
    skip = pytest.mark.skip(reason="helm is not on PATH: https://helm.sh/docs/intro/install")
    for item in items:
        if "tests/chart/" in item.path.as_posix():
            item.add_marker(skip)
