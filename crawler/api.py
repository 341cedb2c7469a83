"""The library's face, and where a crawl is put together: the one place that joins `crawler` and `storage`.

The command line is its first user.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from crawler.clock import SystemClock, ms
from crawler.control import controlled
from crawler.descriptors import fitted
from crawler.engine import Ending, Engine, OnProgress
from crawler.exclude_file import ExcludeFile
from crawler.fetch.addresses import literal
from crawler.fetch.tls import late_authorities
from crawler.frontier.exclusions import BadExclusion, listed
from crawler.hosts import PACE
from crawler.log import exposed, log
from crawler.parse.pool import ParsePool
from crawler.revisit import NEVER, policy
from crawler.spec import BUDGET_SETTINGS, BadSpec, CrawlSpec, from_mapping
from crawler.stop import Stop
from crawler.text import discreet
from crawler.url import InvalidUrl, admit
from crawler.visit import Page
from crawler.visits import OnPages
from storage.model import JsonObject, Place
from storage.reader import Reader, RunInfo, open_reader
from storage.sqlite import SqliteStore
from storage.store import StoreUnreadable

__all__ = ["Ending", "Stop", "crawl", "run", "run_async"]

RULES = (
    "scope", "include", "exclude", "host", "exclude_file", "exclude_host", "max_depth", "max_pages_per_host", "robots",
    "sitemaps",
)  # fmt: skip
SCOPE_SETTINGS = (*RULES, *BUDGET_SETTINGS)


def seed_places(spec: CrawlSpec) -> list[Place]:
    """The seeds, admitted. Raises BadSpec naming the first that is no http(s) URL."""
    places = []
    for seed in spec.seeds:
        try:
            places.append(admit(seed))
        except InvalidUrl as error:
            why = str(error).removesuffix(f": {seed[:120]!r}")  # cut in the middle of a password it could not be hidden
            raise BadSpec(f"seed {discreet(seed)!r}: {discreet(why)}") from None
    return places


def require_contact(spec: CrawlSpec, seeds: Iterable[Place]) -> None:
    """Raises BadSpec when nobody answers for a crawl that leaves this machine (FAULTS L5)."""
    if not spec.contact and not all(_loopback(place.host) for place in seeds):
        raise BadSpec(
            "contact: say who answers for this crawl, a URL or mail address (--contact); it is sent in the "
            "user agent, so that webmasters can reach you. Only loopback seeds need none"
        )


def require_hosts(spec: CrawlSpec) -> None:
    """Raises BadSpec naming what cannot be excluded."""
    try:
        listed(spec.exclude_host)
    except BadExclusion as error:
        raise BadSpec(str(error)) from None


def _loopback(host: str) -> bool:
    address = literal(host)
    return address.is_loopback if address is not None else host == "localhost"


async def run_async(
    spec: CrawlSpec,
    store: str | Path,
    *,
    stop: Stop | None = None,
    on_pages: OnPages | None = None,
    on_progress: OnProgress | None = None,
    note: Callable[[str], None] = log.info,
) -> Ending:
    """Crawl into a file until it ends; the same call again goes on. Raises BadSpec or StoreError before anything is sent.

    ``note`` gets sentences a person should read: settings that have changed since the last run, a disk that is full.
    """
    places, clock, stop = seed_places(spec), SystemClock(), stop or Stop()
    require_contact(spec, places)
    require_hosts(spec)
    exclude = ExcludeFile(Path(spec.exclude_file), note) if spec.exclude_file else None
    async with AsyncExitStack() as stack:
        sqlite = await stack.enter_async_context(SqliteStore(Path(store)))
        if why := exposed(sqlite.path):
            note(why)
        if sqlite.copied is not None:
            note(f"{store} was written by an older version and is upgraded; {sqlite.copied} is the file as it was")
        known, excluded, last = _history(sqlite)
        require_contact(spec, known)
        for place in (p for p in places if p.host in excluded):
            note(f"seed {discreet(place.url)} is not visited: its host was purged from {store}")
        changed = changes(spec, last.spec) if last else {}
        rescope = not _tops(changed).isdisjoint(SCOPE_SETTINGS) or _shorter(exclude, last)
        rescope |= last is not None and "sitemaps" not in last.spec  # of a version that knew of none
        for sentence in told(changed):
            note(sentence)
        if last and rescheduled(spec, last):
            await sqlite.reschedule(first_wait(spec), now=clock.wall())
        asked = replace(spec, seeds=tuple(dict.fromkeys(p.url for p in places)))  # canonical: who logs in is not stored
        spec = fitted(spec, note)
        parser = await stack.enter_async_context(ParsePool(spec.parsers, *spec.extractors))
        with late_authorities():
            from crawler.fetch.pool import FetchPool  # 0.2 s, in which the parse workers begin on other cores

        fetcher = await stack.enter_async_context(FetchPool(spec, [*known, *places]))
        engine = Engine(
            spec,
            sqlite,
            fetcher,
            parser,
            clock,
            stop,
            on_pages=on_pages,
            on_progress=on_progress,
            exclude=exclude,
            beside=lambda engine: controlled(engine, sqlite.path, note),
            note=note,
        )
        with _no_lost_exceptions():
            return await engine.run(places, asked, rescope=rescope)


def changes(spec: CrawlSpec, stored: JsonObject) -> dict[str, tuple[Any, Any]]:
    """The settings that differ from those of the last run, seeds apart: name, as in a TOML file, to (before, now)."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, now in spec.to_json().items():
        if name not in ("seeds", "header"):
            found |= _differences(name.replace("_", "-"), stored.get(name, None if isinstance(now, dict) else now), now)
    return found


def _differences(name: str, before: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    """Tables are compared key by key."""
    if not isinstance(before, dict) and not isinstance(now, dict):
        return {} if before == now else {name: (before, now)}
    found: dict[str, tuple[Any, Any]] = {}
    before, now = before or {}, now or {}
    for key in before | now:
        shown = key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'
        found |= _differences(f"{name}.{shown}", before.get(key), now.get(key))
    return found


def _tops(changed: Iterable[str]) -> set[str]:
    """The settings; of the hosts' tables, those that admit and refuse."""
    return {name.partition(".")[0].replace("-", "_") for name in changed if name.rpartition(".")[2] not in PACE}


def rescheduled(spec: CrawlSpec, last: RunInfo) -> bool:
    """Whether visited URLs fall due at other times than the last run thought; earlier versions knew of none."""
    return bool(spec.revisit != last.spec.get("revisit", NEVER))


def first_wait(spec: CrawlSpec) -> int | None:
    """Milliseconds from a URL's first visit to its second; None: there is none."""
    found = policy(spec.revisit)
    return None if found is None else ms(found.shortest)


def told(changed: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """Settings that have changed, in words."""
    for name, (before, now) in changed.items():
        yield f"changed from now on: {name} {_word(before, name)} -> {_word(now, name)}"


def _word(value: Any, name: str) -> str:
    if value in (None, []):
        return "nothing" if "." in name else "the default"
    return ", ".join(value) if isinstance(value, list) else str(value)


@contextmanager
def _no_lost_exceptions() -> Iterator[None]:
    """What a callback raises is a bug like any other: it ends the run instead of hanging it (FAULTS X8)."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    lost: list[BaseException] = []

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if task is not None and isinstance(error, Exception) and not isinstance(error, OSError):
            lost.append(error)
            task.cancel()
        elif theirs is not None:
            theirs(loop, context)
        else:
            log.warning("%s", context.get("message"))

    theirs = loop.get_exception_handler()
    loop.set_exception_handler(handler)
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise lost[0] from None
        raise
    finally:
        loop.set_exception_handler(theirs)


def finished(spec: CrawlSpec, file: Path) -> bool:
    """Whether the same command would find nothing to do: nothing queued, no new seed, no setting that admits more."""
    try:
        with open_reader(file) as reader:
            return _nothing_to_do(spec, reader)
    except (
        StoreUnreadable
    ):  # not there, or killed while it was made: opening it to write mends it, or says what is wrong
        return False


def _nothing_to_do(spec: CrawlSpec, reader: Reader) -> bool:
    last = reader.run()
    if last is None or last.ended_at is None or rescheduled(spec, last):
        return False
    if reader.counts().queued and reader.due(SystemClock().wall() + ms(spec.patience)):
        return False
    excluded = reader.excluded()
    new = {p.url for p in seed_places(spec) if p.host not in excluded} - {place.url for place in reader.seeds()}
    exclude = ExcludeFile(Path(spec.exclude_file), log.info) if spec.exclude_file else None
    return not new and not _shorter(exclude, last) and _tops(changes(spec, last.spec)).isdisjoint(SCOPE_SETTINGS)


async def add_seeds(spec: CrawlSpec, file: Path) -> int:
    """Add the spec's seeds to a file nobody is crawling; how many it did not hold as seeds. Raises StoreError, BadSpec."""
    places = seed_places(spec)
    require_contact(spec, places)
    async with SqliteStore(file) as store:
        return await store.plant(places, now=SystemClock().wall())


def _history(store: SqliteStore) -> tuple[list[Place], list[str], RunInfo | None]:
    """The seeds of the file's earlier runs, the hosts that were purged from it, and its last run."""
    if store.fresh:
        return [], [], None
    with open_reader(store.path) as reader:
        return reader.seeds(), reader.excluded(), reader.run()


def _shorter(exclude: ExcludeFile | None, last: RunInfo | None) -> bool:
    """Whether the exclude file may have lost an entry since the last run began: it was changed."""
    return exclude is not None and last is not None and exclude.changed_since(last.started_at)


async def crawl(
    seeds: Sequence[str], *, store: str | Path = "crawl.db", stop: Stop | None = None, **options: Any
) -> AsyncIterator[Page]:
    """Crawl and yield each page after its commit. Options are those of `CrawlSpec`.

    Back-pressure: a slow loop slows the crawl. ``break`` stops it cleanly; the same call goes on later. Raises BadSpec
    or StoreError before anything is sent.
    """
    spec = from_mapping({"seeds": list(seeds), **options})
    stop = stop or Stop()
    pages: asyncio.Queue[Page | None] = asyncio.Queue(maxsize=64)

    async def deliver(batch: list[Page]) -> None:
        for page in batch:
            if not stop.asked:
                await pages.put(page)

    async def whole() -> None:
        try:
            await run_async(spec, store, stop=stop, on_pages=deliver)
        finally:
            await pages.put(None)

    crawling = asyncio.create_task(whole())
    try:
        while (page := await pages.get()) is not None:
            yield page
    finally:
        if not crawling.done():
            stop.ask()
            while not crawling.done():
                while not pages.empty():
                    pages.get_nowait()
                await asyncio.wait({crawling}, timeout=0.02)
        await crawling


def run(spec: CrawlSpec, store: str | Path = "crawl.db", **options: Any) -> Ending:
    """The same, blocking, for scripts: crawl until it ends and say how it ended. Uses uvloop where it is installed."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run_async(spec, store, **options))


def loop_factory() -> Any:
    """uvloop's loop when it is installed (10-30 % less CPU with aiohttp), else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
