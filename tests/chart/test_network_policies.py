"""Nothing gets in or out but what is named."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hearsight_core.addresses import _INNER_V4, _INNER_V6
from tests.chart.cases import BUNDLED, CASES, POOLS, Values, rendered
from tests.chart.rendering import Manifests, Pod, render

Rule = dict[str, Any]

INSIDE = ("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "169.254.169.254")
OUTSIDE = ("1.1.1.1", "151.101.0.223", "172.32.0.1")


def rules(manifests: Manifests, pod: Pod, way: str) -> list[Rule]:
    """Every rule of every policy that selects the pod; none that does: everything is open."""
    labels = pod.metadata["labels"].items()
    policies = [
        one["spec"]
        for one in manifests.of("NetworkPolicy").values()
        if one["spec"]["podSelector"]["matchLabels"].items() <= labels
    ]
    assert policies, f"{pod.owner} is open"
    assert all(one["policyTypes"] == ["Ingress", "Egress"] for one in policies)
    return [rule for one in policies for rule in one.get(way, [])]


def reaches(manifests: Manifests, source: str, target: str, port: int) -> bool:
    """Whether a pod may send to another, and that one may take it."""
    one, other = manifests.pod(source), manifests.pod(target)

    def allows(rule: Rule, peers: str, peer: Pod) -> bool:
        if port not in [each["port"] for each in rule["ports"]]:
            return False
        if peers not in rule:
            return True
        return any(
            "podSelector" in each
            and each["podSelector"]["matchLabels"].items() <= peer.metadata["labels"].items()
            for each in rule[peers]
        )

    return any(allows(rule, "to", other) for rule in rules(manifests, one, "egress")) and any(
        allows(rule, "from", one) for rule in rules(manifests, other, "ingress")
    )


def reaches_address(manifests: Manifests, source: str, address: str, port: int) -> bool:
    """Whether a pod may send to an address outside the cluster."""
    for rule in rules(manifests, manifests.pod(source), "egress"):
        if port not in [each["port"] for each in rule["ports"]]:
            continue
        if "to" not in rule:
            return True
        for block in [each["ipBlock"] for each in rule["to"] if "ipBlock" in each]:
            if ip_address(address) in ip_network(block["cidr"]) and not any(
                ip_address(address) in ip_network(hole) for hole in block["except"]
            ):
                return True
    return False


@pytest.fixture(scope="module")
def trial() -> Manifests:
    return render(BUNDLED)


API = "Deployment hearsight-api"
DOWNLOAD = "Deployment hearsight-download-worker"
ASR = "Deployment hearsight-asr-worker"
POSTGRESQL = "StatefulSet hearsight-postgresql"
VALKEY = "StatefulSet hearsight-valkey"
MIGRATE = "Job hearsight-migrate-1"
TEST = "Pod hearsight-test"


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("hooks")])
def test_every_pod_is_closed_by_default(case: str) -> None:
    manifests = rendered(case)
    deny = manifests.one("NetworkPolicy", "hearsight-default-deny")["spec"]
    assert "ingress" not in deny
    assert [each["port"] for rule in deny["egress"] for each in rule["ports"]] == [53, 53]
    for pod in manifests.pods():
        assert deny["podSelector"]["matchLabels"].items() <= pod.metadata["labels"].items()


@pytest.mark.parametrize("service", [API, DOWNLOAD, ASR])
def test_services_reach_the_stores(trial: Manifests, service: str) -> None:
    assert reaches(trial, service, POSTGRESQL, 5432)
    assert reaches(trial, service, VALKEY, 6379)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (MIGRATE, VALKEY, 6379),
        (TEST, POSTGRESQL, 5432),
        (VALKEY, POSTGRESQL, 5432),
        (POSTGRESQL, VALKEY, 6379),
        (API, ASR, 9100),
        (TEST, API, 9100),
        (ASR, API, 9100),
        (ASR, API, 8000),
        (DOWNLOAD, API, 8000),
        (DOWNLOAD, ASR, 9100),
    ],
)
def test_nobody_reaches_what_is_none_of_theirs(
    trial: Manifests, source: str, target: str, port: int
) -> None:
    assert not reaches(trial, source, target, port)


def test_migrations_reach_the_database_and_the_test_the_api(trial: Manifests) -> None:
    assert reaches(trial, MIGRATE, POSTGRESQL, 5432)
    assert reaches(trial, TEST, API, 8000)


@pytest.mark.parametrize("port", [80, 443])
def test_download_workers_alone_get_out(trial: Manifests, port: int) -> None:
    for address in OUTSIDE:
        assert reaches_address(trial, DOWNLOAD, address, port)
        for other in (API, ASR, POSTGRESQL, VALKEY, MIGRATE, TEST):
            assert not reaches_address(trial, other, address, port)


@pytest.mark.parametrize("address", INSIDE)
def test_download_workers_reach_no_private_network_and_no_metadata(
    trial: Manifests, address: str
) -> None:
    assert not reaches_address(trial, DOWNLOAD, address, 80)
    assert not reaches_address(trial, DOWNLOAD, address, 443)


def test_the_policy_closes_what_the_address_guard_refuses() -> None:
    values = render({"networkPolicy": {"internet": {"ipv6": True}}})
    policy = values.one("NetworkPolicy", "hearsight-download-worker")["spec"]
    blocks = [
        each["ipBlock"]
        for rule in policy["egress"]
        for each in rule.get("to", [])
        if "ipBlock" in each
    ]
    v4, v6 = blocks
    assert {ip_network(hole) for hole in v4["except"]} == set(_INNER_V4)
    # 6to4 wraps IPv4 addresses, which the guard looks into and a policy can't.
    assert {ip_network(hole) for hole in v6["except"]} == {*_INNER_V6, ip_network("2002::/16")}
    assert v6["cidr"] == "2000::/3"


def test_who_may_reach_the_api_is_for_the_values_to_say() -> None:
    controller = {"namespaceSelector": {"matchLabels": {"name": "ingress"}}}
    policy = render({"networkPolicy": {"ingressFrom": [controller], "metricsFrom": []}}).one(
        "NetworkPolicy", "hearsight-api"
    )
    (rule,) = policy["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [8000]
    own = [each for each in rule["from"] if each != controller]
    assert len(rule["from"]) == 2
    assert own[0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


def test_metrics_are_for_prometheus(trial: Manifests) -> None:
    for service in (API, DOWNLOAD, ASR):
        (rule,) = [
            rule
            for rule in rules(trial, trial.pod(service), "ingress")
            if rule["ports"] == [{"protocol": "TCP", "port": 9100}]
        ]
        assert rule["from"] == [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ]


@pytest.mark.parametrize(
    ("store", "port"), [("postgresql", 5432), ("redis", 6379), ("storage", 443)]
)
def test_stores_of_ones_own_may_be_pinned_to_an_address(store: str, port: int) -> None:
    block = {"ipBlock": {"cidr": "10.9.0.0/24", "except": []}}
    manifests = render({"networkPolicy": {"external": {store: {"to": [block]}}}})
    for service in (API, DOWNLOAD, ASR):
        assert reaches_address(manifests, service, "10.9.0.7", port)
        assert not reaches_address(manifests, service, "10.8.0.7", port)


def test_an_asr_worker_gets_out_only_to_fetch_its_model() -> None:
    manifests = render({**BUNDLED, **POOLS})
    assert reaches_address(manifests, f"{ASR}-large", OUTSIDE[0], 443)
    assert not reaches_address(manifests, f"{ASR}-large", INSIDE[0], 443)
    for other in (ASR, f"{ASR}-slow"):
        assert not reaches_address(manifests, other, OUTSIDE[0], 443)


def test_traces_reach_their_collector() -> None:
    values: Values = {**BUNDLED, "settings": {"otlpEndpoint": "http://collector:4318"}}
    for service in (API, DOWNLOAD, ASR):
        assert reaches_address(render(values), service, INSIDE[0], 4318)
        assert not reaches_address(render(BUNDLED), service, INSIDE[0], 4318)


def test_a_component_may_be_let_through_to_more() -> None:
    hole = {"ports": [{"port": 8080}], "to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": []}}]}
    manifests = render({**BUNDLED, "downloadWorker": {"extraEgress": [hole]}})
    assert reaches_address(manifests, DOWNLOAD, "10.1.1.1", 8080)
    assert not reaches_address(manifests, ASR, "10.1.1.1", 8080)


def test_keda_may_read_the_bundled_database() -> None:
    def peers(values: Values) -> list[Any]:
        policy = render(values).one("NetworkPolicy", "hearsight-postgresql")
        (rule,) = policy["spec"]["ingress"]
        return [each for each in rule["from"] if "namespaceSelector" in each]

    scaled = {**BUNDLED, "autoscaling": {"engine": "keda", "keda": {"namespace": "scaling"}}}
    assert peers(scaled) == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scaling"}}}
    ]
    assert peers(BUNDLED) == []


def test_policies_can_be_left_out() -> None:
    assert not render({"networkPolicy": {"enabled": False}}).of("NetworkPolicy")
