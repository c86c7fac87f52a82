"""All kinds of fault, whichever file they stand in."""

from tests.chaos import clocks, moments, object_faults, poison, postgres_faults, redis_faults
from tests.chaos.faults import FAULTS

__all__ = [
    "FAULTS",
    "clocks",
    "moments",
    "object_faults",
    "poison",
    "postgres_faults",
    "redis_faults",
]
