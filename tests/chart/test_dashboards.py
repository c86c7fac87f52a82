"""The Grafana dashboards: every panel says what it shows, and asks for what there is."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.chart import series
from tests.chart.rendering import render
from tests.cluster import dashboards
from tests.cluster.dashboards import Dashboard, Json

BUILT_IN = {"__range", "__rate_interval"}
"""Variables that Grafana itself fills in."""

COLUMNS = 24
"""How wide Grafana's grid is."""

CLIENT_LIBRARY = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "up",
}
"""What Prometheus and its client library tell of every process."""


@pytest.fixture(params=dashboards.every(), ids=lambda dashboard: dashboard.path.stem)
def dashboard(request: pytest.FixtureRequest) -> Dashboard:
    given: Dashboard = request.param
    return given


def _texts(dashboard: Dashboard) -> Iterator[str]:
    """Every query, of panels and of variables."""
    yield from (query.expr for query in dashboard.queries)
    yield from (variable.selector for variable in dashboard.variables)


def test_there_is_one_for_the_whole_the_queue_the_recognition_and_the_api() -> None:
    found = {dashboard.path.stem: dashboard.content["uid"] for dashboard in dashboards.every()}
    assert found == {name: f"hearsight-{name}" for name in ("api", "asr", "overview", "queue")}


def test_a_dashboard_is_found_by_its_tag_and_says_what_it_is_for(dashboard: Dashboard) -> None:
    assert dashboard.content["tags"] == ["hearsight"]
    assert dashboard.content["description"]
    assert dashboard.content["schemaVersion"] >= 39
    assert dashboard.content.get("id") is None, "Grafana gives numbers itself"


def test_every_panel_says_what_it_shows_in_which_unit(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_panel_asks_the_data_source_that_the_person_chose(dashboard: Dashboard) -> None:
    first, *others = dashboard.content["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    for asking in (*dashboard.panels, *others):
        assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert not any(
        "datasource" in target for panel in dashboard.panels for target in panel["targets"]
    )


def test_every_query_keeps_to_the_namespaces_that_the_person_chose(dashboard: Dashboard) -> None:
    for query in dashboard.queries:
        # A division matches the labels of both sides, so one of them is enough.
        assert 'namespace=~"$namespace"' in query.expr, query


def test_every_variable_is_defined_before_it_is_used(dashboard: Dashboard) -> None:
    defined = set(BUILT_IN)
    for variable in dashboard.variables:
        assert dashboards.used(variable.selector) <= defined, variable
        defined.add(variable.name)
    for query in dashboard.queries:
        assert dashboards.used(query.expr) <= defined, query
    asked_for = {name for query in dashboard.queries for name in dashboards.used(query.expr)}
    assert defined - BUILT_IN <= asked_for, "a variable that changes nothing"


def test_every_metric_that_is_asked_for_exists(dashboard: Dashboard) -> None:
    asked_for = {
        name
        for text in _texts(dashboard)
        for name in re.findall(r"\b(?:hearsight_\w+|process_\w+|python_\w+|up(?=\{))", text)
    }
    assert asked_for - series.names() - CLIENT_LIBRARY == set()


def test_panels_fill_the_grid_without_covering_each_other(dashboard: Dashboard) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard.content["panels"]:
        place: Json = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


def test_panels_are_numbered_in_their_order(dashboard: Dashboard) -> None:
    ids = [panel["id"] for panel in dashboard.content["panels"]]
    assert ids == list(range(1, len(ids) + 1))


def test_the_chart_hands_every_dashboard_to_grafanas_sidecar() -> None:
    annotations = {"grafana_folder": "Speech"}
    values = {"monitoring": {"dashboards": {"enabled": True, "annotations": annotations}}}
    handed = {
        name: one for name, one in render(values).of("ConfigMap").items() if "dashboard" in name
    }
    assert set(handed) == {
        f"hearsight-dashboard-{dashboard.path.stem}" for dashboard in dashboards.every()
    }
    for dashboard in dashboards.every():
        config_map = handed[f"hearsight-dashboard-{dashboard.path.stem}"]
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config_map["metadata"]["annotations"] == annotations
        assert json.loads(config_map["data"][f"hearsight-{dashboard.path.name}"]) == (
            dashboard.content
        )


def test_without_a_word_there_is_no_dashboard() -> None:
    assert not any("dashboard" in name for name in render().of("ConfigMap"))
