"""The visits of a run: one loop a worker, each visit from its turn to the writer.

    acquire -> fetch -> judge -> release -> parse -> settle -> put

A host's next turn does not wait for parsing and storing; a page is yielded after its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol

from crawler.fetch import Fetcher
from crawler.fetch.robots import read as read_robots
from crawler.frontier.frontier import Frontier
from crawler.frontier.robots_visit import readable
from crawler.frontier.workbench import Refusal
from crawler.log import visited
from crawler.patient import PatientStore
from crawler.progress import Seen
from crawler.safemode import SafeMode
from crawler.visit import Extract, Kind, Outcome, Page, Visit
from crawler.writer import Writer
from storage.model import Settlement

UNPACKED = 40  # pages between parsing and the writer: each may have 10,000 links, which take 1 to 12 MB
LARGE = 1 << 20  # bytes of a body from which on it may take a parse worker for seconds

OnPages = Callable[[list[Page]], Awaitable[None]]


class Parser(Protocol):
    """What a visit needs of the parse workers."""

    @property
    def queued(self) -> int: ...

    async def parse(
        self,
        body: bytes,
        url: str,
        content_type: str | None,
        headers: Sequence[tuple[str, str]] = (),
        *,
        sitemap: bool = False,
    ) -> Extract: ...


class Visits:
    """Makes the visits the frontier hands out. ``done`` of them are durable; ``answered``: some server answered;
    ``seen``: what they answered."""

    def __init__(
        self,
        frontier: Frontier,
        fetcher: Fetcher,
        parser: Parser,
        store: PatientStore,
        safe: SafeMode,
        *,
        token: str,
        answered: bool,
        on_pages: OnPages | None,
    ) -> None:
        self.done = 0
        self.answered = answered
        self.seen = Seen()
        self._frontier = frontier
        self._fetcher = fetcher
        self._parser = parser
        self._store = store
        self._safe = safe
        self._token = token
        self._on_pages = on_pages
        self._pages: dict[int, tuple[Page, Any]] = {}  # to be yielded once they are durable, and the memory they hold
        self._unpacked = asyncio.Semaphore(UNPACKED)
        self._heavy = asyncio.Semaphore(1)  # a sitemap's 50,000 links take about 35 MB; and the other workers are left free

    async def loop(self, writer: Writer) -> None:
        """One worker's: visit after visit until the crawl is over."""
        while self._safe.on:
            async with self._safe.turn:
                if not await self._turn(writer):
                    return
                await self._safe.stored()
        while await self._turn(writer):
            pass

    async def committed(self, batch: Sequence[Settlement]) -> None:
        """These are durable: their hosts go on, their pages are yielded."""
        self.done += sum(s.url_id is not None for s in batch)
        self._frontier.settled(batch)
        self._safe.committed()
        if self._on_pages:
            held = [found for s in batch if s.url_id is not None and (found := self._pages.pop(s.url_id, None))]
            for _, share in held:
                if share is not None:
                    share.free()
            if held:
                await self._on_pages([page for page, _ in held])

    def starving(self) -> bool:
        """Whether what waits for its commit is wanted now."""
        return self._safe.on or self._frontier.starving()

    async def _turn(self, writer: Writer) -> bool:
        """One visit, or one refusal; False: the crawl is over."""
        turn = await self._frontier.acquire()
        if turn is None:
            return False
        if isinstance(turn, Refusal):
            self.answered |= turn.reason == "robots"
            await writer.put(self._frontier.refuse(turn))
            return True
        if self._safe.on:
            await self._store.alone(turn.id)
        await self._visit(turn, writer)
        return True

    async def _visit(self, visit: Visit, writer: Writer) -> None:
        outcome = await self._frontier.judge(visit, await self._fetcher.fetch(visit))
        self._frontier.release(visit, outcome)
        visited(visit.url, outcome.status, outcome.reason, outcome.elapsed_ms, outcome.wire_size)
        self.seen.add(visit, outcome)
        self.answered |= outcome.status is not None
        try:
            async with self._lane(visit, outcome):
                await writer.put(await self._settlement(visit, outcome))
        finally:
            if outcome.share is not None and (visit.id is None or visit.id not in self._pages):
                outcome.share.free()

    def _lane(self, visit: Visit, outcome: Outcome) -> asyncio.Semaphore:
        """Where it waits for its turn to be parsed: what takes long holds up only its like."""
        heavy = visit.kind is Kind.SITEMAP or len(outcome.body) >= LARGE
        return self._heavy if heavy else self._unpacked

    async def _settlement(self, visit: Visit, outcome: Outcome) -> Settlement:
        rules = None
        if visit.kind is Kind.ROBOTS and outcome.ok:
            outcome = replace(outcome, body=readable(outcome))
            rules = await read_robots(outcome.body, self._token)
        extract = await self._extract(visit, outcome)
        settlement = self._frontier.settle(visit, outcome, extract, rules)
        if self._on_pages and settlement.outcome == "page" and visit.id is not None:
            self._pages[visit.id] = _page(visit, outcome, extract, settlement), outcome.share
        return settlement

    async def _extract(self, visit: Visit, outcome: Outcome) -> Extract:
        """Digest, pack and, where it is HTML, parse the body of a 2xx answer; all of it in a parse worker."""
        if not outcome.ok:
            return Extract()
        if visit.kind is Kind.SITEMAP:
            return await self._parser.parse(outcome.body, visit.url, None, sitemap=True)
        if visit.kind is Kind.ROBOTS:
            return await self._parser.parse(outcome.body, visit.url, "application/octet-stream")
        if outcome.undecoded is not None:  # H3
            found = await self._parser.parse(outcome.body, visit.url, "application/octet-stream")
            return replace(found, parse=f"skipped: content-encoding {outcome.undecoded[:40]}")
        return await self._parser.parse(outcome.body, visit.url, outcome.header("content-type"), outcome.headers)


async def guarded(work: Coroutine[Any, Any, None]) -> None:
    """A task that ends cancelled though nobody cancelled it is a bug: its group would take that for an ordinary end, and
    what it had in hand would be waited for, for ever (FAULTS X9)."""
    try:
        await work
    except asyncio.CancelledError as error:
        if cancelled():
            raise
        raise RuntimeError(f"{work!r} was cancelled by nobody") from error


def cancelled() -> bool:
    """Whether someone cancelled this task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _page(visit: Visit, outcome: Outcome, extract: Extract, settlement: Settlement) -> Page:
    fetch = settlement.fetch
    assert fetch is not None
    return Page(
        visit.url,
        outcome.status or 0,
        extract.title,
        fetch.mime,
        extract.charset,
        visit.depth,
        outcome.body,
        outcome.headers,
        extract.links,
        extract.digest.hex(),
        outcome.elapsed_ms,
        outcome.truncated,
        extract.parse,
        extract.data,
    )
