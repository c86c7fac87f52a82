"""Who is let in: API keys, the first of them, and a port for clients alone."""

import pytest

from hearsight_core.keys import is_token
from tests.chart.cases import AUTH, BUNDLED, CASES, Values, rendered
from tests.chart.rendering import Manifests, render

API = "Deployment hearsight-api"
MIGRATE = "Job hearsight-migrate-1"
TEST = "Pod hearsight-test"
LOOPBACK: Values = {"auth": {"mode": "loopback"}, "ingress": {"enabled": False}}


def holders(manifests: Manifests, secret: str) -> set[str]:
    """The pods of which a container is given something of a Secret."""
    return {
        pod.owner
        for pod in manifests.pods()
        for container in pod.containers
        for variable in container.get("env", [])
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == secret
    }


def test_an_installation_asks_for_keys() -> None:
    assert render().settings["HEARSIGHT_AUTH"] == "on"


@pytest.mark.parametrize(
    ("mode", "asked"),
    [("on", "on"), ("off", "off"), ("loopback", "loopback"), (True, "on"), (False, "off")],
)
def test_modes_are_those_of_the_setting_also_where_yaml_takes_them_for_truth(
    mode: object, asked: str
) -> None:
    manifests = render({**LOOPBACK, "auth": {"mode": mode}})
    assert manifests.settings["HEARSIGHT_AUTH"] == asked


def test_the_first_key_is_made_and_is_a_key() -> None:
    keys = [
        render(values).one("Secret", "hearsight-api-key")["stringData"]["api-key"]
        for values in ({}, {"settings": {"language": "zh"}})
    ]
    assert all(is_token(key) for key in keys)
    assert len({*keys}) == len(keys), "each installation has its own"


def test_a_given_first_key_is_used() -> None:
    given = AUTH["auth"]["apiKey"]
    assert render(AUTH).one("Secret", "hearsight-api-key")["stringData"] == {"api-key": given}


def test_a_secret_of_ones_own_takes_its_place() -> None:
    manifests = render({"auth": {"existingSecret": "keys", "secretKey": "first"}})
    assert not manifests.of("Secret")
    reference = {"secretKeyRef": {"name": "keys", "key": "first"}}
    assert manifests.pod(MIGRATE).environment["HEARSIGHT_BOOTSTRAP_API_KEY"] == reference
    assert manifests.pod(TEST).environment["API_KEY"] == reference


def test_nobody_but_the_migration_and_the_test_is_given_the_first_key() -> None:
    assert holders(render(BUNDLED), "hearsight-api-key") == {MIGRATE, TEST}


@pytest.mark.parametrize("values", [LOOPBACK, {"auth": {"mode": "off"}}])
def test_where_keys_are_not_asked_for_there_is_none(values: Values) -> None:
    manifests = render(values)
    assert "hearsight-api-key" not in manifests.of("Secret")
    assert not holders(manifests, "hearsight-api-key")


def test_loopback_lets_in_a_port_forward_and_the_test_alone() -> None:
    policy = rendered("nobody asks for keys").one("NetworkPolicy", "hearsight-api")["spec"]
    (peer,) = [
        peer
        for rule in policy["ingress"]
        for peer in rule["from"]
        if {"protocol": "TCP", "port": 8000} in rule["ports"]
    ]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


@pytest.mark.parametrize("case", CASES)
def test_no_service_and_no_route_leads_to_the_metrics(case: str) -> None:
    manifests = rendered(case)
    ports = [
        port
        for name, service in manifests.of("Service").items()
        if name == "hearsight-api"
        for port in service["spec"]["ports"]
    ]
    assert [port["targetPort"] for port in ports] == ["http"]
    for route in (*manifests.of("Ingress").values(), *manifests.of("HTTPRoute").values()):
        assert "metrics" not in str(route["spec"])
        assert "9100" not in str(route["spec"])
