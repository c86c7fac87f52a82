"""All kinds of fault, whichever file they stand in."""

from tests.chaos import postgres_faults, redis_faults
from tests.chaos.faults import FAULTS

__all__ = ["FAULTS", "postgres_faults", "redis_faults"]
