"""What a check of `hearsight doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found about one thing."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
    """What to do about it; empty if all is well."""

    def __post_init__(self) -> None:
        """Drops advice that nobody needs."""
        if self.ok:
            object.__setattr__(self, "advice", "")
