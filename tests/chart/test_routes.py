"""The way in: Ingress or Gateway API."""

import pytest

from tests.chart.cases import rendered
from tests.chart.rendering import ChartError, render

NGINX = "nginx.ingress.kubernetes.io/"


def paths(values: dict[str, object]) -> list[tuple[str, str]]:
    (rule,) = render(values).one("Ingress", "hearsight-api")["spec"]["rules"]
    return [(one["path"], one["pathType"]) for one in rule["http"]["paths"]]


def test_the_api_and_its_description_are_let_in_and_nothing_else() -> None:
    assert paths({}) == [("/api", "Prefix"), ("/docs", "Prefix"), ("/openapi.json", "Exact")]


def test_the_ingress_leads_to_the_apis_service() -> None:
    manifests = render()
    ingress = manifests.one("Ingress", "hearsight-api")["spec"]
    assert ingress["rules"][0]["host"] == "hearsight.local"
    assert "ingressClassName" not in ingress
    backend = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
    (port,) = manifests.one("Service", backend["name"])["spec"]["ports"]
    assert backend["port"] == {"name": port["name"]}
    http, metrics = manifests.pod("Deployment hearsight-api").main["ports"]
    assert port["targetPort"] == http["name"] != metrics["name"]


def test_class_hosts_and_certificates_are_set_by_values() -> None:
    ingress = rendered("everything placed").one("Ingress", "hearsight-api")["spec"]
    assert ingress["ingressClassName"] == "nginx"
    assert [rule["host"] for rule in ingress["rules"]] == ["hearsight.example.org"]
    assert ingress["tls"] == [{"hosts": ["hearsight.example.org"], "secretName": "certificate"}]


def test_nginx_is_told_of_uploads_and_event_streams() -> None:
    annotations = render().one("Ingress", "hearsight-api")["metadata"]["annotations"]
    assert annotations[f"{NGINX}proxy-body-size"] == "0"
    assert annotations[f"{NGINX}proxy-buffering"] == "off"
    assert annotations[f"{NGINX}proxy-request-buffering"] == "off"
    assert annotations[f"{NGINX}proxy-read-timeout"] == "3600"


def test_hints_give_way_to_annotations_and_can_be_left_out() -> None:
    mine = {f"{NGINX}proxy-body-size": "4g"}
    ingress = render({"ingress": {"annotations": mine}}).one("Ingress", "hearsight-api")
    assert ingress["metadata"]["annotations"][f"{NGINX}proxy-body-size"] == "4g"
    bare = render({"ingress": {"nginxHints": False}}).one("Ingress", "hearsight-api")
    assert "annotations" not in bare["metadata"]


def test_a_gateway_route_lets_in_the_same_for_as_long_as_it_takes() -> None:
    manifests = rendered("hooks, gateway, a private registry")
    assert not manifests.of("Ingress")
    route = manifests.one("HTTPRoute", "hearsight-api")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["parentRefs"] == [{"name": "gateway", "namespace": "gateways"}]
    assert route["spec"]["hostnames"] == ["hearsight.local"]
    (rule,) = route["spec"]["rules"]
    assert [one["path"] for one in rule["matches"]] == [
        {"type": "PathPrefix", "value": "/api"},
        {"type": "PathPrefix", "value": "/docs"},
        {"type": "Exact", "value": "/openapi.json"},
    ]
    assert rule["backendRefs"] == [{"name": "hearsight-api", "port": 8000}]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert route["metadata"]["annotations"]["example.org/a"] == "b"


def test_a_route_without_a_gateway_is_refused() -> None:
    with pytest.raises(ChartError, match=r"httpRoute\.parentRefs"):
        render({"httpRoute": {"enabled": True}})
