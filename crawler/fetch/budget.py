"""The bytes of large bodies in memory, over all fetches and until each is stored (FAULTS X2).

Bodies up to `SMALL` bytes are not counted, so an ordinary page costs one comparison. While the budget is used up, larger
ones wait before they grow, all but the oldest that is still coming in: so they never all wait for each other.
"""

from __future__ import annotations

import asyncio

SMALL = 256 << 10
LIMIT = 48 << 20  # with the last one in excess, packed bodies and 132 small ones the process grows by less than 256 MiB


class Share:
    """What one body takes of the budget. `ended`: it grows no more; `free`: it is stored, or dropped."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget, self.size = budget, 0

    def ended(self) -> None:
        self._budget._growing.pop(self, None)
        self._budget._wake()

    def free(self) -> None:
        self._budget.held -= self.size
        self.size = 0
        self.ended()


class Budget:
    """``held`` bytes now. Only what is large waits for room: hosts that sit on large bodies, or send bombs, leave
    everyone's pages alone."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit, self.held = limit, 0
        self._growing: dict[Share, None] = {}  # the oldest first
        self._waiting: list[asyncio.Future[None]] = []

    def hold(self, share: Share | None, size: int) -> Share:
        """The share of a body that has this size now; its first one where it had none."""
        if share is None:
            share = Share(self)
            self._growing[share] = None
        self.held += size - share.size
        share.size = size
        return share

    def full(self, share: Share | None) -> bool:
        """Whether a body must wait before it grows beyond `SMALL`."""
        if self.held < self.limit:
            return False
        return share is None or share is not next(iter(self._growing))

    async def room(self, share: Share | None) -> None:
        """Waits until the budget is not full any more for this body."""
        while self.full(share):
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed

    def _wake(self) -> None:
        for freed in self._waiting:
            if not freed.done():
                freed.set_result(None)
        self._waiting.clear()
