"""The alerts: each fires when it should, keeps quiet when it should, and says what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import series
from tests.chart.rendering import render

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "charts" / "hearsight" / "alerts"
RULES = FOLDER / "hearsight.yaml"
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"

Rule = dict[str, Any]
"""A rule as the file has it."""

PROMTOOL = shutil.which("promtool")

promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="promtool is not installed; it comes with Debian's package prometheus",
)


def _rules() -> list[Rule]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _run(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_prometheus_takes_the_rules() -> None:
    _run("check", "rules", RULES)


@promtool
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_quiet_as_their_unit_tests_say(path: Path) -> None:
    _run("test", "rules", path)


def test_every_alert_has_a_unit_test_where_it_fires_and_one_where_it_does_not() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for path in UNIT_TESTS:
        for group in yaml.safe_load(path.read_text())["tests"]:
            for case in group["alert_rule_test"]:
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    alerts = {rule["alert"] for rule in _rules()}
    assert fires == alerts
    assert quiet == alerts


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    alerts = {rule["alert"] for rule in _rules()}
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == alerts
    for rule in _rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_the_list_of_runbooks_names_every_alert_with_its_severity() -> None:
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \| .+ \|$",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in _rules()]


def _anchors(page: Path) -> set[str]:
    """What can be linked in a page: its headings in lower case, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_in_a_runbook_leads_somewhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            assert (RUNBOOKS / path).exists(), f"{page.name}: {target}"
            assert not anchor or anchor in _anchors(RUNBOOKS / path), f"{page.name}: {target}"


def test_every_runbook_says_what_it_means_whom_it_hurts_where_to_look_and_what_to_do() -> None:
    for page in RUNBOOKS.glob("HearSight*.md"):
        text = page.read_text()
        assert text.startswith(f"# {page.stem}\n"), page
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Meaning", "Impact", "Look", "Mend"], page
        assert "```" in text, f"{page} has no command"


def test_every_alert_says_how_severe_it_is_and_what_to_do_next() -> None:
    for rule in _rules():
        assert rule["labels"] == {"severity": rule["labels"]["severity"]}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert "$labels.namespace" in rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


def test_every_alert_tells_namespaces_apart() -> None:
    for rule in _rules():
        grouped = re.findall(r"\b(?:sum|min|max|count) by \(([^)]+)\)", rule["expr"])
        assert grouped, rule["alert"]
        assert all("namespace" in labels.split(", ") for labels in grouped), rule["alert"]


def test_every_metric_of_ours_that_an_alert_reads_exists() -> None:
    read = {name for rule in _rules() for name in re.findall(r"\bhearsight_\w+", rule["expr"])}
    assert read - series.names() == set()


def test_the_chart_hands_the_rules_out_as_they_are_tested() -> None:
    values = {"monitoring": {"prometheusRule": {"enabled": True, "labels": {"release": "kube"}}}}
    rule = render(values).one("PrometheusRule", "hearsight")
    assert rule["metadata"]["labels"]["release"] == "kube"
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_alerts_link_to_where_the_runbooks_are_published() -> None:
    published = "https://runbooks.example.org/hearsight/"
    values = {"monitoring": {"prometheusRule": {"enabled": True, "runbookBaseUrl": published}}}
    spec = render(values).one("PrometheusRule", "hearsight")["spec"]
    links = [
        rule["annotations"]["runbook_url"] for group in spec["groups"] for rule in group["rules"]
    ]
    assert links == [f"{published}{rule['alert']}.md" for rule in _rules()]


@pytest.mark.parametrize("release", ["hearsight", "hearsight-staging", "media"])
def test_alerts_know_the_processes_by_the_jobs_that_the_monitors_give_them(release: str) -> None:
    monitors = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    manifests = render({"monitoring": monitors}, release=release)
    (service,) = manifests.of("ServiceMonitor")
    (pods,) = manifests.of("PodMonitor").values()
    (endpoint,) = pods["spec"]["podMetricsEndpoints"]
    (relabeling,) = endpoint["relabelings"]
    jobs = {
        service,
        *(
            relabeling["replacement"].replace("$1", component)
            for component in ("download-worker", "asr-worker")
        ),
    }
    down, api_down = (
        re.compile(found[1])
        for alert in ("HearSightTargetDown", "HearSightApiDown")
        for rule in _rules()
        if rule["alert"] == alert
        and (found := re.search(r'up\{job=~"([^"]+)"\}', rule["expr"])) is not None
    )
    assert all(down.fullmatch(job) for job in jobs), jobs
    assert {job for job in jobs if api_down.fullmatch(job)} == {service}
