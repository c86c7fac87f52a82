"""Which workers are dead, as the dispatcher finds out from round to round."""

import time

from hearsight_core.store import sessions
from hearsight_core.store.database import Database

LOOK_AGAIN_S = 0.9
"""Time between the two looks that find a worker without its session: one whose connection was cut
begins a new one at once."""

BACK_AFTER_S = 5.0
"""How long workers have to begin sessions anew after PostgreSQL was away."""


class Missing:
    """Which workers are dead: those found without their session twice, with a pause between."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._from = 0.0

    def forget(self) -> None:
        """Begins anew: another process led, and what was seen is old."""
        self._seen = {}

    def wait(self) -> None:
        """Begins anew after a while: the sessions of the living may have been lost with ours."""
        self._seen = {}
        self._from = time.monotonic() + BACK_AFTER_S

    def look(self, database: Database) -> frozenset[str]:
        """Names the workers that are dead.

        Raises:
            DatabaseError: PostgreSQL is away.
        """
        now = time.monotonic()
        if now < self._from:
            return frozenset()
        without = sessions.without_session(database)
        self._seen = {worker: self._seen.get(worker, now) for worker in without}
        return frozenset(
            worker for worker, since in self._seen.items() if now - since >= LOOK_AGAIN_S
        )
