"""Sets of values that people would install the chart with; every promise is kept in all of them."""

from pathlib import Path
from typing import Any

from tests.chart.rendering import TRIAL, Manifests, render

Values = dict[str, Any]

AUTH: Values = {"auth": {"apiKey": "hs_" + "k" * 43}}
"""A given first API key, so that two renderings are equal."""

BUNDLED: Values = {
    **AUTH,
    "postgresql": {"bundled": {"enabled": True, "password": "p", "readerPassword": "r"}},
    "valkey": {"bundled": {"enabled": True, "password": "v"}},
    "storage": {"volume": {"enabled": True}},
}
"""Bundled stores with given passwords, for the same reason."""

POOLS: Values = {
    "asrPools": [
        {
            "name": "large",
            "replicas": 2,
            "model": {"source": "fetched", "name": "large-v3-turbo", "existingClaim": "models"},
            "gpu": {"resourceName": "nvidia.com/mig-3g.20gb", "count": 2},
            "runtimeClassName": "nvidia",
        },
        {
            "name": "slow",
            "gpu": {"enabled": False},
            "model": {"source": "mounted", "volume": {"nfs": {"server": "nas", "path": "/m"}}},
        },
    ]
}

CASES: dict[str, tuple[Values, tuple[Path, ...]]] = {
    "default": (AUTH, ()),
    "trial": (BUNDLED, (TRIAL,)),
    "pools": ({**AUTH, **POOLS}, ()),
    "scaled": (
        {
            **BUNDLED,
            **POOLS,
            "autoscaling": {"engine": "keda"},
            "monitoring": {
                "podAnnotations": True,
                "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            },
            "settings": {"otlpEndpoint": "http://collector:4318"},
        },
        (),
    ),
    "hpa": ({**AUTH, "autoscaling": {"engine": "hpa"}}, ()),
    "addresses in values": (
        {
            **AUTH,
            "database": {"url": "postgresql://hearsight:secret@db/hearsight"},
            "redis": {"brokerUrl": "redis://cache/0", "redisUrl": "redis://cache/1"},
            "storage": {
                "url": "s3://bucket/prefix",
                "endpoint": "https://s3.example.org",
                "region": "eu-west-1",
                "accessKeyId": "key",
                "secretAccessKey": "secret",
            },
        },
        (),
    ),
    "hooks, gateway, a private registry": (
        {
            "image": {"registry": "registry.example.org", "pullSecrets": [{"name": "registry"}]},
            "auth": {"existingSecret": "keys", "secretKey": "first"},
            "migrations": {"useHelmHooks": True},
            "ingress": {"enabled": False},
            "httpRoute": {
                "enabled": True,
                "parentRefs": [{"name": "gateway", "namespace": "gateways"}],
                "annotations": {"example.org/a": "b"},
            },
            "networkPolicy": {"enabled": False},
            "commonLabels": {"example.org/team": "speech"},
            "commonAnnotations": {"example.org/owner": "speech"},
        },
        (),
    ),
    "nobody asks for keys": (
        {
            "auth": {"mode": "loopback"},
            "ingress": {"enabled": False},
            "storage": {"url": "s3://bucket"},
        },
        (),
    ),
    "everything placed": (
        {
            **BUNDLED,
            **{
                component: {
                    "nodeSelector": {"pool": component},
                    "tolerations": [{"key": "pool", "operator": "Exists"}],
                    "affinity": {"nodeAffinity": {}},
                    "priorityClassName": "high",
                    "runtimeClassName": "gvisor",
                    "extraEnv": [{"name": "HEARSIGHT_LOG_LEVEL", "value": "DEBUG"}],
                    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
                    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                    "extraEgress": [{"ports": [{"port": 3128}]}],
                    "podAnnotations": {"example.org/note": "a"},
                    "podLabels": {"example.org/label": "b"},
                    "serviceAccount": {"annotations": {"example.org/role": "c"}},
                }
                for component in ("api", "downloadWorker", "asrWorker")
            },
            "ingress": {
                "className": "nginx",
                "hosts": ["hearsight.example.org"],
                "tls": [{"hosts": ["hearsight.example.org"], "secretName": "certificate"}],
            },
            "networkPolicy": {"internet": {"ipv6": True}},
        },
        (),
    ),
}


def rendered(case: str, helm: str = "helm") -> Manifests:
    """The chart with the values of a case."""
    values, files = CASES[case]
    return render(values, *files, helm=helm)
