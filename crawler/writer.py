"""The Writer: settlements in, group commits out. One transaction a second, or two hundred pages, whichever is first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from crawler.clock import Clock
from storage.links import Judged
from storage.model import Settlement, Tally
from storage.store import Store

BATCH = 200  # settlements in one transaction at most
READY = 100  # as many make a transaction worth its fsync (52 ms for 200 pages, DESIGN §7)
WEIGHT = 64 * 2**20  # bytes held at most, while the disk is slow or full (FAULTS D17)
LINK_WEIGHT = 700  # bytes a link of what is no page takes in memory; a sitemap may have 50,000
OLDEST = 1.0  # seconds a settlement waits at most: what a power cut may cost
POLL = 0.02  # seconds between two looks whether the frontier starves

OnCommit = Callable[[Sequence[Settlement]], Awaitable[None]]


class Writer:
    """Holds settlements until their commit. `put` waits while too many are held: a slow disk slows the crawl."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        tally: Callable[[], Tally],
        starving: Callable[[], bool],
        on_commit: OnCommit,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally
        self._starving = starving
        self._on_commit = on_commit
        self._held: list[Settlement] = []
        self._oldest = 0.0
        self._weight = 0
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._closing = False

    @property
    def backlog(self) -> int:
        return len(self._held)

    async def put(self, settlement: Settlement) -> None:
        """Hand over a settlement; durable when `on_commit` has been called with it."""
        while len(self._held) >= 2 * BATCH or self._weight >= WEIGHT:
            self._room.clear()
            await self._room.wait()
        if not self._held:
            self._oldest = self._clock.now()
        self._held.append(settlement)
        self._weight += weight(settlement)
        self._news.set()

    async def run(self) -> None:
        """Commit until `close`; then what is left. Raises StoreError when the store cannot be written."""
        while not (self._closing and not self._held):
            await self._wait()
            if self._held:
                await self._commit()

    def close(self) -> None:
        self._closing = True
        self._news.set()

    async def _wait(self) -> None:
        """Until a batch is worth its transaction, is a second old, or is what the frontier waits for."""
        while not self._closing:
            self._news.clear()
            age = self._clock.now() - self._oldest
            if len(self._held) >= READY or self._weight >= WEIGHT // 2:
                return
            if self._held and (age >= OLDEST or self._starving()):
                return
            try:
                async with asyncio.timeout(min(POLL, max(0.0, OLDEST - age)) if self._held else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _commit(self) -> None:
        batch, self._held = self._held[:BATCH], self._held[BATCH:]
        start = self._clock.now()
        await self._store.commit(batch, now=self._clock.wall(), tally=self._tally())
        self._oldest = start  # what came meanwhile is no older
        self._weight -= sum(map(weight, batch))
        self._room.set()
        await self._on_commit(batch)


def weight(settlement: Settlement) -> int:
    """About how many bytes of memory it holds. Of what an extractor found a character may take more than a byte."""
    data = settlement.fetch.data if settlement.fetch else None
    size = len(settlement.body.data) if settlement.body else 0
    links = settlement.links
    size += links.weight if isinstance(links, Judged) else LINK_WEIGHT * len(links)
    return size + 2 * len(data or "")
