"""The engine: owns every task of a run. Seeds to a settled frontier; the order of stopping is the order of nesting.

    store ( connector ( writer ( feed, visits ) ) )

The first stop asks for no new visit and grants a grace to those in flight; the second takes the grace back. Whatever
happens, what was put into the writer is committed, and the rest is simply still queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from crawler.clock import Clock
from crawler.exclude_file import ExcludeFile
from crawler.fetch import Fetcher, ResolveError
from crawler.fetch.addresses import endpoint, group
from crawler.fetch.robots import read as read_robots
from crawler.frontier.exclusions import Exclusions, purged
from crawler.frontier.frontier import Frontier
from crawler.frontier.robots_visit import readable
from crawler.frontier.scope import Scope
from crawler.frontier.sitemap_visit import recalled
from crawler.frontier.supply import judge_again
from crawler.frontier.workbench import Refusal
from crawler.log import log, visited
from crawler.patient import PatientStore
from crawler.progress import Meter, Snapshot, bound_by, estimate
from crawler.safemode import SafeMode, quarantined
from crawler.spec import VERSION, CrawlSpec
from crawler.text import printable
from crawler.visit import Extract, Kind, Outcome, Page, Visit
from crawler.writer import Writer
from storage.model import Counts, Place, Queued, Settlement, Tally
from storage.store import Store, StoreBlocked

UNPACKED = 24  # pages between parsing and the writer: each may have 10,000 links, about 7 MB
WATCH = 1.0  # seconds between two looks at the disk, the exclude file and the progress
GRACE = 8.0  # seconds fetches in flight may take after the first stop (FAULTS D5, D6)
BLOCKED_GRACE = 2.0  # as long, while the store cannot be written: what is fetched now is probably lost


class Parser(Protocol):
    """What the engine needs of the parse workers."""

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


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. ``state``: 'complete' (nothing but revisits is queued), 'deferred' (rows are due beyond the
    patience, the first at ``next_at``, Unix ms), 'limit' (one that was asked for) or 'interrupted'."""

    state: str
    counts: Counts
    requests: int
    connections: int
    reused: int
    bytes: int
    seconds: float
    next_at: int | None = None
    answered: bool = True  # whether any seed answered, in this run or before


class Stop:
    """A way to ask a running crawl to end: `ask` once for a clean stop, twice to drop what is in flight."""

    def __init__(self) -> None:
        self.asked = 0
        self._hooks: list[Callable[[float], None]] = []

    def calls(self, hook: Callable[[float], None]) -> None:
        """``hook`` gets the grace in seconds at each ask; at once, if it was asked already."""
        self._hooks.append(hook)
        if self.asked:
            hook(0.0)

    def end(self, grace: float) -> None:
        """End what listens, without having been asked."""
        for hook in self._hooks:
            hook(grace)

    def silence(self) -> None:
        """Nobody listens any more; asks still count."""
        self._hooks.clear()

    def ask(self) -> bool:
        """Ask for the end; whether anybody listened."""
        self.asked += 1
        for hook in self._hooks:
            hook(GRACE if self.asked == 1 else 0.0)
        return bool(self._hooks)


OnPages = Callable[[list[Page]], Awaitable[None]]
OnProgress = Callable[[Snapshot], None]


class Engine:
    """One run over an open store. `run` may be called once.

    ``on_pages`` gets pages after their commit and is waited for: a slow reader slows the crawl. ``on_progress`` is
    called each second. ``note`` gets sentences a person should read.
    """

    def __init__(
        self,
        spec: CrawlSpec,
        store: Store,
        fetcher: Fetcher,
        parser: Parser,
        clock: Clock,
        stop: Stop,
        *,
        on_pages: OnPages | None = None,
        on_progress: OnProgress | None = None,
        exclude: ExcludeFile | None = None,
        note: Callable[[str], None] = log.warning,
    ) -> None:
        self.spec = spec
        self.store = PatientStore(store, clock, note)
        self.fetcher = fetcher
        self.parser = parser
        self.clock = clock
        self.stop = stop
        self._on_pages = on_pages
        self._on_progress = on_progress
        self._exclude = exclude
        self._unpacked = asyncio.Semaphore(UNPACKED)
        self._surveying = asyncio.Semaphore(1)  # a sitemap may have 50,000 links, about 35 MB
        self._pages: dict[int, Page] = {}  # to be yielded once they are durable
        self._meter = Meter()
        self._done = 0
        self._limit = False
        self._progress: dict[str, Any] = {}
        self._answered = False
        self._note = note

    async def run(self, seeds: Sequence[Place], asked: CrawlSpec | None = None, *, rescope: bool = False) -> Ending:
        """Crawl until nothing falls due within the patience, a limit is reached, or a stop is asked for.

        ``asked``: what is stored as this run's spec, where this machine made us change it.
        ``rescope``: the rules have changed since the last run; what is queued or was refused is judged again first.
        """
        start = self.clock.now()
        begun = await self.store.begin(
            now=self.clock.wall(),
            version=VERSION,
            spec=(asked or self.spec).to_json(),
            seeds=seeds,
            max_depth=self.spec.max_depth,
            budgets=self.spec.budgets,
        )
        self._purged = purged(begun.excluded)
        scope = Scope(self.spec, begun.seeds, self._exclusions())
        if rescope or begun.rescope:
            await judge_again(self.store, scope, now=self.clock.wall())
            await self._recall(scope, {place.host for place in begun.seeds})
        await self._quarantine(begun.suspects)
        self._counts = await self.store.counts()
        self._safe = SafeMode(begun, self.spec.connections, self._note)
        self._answered = begun.answered
        self.frontier = Frontier(self.spec, self.store, scope, self._address, self.clock, begun)
        self.store.pause = self.frontier.pause
        self.writer = Writer(
            self.store, self.clock, tally=self._tally, starving=self._starving, on_commit=self._committed
        )
        writing = asyncio.create_task(self.writer.run())
        try:
            try:
                await self._visits(writing)
            finally:
                with self._excused():
                    await self._drain(writing)
        except asyncio.CancelledError:
            self.store.hurry(0.0)
            with self._excused():
                await self.store.end("interrupted", now=self.clock.wall(), tally=self._tally())
            raise
        return await self._end(self.clock.now() - start)

    async def _recall(self, scope: Scope, hosts: set[str]) -> None:
        """Sitemaps may be wanted that were not."""
        if self.spec.sitemaps == "ignore":
            return
        rows = await self.store.hosts(0, horizon=0, names=hosts)
        found = recalled(rows, scope)
        if found:
            await self.store.commit(found, now=self.clock.wall())

    async def _visits(self, writing: asyncio.Task[None]) -> None:
        """The feed and the visit loops, in one group under one grace: an exception in any of them ends them all."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as grace, asyncio.TaskGroup() as whole:

                def stop(seconds: float) -> None:
                    self.frontier.stop()
                    seconds = min(seconds, BLOCKED_GRACE) if self.store.blocked else seconds
                    self.store.hurry(seconds)
                    with suppress(RuntimeError):  # the grace is just over
                        grace.reschedule(loop.time() + seconds)

                self.stop.calls(stop)
                writing.add_done_callback(lambda _: self.stop.end(0.0))  # nothing is fetched that cannot be stored
                if self.spec.max_time is not None:
                    loop.call_later(self.spec.max_time, self._out_of_time)
                watching = whole.create_task(_whole(self._watch()))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_whole(self._feed()))
                    for _ in range(self.spec.tasks):
                        tasks.create_task(_whole(self._visit_loop()))
                watching.cancel()
        except TimeoutError:
            return  # the grace is over; what was in flight is still queued
        finally:
            self.stop.silence()

    async def _drain(self, writing: asyncio.Task[None]) -> None:
        """What was put is committed, whoever is cancelled meanwhile: this task, or the writer's with the whole loop."""
        self.writer.close()
        cancelled = False
        while not writing.done():
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                cancelled = True
                self.store.hurry(0.0)
        if writing.cancelled():
            await self.writer.run()
        elif (error := writing.exception()) is not None:
            raise error
        if cancelled or writing.cancelled():
            raise asyncio.CancelledError

    @contextmanager
    def _excused(self) -> Iterator[None]:
        """Who stops a crawl whose store cannot be written leaves what was not stored where it is: queued."""
        try:
            yield
        except StoreBlocked as error:
            if not self.stop.asked:
                raise
            self._note(f"{error}. What could not be stored is still queued; `crawler resume` fetches it again")

    async def _feed(self) -> None:
        with self._excused():
            await self.frontier.feed()
        if self.frontier.network.down:
            self._note(f"the run ends here: {self.frontier.network.down}; what is queued stays queued")

    def _out_of_time(self) -> None:
        self._limit = True
        self.stop.end(GRACE)

    # --- a visit

    async def _visit_loop(self) -> None:
        while self._safe.on:
            async with self._safe.turn:
                if not await self._turn():
                    return
                await self._safe.stored()
        while await self._turn():
            pass

    async def _turn(self) -> bool:
        """One visit, or one refusal; False: the crawl is over."""
        turn = await self.frontier.acquire()
        if turn is None:
            return False
        if isinstance(turn, Refusal):
            self._answered = True
            await self.writer.put(self.frontier.refuse(turn))
            return True
        if self._safe.on:
            await self.store.alone(turn.id)
        await self._visit(turn)
        return True

    async def _quarantine(self, suspects: Sequence[Queued]) -> None:
        for row in suspects:
            await self.store.commit([quarantined(row)], now=self.clock.wall())
            self._note(f"set aside, for the crawl died twice while it was alone in flight: {printable(row.place.url)}")

    def _starving(self) -> bool:
        return self._safe.on or self.frontier.starving()

    async def _visit(self, visit: Visit) -> None:
        outcome = await self.frontier.judge(visit, await self.fetcher.fetch(visit))
        self.frontier.release(visit, outcome)
        visited(visit.url, outcome.status, outcome.reason, outcome.elapsed_ms, outcome.wire_size)
        self._answered |= outcome.status is not None
        try:
            async with self._surveying if visit.kind is Kind.SITEMAP else self._unpacked:
                await self._settle(visit, outcome)
        finally:
            if outcome.share is not None:
                outcome.share.free()

    async def _settle(self, visit: Visit, outcome: Outcome) -> None:
        rules = None
        if visit.kind is Kind.ROBOTS and outcome.ok:
            outcome = replace(outcome, body=readable(outcome))
            rules = await read_robots(outcome.body, self.spec.token)
        extract = await self._extract(visit, outcome)
        settlement = self.frontier.settle(visit, outcome, extract, rules)
        if self._on_pages and settlement.outcome == "page" and visit.id is not None:
            self._pages[visit.id] = _page(visit, outcome, extract, settlement)
        await self.writer.put(settlement)

    async def _extract(self, visit: Visit, outcome: Outcome) -> Extract:
        """Digest, pack and, where it is HTML, parse the body of a 2xx answer; all of it in a parse worker."""
        if not outcome.ok:
            return Extract()
        if visit.kind is Kind.SITEMAP:
            return await self.parser.parse(outcome.body, visit.url, None, sitemap=True)
        if visit.kind is Kind.ROBOTS:
            return await self.parser.parse(outcome.body, visit.url, "application/octet-stream")
        if outcome.undecoded is not None:  # H3
            found = await self.parser.parse(outcome.body, visit.url, "application/octet-stream")
            return replace(found, parse=f"skipped: content-encoding {outcome.undecoded[:40]}")
        return await self.parser.parse(outcome.body, visit.url, outcome.header("content-type"), outcome.headers)

    async def _address(self, place: Place) -> tuple[str, tuple[str, ...]] | None:
        """(politeness group, pinned addresses) of a place's host; None: the fetch itself will say what is wrong."""
        try:
            addresses = await self.fetcher.resolve(*endpoint(place))
        except (ResolveError, OSError):
            return None
        except asyncio.CancelledError:
            if _cancelled():
                raise
            return None
        return (group(addresses[0]), addresses) if addresses else (f"by proxy: {place.host}", ())

    async def _committed(self, batch: Sequence[Settlement]) -> None:
        self._done += sum(s.url_id is not None for s in batch)
        self.frontier.settled(batch)
        self._safe.committed()
        if self._on_pages:
            pages = [page for s in batch if s.url_id is not None and (page := self._pages.pop(s.url_id, None))]
            if pages:
                await self._on_pages(pages)

    # --- what others see of it

    async def _watch(self) -> None:
        while True:
            self.store.look(self.spec.min_free)
            if self._exclude is not None and self._exclude.poll():
                self.frontier.exclude(self._exclusions())
            snapshot = self.snapshot()
            self._progress = snapshot.to_json()
            if self._on_progress:
                self._on_progress(snapshot)
            await asyncio.sleep(WATCH)
            with self._excused():
                self._counts = await self.store.counts()

    def _exclusions(self) -> Exclusions:
        return Exclusions(self._purged + (self._exclude.rules if self._exclude else ()))

    def snapshot(self) -> Snapshot:
        """The crawl as it is now."""
        stats, load, now = self.fetcher.stats, self.frontier.load(), self.clock.now()
        rate = self._meter.add(now, self._done)
        bound = bound_by(load, self.spec, rate=rate, parsing=self.parser.queued, backlog=self.writer.backlog)
        eta, why = estimate(self._counts, rate)
        return Snapshot(
            self._counts, stats.requests, stats.opened, stats.reused, stats.bytes, rate, bound, eta, why, load,
            len(asyncio.all_tasks()),
        )  # fmt: skip

    def _tally(self) -> Tally:
        stats = self.fetcher.stats
        return Tally(stats.requests, stats.opened, stats.reused, stats.bytes, self._progress)

    async def _end(self, seconds: float) -> Ending:
        counts, tally = self._counts, self._tally()
        with self._excused():
            counts = await self.store.counts()
        state = self._state(counts)
        pending = await self.store.pending(now=self.clock.wall()) if state == "deferred" else None
        with self._excused():
            await self.store.end(state, now=self.clock.wall(), tally=tally)
        return Ending(
            state,
            counts,
            tally.requests,
            tally.connections,
            tally.reused,
            tally.bytes,
            seconds,
            pending.next_at if pending else None,
            self._answered,
        )

    def _state(self, counts: Counts) -> str:
        if self.stop.asked:
            return "interrupted"
        if self._limit or self.frontier.limit_reached:
            return "limit"
        return "deferred" if counts.queued else "complete"


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """A task that ends cancelled though nobody cancelled it is a bug: its group would take that for an ordinary end, and
    what it had in hand would be waited for, for ever (FAULTS X9)."""
    try:
        await work
    except asyncio.CancelledError as error:
        if _cancelled():
            raise
        raise RuntimeError(f"{work!r} was cancelled by nobody") from error


def _cancelled() -> bool:
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
