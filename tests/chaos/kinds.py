"""All kinds of fault, whichever file they stand in."""

from tests.chaos import object_faults, poison
from tests.chaos.faults import FAULTS

__all__ = ["FAULTS", "object_faults", "poison"]
