"""Commands of docs/operations.md, run as they stand there."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.images import ROOT
from tests.cluster.kubectl import run
from tests.cluster.release import CHART, Release, Values

PAGE: Final = ROOT / "docs" / "operations.md"


def blocks(section: str) -> list[str]:
    """The commands of one section, block by block."""
    text = PAGE.read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


@dataclass(frozen=True)
class Shell:
    """A folder to run them in, which the chart lies in."""

    folder: Path

    @classmethod
    def beside_the_chart(cls, folder: Path) -> "Shell":
        """Puts the chart into a folder that is there."""
        (folder / "charts").symlink_to(CHART.parent)
        return cls(folder)

    def write_values(self, release: Release, *values: Values) -> None:
        """Writes my-values.yaml, as the page calls a person's own values."""
        (self.folder / "my-values.yaml").write_text(release.values(*values), "utf-8")

    def run(self, commands: str, release: Release) -> str:
        """Runs commands for a release's own namespace; returns what they print."""
        own = commands.replace(
            "--namespace hearsight ", f"--namespace {release.kubectl.namespace} "
        )
        script = f"cd {self.folder}\n{own}"
        return run("bash", "-euo", "pipefail", "-c", script).decode()
