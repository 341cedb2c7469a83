"""The engine: owns every task of a run. Seeds to a settled frontier; the order of stopping is the order of nesting.

    store ( connector ( writer ( feed, visits ) ) )

The first stop asks for no new visit and grants a grace to those in flight; the second takes the grace back. Whatever
happens, what was put into the writer is committed, and the rest is simply still queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from crawler.clock import Clock
from crawler.exclude_file import ExcludeFile
from crawler.fetch import Fetcher, ResolveError
from crawler.fetch.addresses import endpoint, group
from crawler.frontier.exclusions import Exclusions, listed, purged
from crawler.frontier.frontier import Frontier
from crawler.frontier.scope import Scope
from crawler.frontier.sitemap_visit import recalled
from crawler.frontier.supply import judge_again
from crawler.log import log
from crawler.patient import PatientStore
from crawler.progress import Meter, Snapshot, bound_by, classes, estimate
from crawler.safemode import SafeMode, quarantined
from crawler.spec import VERSION, CrawlSpec
from crawler.stop import GRACE, Stop
from crawler.text import printable
from crawler.visits import OnPages, Parser, Visits, cancelled, guarded
from crawler.writer import Writer
from storage.model import Counts, JsonObject, Place, Queued, Tally, record
from storage.store import Store, StoreBlocked

WATCH = 1.0  # seconds between two looks at the disk, the exclude file and the progress
COUNTING = 50  # times as long as counting took, until the next: a sum over all hosts, 60 ms at 100,000
COUNTED = 30.0  # seconds until the next, at most: a count that waited for the store says nothing about the next one
BLOCKED_GRACE = 2.0  # as long, while the store cannot be written: what is fetched now is probably lost


@record
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


OnProgress = Callable[[Snapshot], None]


class Engine:
    """One run over an open store. `run` may be called once.

    ``on_pages`` gets pages after their commit and is waited for: a slow reader slows the crawl. ``on_progress`` is
    called each second. ``beside`` is entered while visits are made. ``note`` gets sentences a person should read.
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
        beside: Callable[[Engine], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
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
        self._meter, self._wire = Meter(), Meter()
        self._limit = False
        self._timer: asyncio.TimerHandle | None = None
        self._recording = asyncio.Lock()
        self._beside = beside
        self._progress: dict[str, Any] = {}
        self._note = note

    async def run(self, seeds: Sequence[Place], asked: CrawlSpec | None = None, *, rescope: bool = False) -> Ending:
        """Crawl until nothing falls due within the patience, a limit is reached, or a stop is asked for.

        ``asked``: what is stored as this run's spec, where this machine made us change it.
        ``rescope``: the rules have changed since the last run; what is queued or was refused is judged again first.
        """
        self._start = self.clock.now()
        self._asked = asked or self.spec
        begun = await self.store.begin(
            now=self.clock.wall(),
            version=VERSION,
            spec=self._asked.to_json(),
            seeds=seeds,
            max_depth=self.spec.max_depth,
            budgets=self.spec.budgets,
            rescope=rescope,
        )
        self._purged = purged(begun.excluded)
        scope = Scope(self.spec, begun.seeds, self._exclusions())
        if begun.rescope:
            await judge_again(self.store, scope, now=self.clock.wall())
            await self._recall(scope, {place.host for place in begun.seeds})
        await self._quarantine(begun.suspects)
        self._counts = await self.store.counts()
        self.frontier = Frontier(self.spec, self.store, scope, self._address, self.clock, begun)
        self.store.pause = self.frontier.pause
        self.visits = Visits(
            self.frontier,
            self.fetcher,
            self.parser,
            self.store,
            SafeMode(begun, self.spec.connections, self._note),
            token=self.spec.token,
            answered=begun.answered,
            on_pages=self._on_pages,
        )
        self.writer = Writer(
            self.store, self.clock, tally=self._tally, starving=self.visits.starving, on_commit=self.visits.committed
        )
        writing = asyncio.create_task(self.writer.run())
        try:
            try:
                async with self._beside(self):
                    await self._visits(writing)
            finally:
                with self._excused():
                    await self._drain(writing)
        except asyncio.CancelledError:
            self.store.hurry(0.0)
            with self._excused():
                await self.store.end("interrupted", now=self.clock.wall(), tally=self._tally())
            raise
        return await self._end(self.clock.now() - self._start)

    async def _recall(self, scope: Scope, hosts: set[str]) -> None:
        """Sitemaps may be wanted that were not."""
        if self.spec.sitemaps == "ignore":
            return
        rows = await self.store.hosts(0, horizon=0, names=hosts)
        found = recalled(rows, scope)
        if found:
            await self.store.commit(found, now=self.clock.wall())

    async def _quarantine(self, suspects: Sequence[Queued]) -> None:
        for row in suspects:
            await self.store.commit([quarantined(row)], now=self.clock.wall())
            self._note(f"set aside, for the crawl died twice while it was alone in flight: {printable(row.place.url)}")

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
                self._limit_time()
                watching = whole.create_task(guarded(self._watch()))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(guarded(self._feed()))
                    for _ in range(self.spec.tasks):
                        tasks.create_task(guarded(self.visits.loop(self.writer)))
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

    def _limit_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.spec.max_time is not None:
            left = self.spec.max_time - (self.clock.now() - self._start)
            self._timer = asyncio.get_running_loop().call_later(max(0.0, left), self._out_of_time)

    def _out_of_time(self) -> None:
        self._limit = True
        self.stop.end(GRACE)

    async def _address(self, place: Place) -> tuple[str, tuple[str, ...]] | None:
        """(politeness group, pinned addresses) of a place's host; None: the fetch itself will say what is wrong."""
        try:
            addresses = await self.fetcher.resolve(*endpoint(place))
        except (ResolveError, OSError):
            return None
        except asyncio.CancelledError:
            if cancelled():
                raise
            return None
        return (group(addresses[0]), addresses) if addresses else (f"by proxy: {place.host}", ())

    # --- what others change in it

    def change(self, settings: Mapping[str, Any]) -> None:
        """Other settings from now on, of those that `crawler.orders` lets a running crawl change. Raises BadSpec, and then
        nothing has changed."""
        before, self.spec = self.spec, self.spec.changed(**settings)
        self._asked = self._asked.changed(**settings)
        self.frontier.change(self.spec)
        if self.spec.exclude_host != before.exclude_host:
            self.frontier.exclude(self._exclusions())
        if self.spec.max_time != before.max_time:
            self._limit_time()

    async def record(self, changes: Sequence[JsonObject], *, rescope: bool = False) -> None:
        """Note what was changed, with the settings as they are now; durable when this returns."""
        self._progress = self.snapshot().to_json()
        async with self._recording:
            spec, now = self._asked.to_json(), self.clock.wall()
            await self.store.record(changes, now=now, spec=spec, tally=self._tally(), rescope=rescope)

    # --- what others see of it

    async def _watch(self) -> None:
        count_at = 0.0
        while True:
            self.store.look(self.spec.min_free)
            if self._exclude is not None and self._exclude.poll():
                self.frontier.exclude(self._exclusions())
            snapshot = self.snapshot()
            self._progress = snapshot.to_json()
            if self._on_progress:
                self._on_progress(snapshot)
            await asyncio.sleep(WATCH)
            if (now := self.clock.now()) >= count_at:
                with self._excused():
                    self._counts = await self.store.counts()
                count_at = self.clock.now() + min(COUNTING * (self.clock.now() - now), COUNTED)

    def _exclusions(self) -> Exclusions:
        listed_in_file = self._exclude.rules if self._exclude else ()
        return Exclusions(self._purged + listed(self.spec.exclude_host) + listed_in_file)

    def snapshot(self) -> Snapshot:
        """The crawl as it is now."""
        stats, load, now = self.fetcher.stats, self.frontier.load(), self.clock.now()
        rate, parsing, backlog = self._meter.add(now, self.visits.done), self.parser.queued, self.writer.backlog
        eta, why = estimate(self._counts, rate)
        return Snapshot(
            self._counts,
            replace(stats),
            rate,
            self._wire.add(now, stats.bytes),
            bound_by(load, self.spec, rate=rate, parsing=parsing, backlog=backlog),
            eta,
            why,
            load,
            classes(self.visits.seen.answers),
            tuple(reversed(self.visits.seen.errors)),
            self.visits.done,
            now - self._start,
            parsing,
            backlog,
            len(asyncio.all_tasks()),
        )

    def _tally(self) -> Tally:
        stats = self.fetcher.stats
        return Tally(stats.requests, stats.opened, stats.reused, stats.bytes, self._progress)

    async def _end(self, seconds: float) -> Ending:
        counts, tally = self._counts, self._tally()
        with self._excused():
            counts = await self.store.counts()
        state, pending = self._state(counts), None
        if state == "deferred":
            pending = await self.store.pending(now=self.clock.wall())
            state = "complete" if pending.revisits else state
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
            self.visits.answered,
        )

    def _state(self, counts: Counts) -> str:
        if self.stop.asked:
            return "interrupted"
        if self._limit or self.frontier.limit_reached:
            return "limit"
        return "deferred" if counts.queued else "complete"
