"""An image taken apart: its configuration, and what lies in each layer, deleted later or not."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.images.engine import Engine


@dataclass(frozen=True)
class Archive:
    """`config` is the OCI image configuration; `layers` the paths in each layer, base first."""

    config: dict[str, Any]  # JSON of the OCI image specification
    layers: list[frozenset[str]]

    @classmethod
    def saved(cls, engine: Engine, image: str, folder: Path) -> "Archive":
        """Lets the engine write the image out, reads that and removes it again."""
        file = folder / "image.tar"
        form = ("--format", "docker-archive") if engine.program == "podman" else ()
        engine.call("save", *form, "--output", str(file), image)
        try:
            with tarfile.open(file) as archive:
                (manifest,) = json.load(_member(archive, "manifest.json"))
                config = json.load(_member(archive, manifest["Config"]))
                layers = [_paths(archive, layer) for layer in manifest["Layers"]]
        finally:
            file.unlink(missing_ok=True)
        return cls(config, layers)

    @property
    def settings(self) -> dict[str, Any]:
        """How its containers run: user, entry point, labels, ..."""
        found: dict[str, Any] = self.config["config"]
        return found

    @property
    def paths(self) -> frozenset[str]:
        """Every path in any layer."""
        return frozenset().union(*self.layers)

    @property
    def added(self) -> frozenset[str]:
        """Every path in any layer on top of the base image; our user's folder begins them."""
        first = min(self.layers_with("var/lib/hearsight"))
        return frozenset().union(*self.layers[first:])

    def layers_with(self, path: str) -> list[int]:
        """The numbers of the layers that hold this path."""
        return [number for number, paths in enumerate(self.layers) if path in paths]


def _member(archive: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401  tarfile's own reader
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file


def _paths(archive: tarfile.TarFile, layer: str) -> frozenset[str]:
    with tarfile.open(fileobj=_member(archive, layer)) as tar:
        return frozenset(name.removeprefix("./").rstrip("/") for name in tar.getnames())
