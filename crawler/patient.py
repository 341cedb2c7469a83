"""A store that is asked again for as long as what keeps it from working may pass: a full disk, another program's lock.

Nobody is fetched from meanwhile and nobody is charged; what was settled waits in memory, which the writer bounds.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

from crawler.clock import Clock
from storage.model import (
    BUDGETS,
    Begun,
    Budgets,
    Counts,
    HostRow,
    JsonObject,
    Pending,
    Place,
    Queued,
    Settlement,
    Tally,
)
from storage.store import Judge, Store, StoreBlocked, StoreFull

T = TypeVar("T")

LOOK = 1.0  # seconds between two looks at the room on the disk, and at a lock
FULL_RETRY = 30.0  # seconds between two tries while no room is seen to return: a quota shows none
MIN_FREE = 512 * 2**20  # bytes on the disk below which nobody is asked, unless --min-free says otherwise (FAULTS D10)
LONG_LOG = 256 * 2**20  # bytes of write-ahead log that deserve a warning (FAULTS D15)
WORDS = """{error}. Nothing is fetched until it can be written, and nobody is charged; the crawl then goes on by itself.
Ctrl-C ends it cleanly"""
PINNED = "some program has been reading the file since; close it, or give it a copy (docs/operations.md, Backup)"


class PatientStore:
    """A `Store` whose calls raise `StoreBlocked` only after `hurry`'s time is over. Everything else passes through.

    ``pause(seconds, why)`` is called each second while it is blocked; ``note`` gets a sentence when that begins and
    one when it has passed.
    """

    def __init__(self, store: Store, clock: Clock, note: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._note = note
        self._said: set[str] = set()  # warnings that hold now
        self._blocked = 0  # calls that are being tried again
        self._deadline = math.inf
        self._hurried = asyncio.Event()
        self.pause: Callable[[float, str], None] = lambda seconds, why: None

    @property
    def blocked(self) -> bool:
        return self._blocked > 0

    def hurry(self, seconds: float) -> None:
        """The run ends: what is still blocked in so many seconds is given up."""
        self._deadline = min(self._deadline, self._clock.now() + seconds)
        self._hurried.set()

    def look(self, min_free: int | None) -> None:
        """To be called each second: a disk that fills is left alone before it is full, and a reader that keeps the
        write-ahead log from being folded in is named. ``min_free``: bytes; None: `MIN_FREE`, or twice the log."""
        room, unfolded = self.room(), self.unfolded()
        least = max(MIN_FREE, 2 * unfolded) if min_free is None else min_free
        short = room is not None and room < least
        if short:
            why = f"the disk has {(room or 0) / 2**20:,.0f} MiB free, --min-free asks for {least / 2**20:,.0f}"
            self.pause(2 * LOOK, why)
            self._warn("room", f"{why}: nobody is asked until there is more")
        if unfolded > LONG_LOG:
            self._warn("log", f"the write-ahead log has grown to {unfolded / 2**20:,.0f} MiB: {PINNED}")
        self._said -= {name for name, holds in (("room", short), ("log", unfolded > LONG_LOG)) if not holds}

    def _warn(self, name: str, text: str) -> None:
        if name not in self._said:
            self._said.add(name)
            self._note(text)

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except StoreBlocked as error:
            found = error
        began = self._clock.now()
        self._blocked += 1
        if self._blocked == 1:
            self._note(WORDS.format(error=found))
        try:
            while self._clock.now() < self._deadline:
                await self._wait(found)
                try:
                    result = await call()
                except StoreBlocked as error:
                    found = error
                else:
                    self._note(f"the crawl file can be written again after {self._clock.now() - began:.0f} s")
                    return result
            raise found
        finally:
            self._blocked -= 1

    async def _wait(self, error: StoreBlocked) -> None:
        """Until the next try is due, more room is seen, or time is over; with dispatch held back."""
        full = isinstance(error, StoreFull)
        room, until = self.room() or 0, self._clock.now() + (FULL_RETRY if full else LOOK)
        while (left := min(until, self._deadline) - self._clock.now()) > 0:
            self.pause(2 * LOOK, str(error))
            self._hurried.clear()
            try:
                async with asyncio.timeout(min(left, LOOK)):
                    await self._hurried.wait()
            except TimeoutError:
                if full and (self.room() or 0) > room:
                    return

    # --- the protocol

    async def begin(
        self,
        *,
        now: int,
        version: str,
        spec: JsonObject,
        seeds: Sequence[Place],
        max_depth: int | None,
        budgets: Budgets = BUDGETS,
        rescope: bool = False,
    ) -> Begun:
        begin = partial(self._store.begin, now=now, version=version, spec=spec, seeds=seeds)
        return await self._insist(partial(begin, max_depth=max_depth, budgets=budgets, rescope=rescope))

    async def hosts(
        self, limit: int, *, horizon: int, held: Collection[int] = (), names: Collection[str] | None = None
    ) -> list[HostRow]:
        return await self._insist(partial(self._store.hosts, limit, horizon=horizon, held=held, names=names))

    async def due(
        self, hosts: Collection[int], each: int, *, horizon: int, held: Collection[int] = (), revisits: bool = False
    ) -> list[Queued]:
        due = partial(self._store.due, hosts, each, horizon=horizon, held=held)
        return await self._insist(partial(due, revisits=revisits))

    async def commit(self, batch: Sequence[Settlement], *, now: int, tally: Tally | None = None) -> None:
        await self._insist(partial(self._store.commit, batch, now=now, tally=tally))

    async def alone(self, url_id: int | None) -> None:
        await self._insist(partial(self._store.alone, url_id))

    async def rescope(self, judge: Judge, *, now: int, links: bool = True) -> int:
        return await self._insist(partial(self._store.rescope, judge, now=now, links=links))

    async def refuse(self, host_id: int, reason: str, detail: str, *, revisits: bool = True) -> int:
        return await self._insist(partial(self._store.refuse, host_id, reason, detail, revisits=revisits))

    async def postpone(self, hosts: Mapping[int, int], why: str) -> None:
        await self._insist(partial(self._store.postpone, hosts, why))

    async def record(
        self,
        changes: Sequence[JsonObject],
        *,
        now: int,
        spec: JsonObject,
        tally: Tally | None = None,
        rescope: bool = False,
    ) -> None:
        record = partial(self._store.record, changes, now=now, spec=spec)
        await self._insist(partial(record, tally=tally, rescope=rescope))

    async def counts(self) -> Counts:
        return await self._insist(self._store.counts)

    def room(self) -> int | None:
        return self._store.room()

    def unfolded(self) -> int:
        return self._store.unfolded()

    async def pending(self, *, now: int) -> Pending:
        return await self._insist(partial(self._store.pending, now=now))

    async def revisit_at(self) -> int | None:
        return await self._insist(self._store.revisit_at)

    async def end(self, ending: str, *, now: int, tally: Tally | None = None) -> None:
        await self._insist(partial(self._store.end, ending, now=now, tally=tally))
