"""helm uninstall, at the end: it leaves what `keep` says, and nothing else."""

from tests.cluster.release import Release
from tests.cluster.waiting import eventually

KEPT = {
    "persistentvolumeclaim/hearsight-media",
    "persistentvolumeclaim/hearsight-postgresql",
    "secret/hearsight-api-key",
    "secret/hearsight-postgresql",
}
"""What values.yaml asks to keep: the data, the password they were made with, the key in them."""
NOT_OURS = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
"""What every namespace has."""


def _objects(release: Release) -> set[str]:
    kinds = release.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    listed = [kind for kind in kinds if kind.partition(".")[0] != "events"]
    return set(release.kubectl("get", ",".join(listed), "-o", "name").split()) - NOT_OURS


def test_uninstalling_leaves_what_keep_says_and_nothing_else(release: Release) -> None:
    assert _objects(release) > KEPT
    release.uninstall()
    eventually(
        "all but what is kept is gone",
        lambda: _objects(release) == KEPT,
        describe=lambda: str(sorted(_objects(release) ^ KEPT)),
    )
