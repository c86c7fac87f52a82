"""What a check of `hearsight doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found about one thing."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
    """What to do if it is not well."""
