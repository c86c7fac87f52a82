"""A real Prometheus that scrapes processes under test, with the chart's alerts loaded.

It answers two questions that only a running stack can: does every panel of every dashboard show
something, and can every alert be evaluated.
"""

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from hearsight.stack.ports import HOST, free_port
from tests.cluster import dashboards
from tests.cluster.dashboards import Dashboard, Query

ALERTS = Path(__file__).parents[2] / "charts" / "hearsight" / "alerts" / "hearsight.yaml"

START_S = 30
STOP_S = 30
SCRAPED_S = 60


class QueryError(Exception):
    """Prometheus does not take the query; the message holds its words."""


@dataclass(frozen=True)
class Target:
    """A process to scrape at `http://{address}/metrics`, and the labels its series get."""

    address: str
    job: str
    pod: str
    namespace: str


@dataclass(frozen=True)
class Sample:
    """One series of an answer: its labels, and its values from old to new."""

    labels: dict[str, str]
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """Its newest value."""
        return self.values[-1]


@dataclass(frozen=True)
class Alert:
    """An alert whose condition holds: `pending` for as long as its `for` lasts, then `firing`."""

    name: str
    state: str
    labels: dict[str, str]


class Prometheus:
    """A running server; see `running`."""

    def __init__(self, http: httpx.Client, targets_file: Path, *, interval_s: int) -> None:
        self._http = http
        self._targets_file = targets_file
        self._interval_s = interval_s
        self._started = time.time()
        self._targets: Sequence[Target] = ()

    def scrape(self, targets: Sequence[Target]) -> None:
        """Scrapes these from now on, and no others; what was scraped before stays known."""
        self._targets = targets
        groups = [
            {
                "targets": [target.address],
                "labels": {
                    "job": target.job,
                    "pod": target.pod,
                    "namespace": target.namespace,
                },
            }
            for target in targets
        ]
        # In one step: Prometheus watches the file and reads it at any moment.
        fresh = self._targets_file.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._targets_file)

    def await_scraped(self) -> None:
        """Waits until every target has been scraped twice from this moment on.

        Twice, because a rate needs two samples, and because a process may count what it did a
        moment after others see that it is done.

        Raises:
            TimeoutError: a target does not answer; the message names it.
        """
        asked = time.time()
        deadline = asked + SCRAPED_S
        missing = {target.address for target in self._targets}
        while missing:
            if time.time() > deadline:
                raise TimeoutError(f"not scraped: {', '.join(sorted(missing))}")
            time.sleep(0.2)
            # Rounded down: no scrape from before counts.
            since = math.floor(time.time() - asked)
            if since < 1:
                continue
            answered = self.query(f"sum_over_time(up[{since}s]) >= 2")
            missing -= {sample.labels["instance"] for sample in answered}

    def query(self, expr: str) -> list[Sample]:
        """The answer to a query at this moment.

        Raises:
            QueryError: the query is not valid.
        """
        data = self._ask("query", query=expr)
        if data["resultType"] == "scalar":
            return [Sample({}, (float(data["result"][1]),))]
        return [Sample(one["metric"], (float(one["value"][1]),)) for one in data["result"]]

    def query_range(self, expr: str) -> list[Sample]:
        """The answer to a query over all the time since this Prometheus was started.

        Raises:
            QueryError: the query is not valid.
        """
        now = time.time()
        # Steps are counted from the start: one that falls on this moment sees the newest sample.
        steps = math.ceil((now - self._started) / self._interval_s)
        data = self._ask(
            "query_range",
            query=expr,
            step=f"{self._interval_s}s",
            start=str(now - steps * self._interval_s),
            end=str(now),
        )
        return [
            Sample(one["metric"], tuple(float(value) for _, value in one["values"]))
            for one in data["result"]
        ]

    def without_data(self, boards: Sequence[Dashboard]) -> list[str]:
        """What a person would find empty: every variable without a value, every query without data.

        Each is asked as Grafana would, with `All` chosen for every variable and the time since this
        Prometheus was started shown. A query of which every number is NaN has no data.

        Raises:
            QueryError: a query is not valid.
            KeyError: a query uses a variable that its dashboard does not have.
        """
        empty: list[str] = []
        for board in boards:
            values = self._chosen(board, empty)
            empty += [str(query) for query in board.queries if not self._shows(query, values)]
        return empty

    def _chosen(self, board: Dashboard, empty: list[str]) -> dict[str, str]:
        """A value for each variable: its `All`."""
        window = f"{math.ceil(time.time() - self._started) + self._interval_s}s"
        values = {"__rate_interval": window, "__range": window, "__interval": window}
        for variable in board.variables:
            found = self._ask(
                f"label/{variable.label}/values",
                **{"match[]": dashboards.filled(variable.selector, values)},
                **self._since(),
            )
            if not found:
                empty.append(f"{board.title} > ${variable.name}: no value")
            # A backslash of the regular expression has to come through PromQL's string.
            any_of = "|".join(re.escape(value).replace("\\", r"\\") for value in found)
            values[variable.name] = variable.all_value or f"({any_of})"
        return values

    def _shows(self, query: Query, values: dict[str, str]) -> bool:
        expr = dashboards.filled(query.expr, values)
        answer = self.query(expr) if query.instant else self.query_range(expr)
        return any(math.isfinite(value) for sample in answer for value in sample.values)

    def alerts(self) -> list[Alert]:
        """Every alert whose condition holds at the moment."""
        return [
            Alert(one["labels"]["alertname"], one["state"], one["labels"])
            for one in self._ask("alerts")["alerts"]
        ]

    def firing(self) -> list[Alert]:
        """Every alert that people would be told of."""
        return [alert for alert in self.alerts() if alert.state == "firing"]

    def broken_rules(self) -> list[str]:
        """Alerts whose evaluation met an error, with its words, or that had none yet."""
        return [
            f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}".rstrip()
            for group in self._ask("rules")["groups"]
            for rule in group["rules"]
            if rule["health"] != "ok"
        ]

    def _since(self) -> dict[str, str]:
        return {"start": str(self._started), "end": str(time.time())}

    def _ask(self, what: str, **parameters: str) -> Any:  # noqa: ANN401  each answer has its form
        answer = self._http.get(f"/api/v1/{what}", params=parameters)
        body = answer.json()
        if body["status"] != "success":
            raise QueryError(f"{body['error']}\n{parameters.get('query', what)}")
        return body["data"]


def installed() -> bool:
    """Whether this machine has a Prometheus (Debian: the package `prometheus`)."""
    return shutil.which("prometheus") is not None


@contextmanager
def running(
    folder: Path, targets: Sequence[Target] = (), *, interval_s: int = 1
) -> Iterator[Prometheus]:
    """A Prometheus on 127.0.0.1 for the length of the block; its data lie in `folder`.

    Args:
        folder: A folder of its own, empty or of an earlier run.
        targets: What is scraped; `Prometheus.scrape` changes it later.
        interval_s: Time between two scrapes, and between two evaluations of the alerts.

    Raises:
        FileNotFoundError: there is no Prometheus on this machine; `installed` tells before.
        RuntimeError: it ended at once or did not become ready; the message holds its log.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise FileNotFoundError("prometheus is not installed; Debian's package has that name")
    folder.mkdir(parents=True, exist_ok=True)
    targets_file = folder / "targets.json"
    targets_file.write_text("[]")
    config = {
        "global": {
            "scrape_interval": f"{interval_s}s",
            "scrape_timeout": f"{interval_s}s",
            "evaluation_interval": f"{interval_s}s",
        },
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": "hearsight", "file_sd_configs": [{"files": [str(targets_file)]}]}
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"{HOST}:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as http:
            _await_ready(http, process, log)
            server = Prometheus(http, targets_file, interval_s=interval_s)
            server.scrape(targets)
            yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _await_ready(http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if http.get("/-/ready").is_success:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise RuntimeError(f"Prometheus did not become ready:\n{log.read_text()}")
