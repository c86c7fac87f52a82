"""What somebody asks of the system, and what may come of it."""

from dataclasses import dataclass

from hearsight_core.contract import JobStatus


@dataclass
class Wanted:
    """One job: what is asked for, and what may come of it."""

    job_id: int
    kind: str
    medium: str
    may_be: frozenset[JobStatus]
    codes: frozenset[str] = frozenset()
    """The errors it may end with; none: any."""

    @property
    def has_text(self) -> bool:
        """Whether its text has to be that of an undisturbed run."""
        return self.may_be == {JobStatus.COMPLETED}
