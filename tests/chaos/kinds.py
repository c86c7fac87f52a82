"""All kinds of fault, whichever file they stand in."""

from tests.chaos import redis_faults
from tests.chaos.faults import FAULTS

__all__ = ["FAULTS", "redis_faults"]
