"""The images under test: built from this tree or another, and handed to the cluster.

How a cluster gets its images is said by the environment:

    HEARSIGHT_TEST_REGISTRY       host:port or host/path: images are pushed there, nodes pull them
    HEARSIGHT_TEST_IMAGE_LOADER   a command, called with the names of images, that gives them to
                                  the nodes (`kind load docker-image`, say)
"""

import hashlib
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.kubectl import run

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("api", "download-worker", "asr-worker")
BUILDERS: Final = {
    "buildah": ("buildah", "bud", "--layers"),
    "docker": ("docker", "build"),
    "podman": ("podman", "build"),
}
BUILD_S = 1800.0


@dataclass(frozen=True)
class Images:
    """The three images of one version, as the cluster knows them."""

    registry: str
    tag: str

    def name(self, service: str) -> str:
        """The whole name of one image."""
        return f"{self.registry}/hearsight/{service}:{self.tag}"

    def values(self) -> dict[str, object]:
        """The chart's values that say so."""
        return {"image": {"registry": self.registry, "tag": self.tag}}


def ways_to_the_cluster() -> tuple[str | None, str | None]:
    """The registry and the loader that the environment names."""
    return (
        os.environ.get("HEARSIGHT_TEST_REGISTRY"),
        os.environ.get("HEARSIGHT_TEST_IMAGE_LOADER"),
    )


def published(tree: Path = ROOT) -> Images:
    """Builds the images of a source tree and hands them to the cluster.

    The tag follows from what is in them, so that a node never takes an older one for it.
    """
    registry, loader = ways_to_the_cluster()
    builder = next((name for name in BUILDERS if shutil.which(name)), None)
    assert builder, f"none of {', '.join(BUILDERS)} is installed: nothing can build the images"
    built = {service: _build(builder, tree, service) for service in SERVICES}
    digest = hashlib.sha256("".join(built.values()).encode()).hexdigest()
    images = Images(registry or "docker.io", f"test-{digest[:12]}")
    for service, image_id in built.items():
        run(builder, "tag", image_id, images.name(service))
    if loader:
        names = (images.name(service) for service in SERVICES)
        run(*shlex.split(loader), *names, limit_s=BUILD_S)
    else:
        for service in SERVICES:
            run(builder, "push", images.name(service), limit_s=BUILD_S)
    return images


def _build(builder: str, tree: Path, service: str) -> str:
    """Builds one image; returns its id."""
    with tempfile.NamedTemporaryFile() as image_id:
        dockerfile = str(tree / "services" / service / "Dockerfile")
        options = ("--iidfile", image_id.name, "-f", dockerfile)
        run(*BUILDERS[builder], *options, str(tree), limit_s=BUILD_S)
        return Path(image_id.name).read_text("utf-8").strip()
