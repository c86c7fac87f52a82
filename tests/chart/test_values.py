"""Values: each is described, and one that makes no sense is refused in plain words."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hearsight_core.settings import ApiSettings, AsrSettings, DownloadSettings
from tests.chart import values_table
from tests.chart.cases import BUNDLED, POOLS, Values
from tests.chart.rendering import CHART, TRIAL, ChartError, render

BAD: list[tuple[Values, str]] = [
    ({"replicas": 1}, "additional properties 'replicas' not allowed"),
    ({"api": {"replica": 1}}, "additional properties 'replica' not allowed"),
    ({"asrWorker": {"gpu": {"count": 0}}}, "minimum: got 0, want 1"),
    ({"asrWorker": {"gpu": {"resourceName": "gpu"}}}, "/asrWorker/gpu/resourceName"),
    ({"asrWorker": {"device": "tpu"}}, "value must be one of '', 'auto', 'cpu', 'cuda'"),
    ({"autoscaling": {"engine": "vpa"}}, "value must be one of 'none', 'hpa', 'keda'"),
    ({"settings": {"logLevel": "loud"}}, "/settings/logLevel"),
    ({"settings": {"maxUploadBytes": "4Gi"}}, "got string, want null or integer"),
    ({"storage": {"volume": {"size": "large"}}}, "/storage/volume/size"),
    ({"database": {"url": "mysql://db"}}, "/database/url"),
    ({"asrPools": [{"replicas": 1}]}, "missing property 'name'"),
    ({"asrPools": [{"name": "Large_V3"}]}, "/asrPools/0/name"),
    ({"asrPools": [{"name": "a", "gpu": {"cuont": 1}}]}, "additional properties 'cuont'"),
    ({"asrPools": [{"name": "default"}]}, 'the name "default" is taken'),
    ({"asrPools": [{"name": "a"}, {"name": "a"}]}, 'the name "a" is taken'),
    (
        {"asrPools": [{"name": "a", "model": {"source": "fetched"}}]},
        "asrPools, a: a fetched model needs model.name",
    ),
    ({"asrWorker": {"model": {"source": "mounted"}}}, "a mounted model needs model.existingClaim"),
    ({"asrWorker": {"model": {"path": "a"}}}, "model.path is for mounted models"),
    (
        {"asrWorker": {"gpu": {"enabled": False}, "device": "cuda"}},
        "device cuda needs the image with CUDA",
    ),
    (
        {"asrWorker": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}},
        "maxSurge has to be 0 with GPUs",
    ),
    (
        {"postgresql": {"bundled": {"enabled": True}}, "database": {"url": "postgresql://db"}},
        "choose one database",
    ),
    (
        {"valkey": {"bundled": {"enabled": True}}, "redis": {"existingSecret": "a"}},
        "choose one Redis",
    ),
    ({"redis": {"brokerUrl": "redis://a/0"}}, "belong together: set both"),
    (
        {"storage": {"volume": {"enabled": True}, "url": "s3://bucket"}},
        "choose one store",
    ),
    ({"storage": {"url": "file:///media"}}, "for a shared volume set storage.volume.enabled"),
    ({"storage": {"accessKeyId": "a"}}, "belong together: set both"),
    ({"storage": {"accessKeyId": "a", "secretAccessKey": "b"}}, "needs storage.url"),
    ({"auth": {"mode": "none"}}, "/auth/mode"),
    ({"auth": {"apiKey": "hs_short"}}, "/auth/apiKey"),
    ({"auth": {"apiKey": "hs_" + "a" * 43, "existingSecret": "b"}}, "are both set: choose one"),
    ({"auth": {"mode": "loopback"}}, "port-forward has to be the only way"),
    (
        {
            "auth": {"mode": "loopback"},
            "ingress": {"enabled": False},
            "api": {"service": {"type": "LoadBalancer"}},
        },
        "port-forward has to be the only way",
    ),
    ({"settings": {"quotaQueuedJobs": -1}}, "minimum: got -1, want 0"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_values_that_make_no_sense_are_refused_in_words(values: Values, message: str) -> None:
    with pytest.raises(ChartError) as refused:
        render(values)
    assert message in str(refused.value)


def test_a_pools_name_may_be_as_long_as_the_services_allow_and_kubernetes_too() -> None:
    longest = {"asrPools": [{"name": "p" * 32}]}
    assert f"hearsight-asr-worker-{'p' * 32}" in render(longest).of("Deployment")
    with pytest.raises(ChartError, match="longer than the 63 characters"):
        render(longest, release="a-release-whose-name-is-long")
    with pytest.raises(ChartError, match="/asrPools/0/name"):
        render({"asrPools": [{"name": "p" * 33}]})


def test_a_chart_above_may_share_values() -> None:
    render({"global": {"anything": 1}})


def objects(node: values_table.Schema, path: str = "") -> Iterator[tuple[str, values_table.Schema]]:
    """Every object of the schema that lists its properties, with its path."""
    for name, child in node.get("properties", {}).items():
        yield from objects(values_table.resolved(child), f"{path}.{name}")
    items = node.get("items")
    if items:
        yield from objects(values_table.resolved(items), f"{path}[]")
    if "properties" in node:
        yield path, node


def test_the_schema_knows_every_value_and_takes_no_other() -> None:
    for path, node in objects(values_table.schema()):
        assert node["additionalProperties"] is False, path


def test_every_value_is_described() -> None:
    for path, node in objects(values_table.schema()):
        for name, child in node["properties"].items():
            meaning = values_table.resolved(child).get("description", "")
            assert meaning.endswith((".", "default.")), f"{path}.{name}"


def test_schema_and_values_name_the_same() -> None:
    def compare(node: values_table.Schema, values: Any, path: str) -> None:  # noqa: ANN401  # of any kind
        properties = values_table.resolved(node).get("properties")
        if properties and isinstance(values, dict):
            optional = {"global", "claims", "initialDelaySeconds"}
            assert set(properties) - optional == set(values), path
            for name in values:
                compare(properties[name], values[name], f"{path}.{name}")

    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    compare(values_table.schema(), values, "")


def test_the_table_in_the_readme_is_that_of_the_values() -> None:
    readme = values_table.README.read_text("utf-8")
    assert readme == values_table.with_table(readme), "run python -m tests.chart.values_table"


def test_every_setting_of_the_chart_is_one_that_a_service_reads() -> None:
    least = {}
    for name, node in values_table.schema()["properties"]["settings"]["properties"].items():
        if "null" in node["type"]:
            least[name] = node.get("minimum", node.get("exclusiveMinimum", 0) + 0.5)
    shown = render({**BUNDLED, **POOLS, "settings": {**least, "otlpEndpoint": "http://c:4318"}})
    known = {
        str(field.validation_alias or f"HEARSIGHT_{name}").upper()
        for settings in (ApiSettings, DownloadSettings, AsrSettings)
        for name, field in settings.model_fields.items()
    }
    assert set(shown.settings) <= known
    assert len(shown.settings) >= len(least)


def test_the_trial_is_made_of_values_that_exist() -> None:
    render(BUNDLED, TRIAL)
