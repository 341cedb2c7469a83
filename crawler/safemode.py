"""Safe mode: how a crawl gets past a URL that makes its own process die (FAULTS P11).

Three deaths with no commit between them, and visits are made one at a time, each noted in the file before it goes out. A
URL that two deaths were alone with is set aside; nothing else can be blamed for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from storage.model import Begun, Queued, Settlement

DEATHS = 3
VISITS = 200  # on top of the connections: as many visits a dead run may have had in hand
WHY = "the crawl died twice while this was the only URL in flight"


class SafeMode:
    """Counts the visits that are still to be made alone. ``left`` 0: it is off."""

    def __init__(self, begun: Begun, connections: int, note: Callable[[str], None]) -> None:
        self.left = connections + VISITS if begun.deaths >= DEATHS or begun.died_alone else 0
        self.turn = asyncio.Lock()
        self._stored = asyncio.Event()
        self._note = note
        if self.left:
            note(
                f"this crawl has died {begun.deaths} times with nothing stored in between: the next {self.left} visits are "
                "made one at a time, to find the URL that does it"
            )

    @property
    def on(self) -> bool:
        return self.left > 0

    async def stored(self) -> None:
        """Wait for the commit of the visit just made."""
        await self._stored.wait()
        self._stored.clear()
        self.left -= 1
        if not self.left:
            self._note("safe mode is over: nothing has died; the crawl goes on as usual")

    def committed(self) -> None:
        self._stored.set()


def quarantined(row: Queued) -> Settlement:
    """What becomes of a URL that is to blame: a failure that is final."""
    return Settlement(row.place, row.id, row.depth, "failure", "quarantined", WHY, None, row.attempts, role=row.role)
