"""What was to be reached, and what was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """One line of the table. `missed` counts for the exit code."""

    what: str
    wanted: str
    reached: str
    missed: bool


def at_least(
    what: str, wanted: float, reached: float, unit: str, *, remark: str = "", digits: int = 0
) -> Goal:
    """More is better."""
    return Goal(
        what,
        f"{wanted:,.{digits}f} {unit}",
        f"{reached:,.{digits}f} {unit}{remark}",
        missed=reached < wanted,
    )


def at_most(what: str, wanted: float, reached: float, unit: str, *, remark: str = "") -> Goal:
    """Less is better."""
    return Goal(
        what, f"{wanted:,.2f} {unit}", f"{reached:,.2f} {unit}{remark}", missed=reached > wanted
    )


def exactly(what: str, wanted: int, reached: int, unit: str, *, remark: str = "") -> Goal:
    """Nothing else will do."""
    return Goal(what, f"{wanted:,} {unit}", f"{reached:,} {unit}{remark}", missed=reached != wanted)


def told(what: str, reached: str) -> Goal:
    """A figure that belongs to the picture and has no goal of its own."""
    return Goal(what, "", reached, missed=False)
