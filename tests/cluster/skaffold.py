"""skaffold as a developer uses it, on a copy of the tree that a test may change.

Where images go is said as users say it, by SKAFFOLD_DEFAULT_REPO or skaffold's own configuration.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.images import ROOT
from tests.cluster.kubectl import run
from tests.cluster.waiting import eventually

PARTS: Final = (
    "skaffold.yaml", ".dockerignore", "charts", "packages/core", "requirements", "services",
)  # fmt: skip
"""What skaffold, the chart and the images are made of."""
BUILD_S: Final = 1500.0
END_S: Final = 180.0
WATCHING: Final = "Watching for changes..."


@dataclass(frozen=True)
class Loop:
    """A running `skaffold dev`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text("utf-8", errors="replace")

    def watching(self) -> bool:
        """Whether it has done everything and waits for a change."""
        assert self.process.poll() is None, self.said()
        return self.said().rstrip().endswith(WATCHING)

    def end(self) -> int:
        """Ends it as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_S)


@dataclass(frozen=True)
class Skaffold:
    """skaffold in a copy of the tree, with a namespace to install into."""

    tree: Path
    namespace: str

    @classmethod
    def on_a_copy(cls, folder: Path, namespace: str) -> "Skaffold":
        """Copies the tree into a folder that is there."""
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            target = folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, target, ignore=ignored)
            else:
                shutil.copy2(ROOT / part, target)
        return cls(folder, namespace)

    def run(self) -> None:
        """Builds and installs once, and waits until all pods are ready."""
        run(*self._command("run"), limit_s=BUILD_S)

    @contextmanager
    def dev(self, log: Path) -> Iterator[Loop]:
        """The loop, once it watches for changes."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command("dev", "--port-forward=off"),
                cwd=self.tree,  # it watches the folder it is started in
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        loop = Loop(process, log)
        try:
            eventually("skaffold watches", loop.watching, limit_s=BUILD_S, describe=loop.said)
            yield loop
        finally:
            if process.poll() is None:
                loop.end()

    def change(self, file: str, before: str, after: str) -> None:
        """Replaces a text that is in a file once."""
        path = self.tree / file
        text = path.read_text("utf-8")
        assert text.count(before) == 1, f"{before!r} is not once in {file}"
        path.write_text(text.replace(before, after), "utf-8")

    def _command(self, verb: str, *options: str) -> list[str]:
        file = str(self.tree / "skaffold.yaml")
        common = ("--namespace", self.namespace, "--tail=false")
        return ["skaffold", verb, "-f", file, *common, *options]
