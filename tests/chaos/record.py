"""What rounds were made: a file with a line of JSON for each, which a long run adds to."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@cache
def _commit() -> str:
    """Of the sources that run; `dirty` if they were changed since."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],  # noqa: S607  any git
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.strip()


@dataclass(frozen=True)
class Round:
    """One round of one kind of fault; `error` is empty if all was well."""

    kind: str
    number: int
    seed: int
    injections: int
    jobs: int
    seconds: int
    error: str
    commit: str = field(default_factory=_commit)
    ended: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class Record:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, made: Round) -> None:
        """Adds a line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(made)) + "\n")

    def rounds(self) -> list[Round]:
        """All lines; none if there is no file yet."""
        if not self._path.exists():
            return []
        return [Round(**json.loads(line)) for line in self._path.read_text("utf-8").splitlines()]

    def injected(self) -> Counter[str]:
        """How often each fault was injected in rounds of this commit that went well."""
        done: Counter[str] = Counter()
        for made in self.rounds():
            if made.commit == _commit() and not made.error:
                done[made.kind] += made.injections
        return done

    def table(self) -> Iterator[str]:
        """The file as rows of Markdown, the faults in the order of their numbers."""
        yield "| Number | Fault | Injections | Rounds | Jobs | Failed rounds |"
        yield "|---|---|---|---|---|---|"
        rounds = self.rounds()
        for number, kind in dict.fromkeys(
            sorted(((made.number, made.kind) for made in rounds), key=lambda one: one[0])
        ):
            of_kind = [made for made in rounds if made.kind == kind]
            well = [made for made in of_kind if not made.error]
            yield (
                f"| {number} | {kind} | {sum(made.injections for made in well)} | {len(well)} |"
                f" {sum(made.jobs for made in well)} | {len(of_kind) - len(well)} |"
            )
