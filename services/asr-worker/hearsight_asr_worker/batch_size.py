"""How large a batch may be, as far as the device has shown."""

_GROW_AFTER = 50


class BatchSize:
    """The largest batch to try: less once the device had no room, and more again later.

    The memory that was missing may have been somebody else's for a while. So after `_GROW_AFTER`
    batches that filled the limit and fitted, twice as many are tried; where that fails, the next
    such try waits for twice as many batches. Not for several threads at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._patience = _GROW_AFTER
        self._fitted = 0
        self._tried_more = False
        self.limit = most
        """How many items a batch may hold now."""

    def fitted(self, size: int) -> None:
        """A batch of `size` items found room."""
        if size < self.limit or self.limit == self._most:
            return
        self._fitted += 1
        if self._fitted >= self._patience:
            self.limit = min(self._most, 2 * self.limit)
            self._fitted = 0
            self._tried_more = True

    def too_large(self, half: int) -> None:
        """A batch found no room; half of it has `half` items."""
        if self._tried_more:
            self._patience *= 2
            self._tried_more = False
        self.limit = min(self.limit, half)
        self._fitted = 0
