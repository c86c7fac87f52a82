"""The version of the chart before this one, out of the repository's history."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.cluster.images import ROOT
from tests.cluster.kubectl import run
from tests.cluster.release import CHART

CHART_FILE: Final = "charts/hearsight/Chart.yaml"


@dataclass(frozen=True)
class Version:
    """A version of the chart, and the commit that has the last of it."""

    number: str
    commit: str

    def check_out(self, folder: Path) -> Path:
        """Puts the sources of that version into a folder; returns the folder."""
        folder.mkdir()
        archive = run("git", "-C", str(ROOT), "archive", self.commit)
        run("tar", "-x", "-C", str(folder), stdin=archive)
        return folder


def current() -> str:
    """The version of this tree's chart."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["version"])


def previous() -> Version | None:
    """The newest version in the history that is not this tree's; None: there is no other."""
    log = ("git", "-C", str(ROOT), "log", "--format=%H", "--", CHART_FILE)
    for commit in run(*log).decode().split():
        content = run("git", "-C", str(ROOT), "show", f"{commit}:{CHART_FILE}")
        number = str(yaml.safe_load(content)["version"])
        if number != current():
            return Version(number, commit)
    return None
