"""crawler.patient, storage.trouble: a store that is blocked is waited for (FAULTS D9, D10, D15, D17)."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crawler import engine, patient, writer
from crawler.api import run_async
from crawler.clock import SystemClock
from crawler.frontier.scope import Scope
from crawler.frontier.settling import settle
from crawler.parse.html import extract
from crawler.patient import PatientStore
from crawler.spec import CrawlSpec
from crawler.stop import Stop
from crawler.url import admit
from crawler.visit import Outcome, Visit
from storage.model import BodyRow, Settlement
from storage.sqlite import SqliteStore
from storage.store import StoreBlocked, StoreBusy, StoreError, StoreFull
from storage.trouble import told
from tests.conftest import Serve
from tests.crawls import ask
from tests.killing import environment
from tests.settlements import place
from tests.web import Answer, Site, Web, page

PAGES = 40
HEAVY = Site(
    {
        "/": page(*(f"/{n}" for n in range(PAGES))),
        **{f"/{n}": Answer(body=os.urandom(60_000), headers=()) for n in range(PAGES)},
    }
)
QUICK: dict[str, Any] = {"delay": 0.0, "patience": 1.0, "parse_workers": 0, "min_free": 0}
LOCK = """import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")"""
IN_TMPFS = """mount -t tmpfs -o size=4m,mode=0700 none "$1" && cd "$1" && head -c 3000000 /dev/zero > ballast &&
"$2" -m crawler crawl "$3" -o crawl.db --delay 0 --parse-workers 0 --progress none --min-free 0
echo "code $?"
"$2" -m crawler query crawl.db "PRAGMA integrity_check"
"$2" -m crawler query crawl.db "SELECT pages, failures, queued FROM counts" --format csv"""


class Notes(list[str]):
    """What a run says, and a way to wait for it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.append(text)
        self.changed.set()

    async def until(self, word: str) -> None:
        async with asyncio.timeout(10):
            while not any(word in text for text in self):
                self.changed.clear()
                await self.changed.wait()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: as a full disk does, it stops a write in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def begin(web: Web, file: Path, notes: Notes, stop: Stop | None = None) -> asyncio.Task[Any]:
    return asyncio.create_task(run_async(CrawlSpec(seeds=(web.url(),), **QUICK), file, stop=stop, note=notes))


async def silence(web: Web) -> int:
    """How many requests there were when none had come for a while, half a second from now (D9: ≤ 1 s)."""
    await asyncio.sleep(0.5)
    sent = len(web.requests)
    await asyncio.sleep(0.3)
    assert len(web.requests) == sent
    return sent


async def test_d9_a_full_disk_is_waited_for(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dispatch stops ≤ 1 s after a write that found no room, nobody is charged, and when there is room again the crawl
    ends as if nothing had been: every page once in the file, no failure."""
    assert patient.FULL_RETRY <= 30
    monkeypatch.setattr(patient, "FULL_RETRY", 0.2)
    web, notes = await serve(HEAVY), Notes()
    with files_of_at_most(600_000):
        crawling = begin(web, crawl_file, notes)
        await notes.until("no room")
        await silence(web)
    ending = await asyncio.wait_for(crawling, 10)
    assert (ending.state, ending.counts.pages, ending.counts.failures) == ("complete", PAGES + 1, 0)
    assert len([n for n in notes if "no room" in n]) == 1
    assert "again" in notes[-1]
    assert ask(crawl_file, "SELECT max(attempt), count(*), count(DISTINCT url) FROM fetches WHERE outcome = 'page'") == [
        (1, PAGES + 1, PAGES + 1)
    ]
    assert ask(crawl_file, "PRAGMA integrity_check") == [("ok",)]


async def test_d9_a_stop_on_a_full_disk_is_clean(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stop ends it within 8 s as 'interrupted'; what was committed is there, the rest is queued, and resuming with
    room fetches it."""
    assert engine.BLOCKED_GRACE < 8
    monkeypatch.setattr(engine, "BLOCKED_GRACE", 0.3)
    web, notes, stop = await serve(HEAVY), Notes(), Stop()
    with files_of_at_most(600_000):
        crawling = begin(web, crawl_file, notes, stop)
        await notes.until("no room")
        began = time.monotonic()
        stop.ask()
        ending = await asyncio.wait_for(crawling, 8)
    assert (ending.state, time.monotonic() - began < 8) == ("interrupted", True)
    assert "still queued" in notes[-1]
    [(pages, queued, failed)] = ask(crawl_file, "SELECT pages, queued, failures FROM counts")
    assert (pages + queued, failed) == (PAGES + 1, 0)
    assert (await asyncio.wait_for(begin(web, crawl_file, notes), 10)).counts.pages == PAGES + 1


async def test_d9_a_full_tmpfs(serve: Serve, tmp_path: Path) -> None:
    """A real file system of 4 MB and the real command: it waits, and goes on ≤ 2 s after room has returned, to exit 0."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces: unshare -rm cannot mount a tmpfs here")
    web, disk = await serve(HEAVY), tmp_path / "disk"
    disk.mkdir()
    process = await asyncio.create_subprocess_exec(
        "unshare", "-rm", "bash", "-c", IN_TMPFS, "bash", disk, sys.executable, web.url(),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said = (await asyncio.wait_for(process.stderr.readline(), 10)).decode()
    assert "no room" in said
    await silence(web)
    os.unlink(f"/proc/{process.pid}/root{disk}/ballast")
    out = (await asyncio.wait_for(process.communicate(), 15))[0].decode()
    assert "code 0" in out
    assert f"{PAGES + 1},0,0" in out
    assert "\nok\n" in out.replace("\r", "")


@pytest.mark.parametrize("full", [False, True])
async def test_d17_another_programs_lock_is_waited_for(serve: Serve, crawl_file: Path, full: bool) -> None:
    """A program that holds the write lock stops nothing but the crawl's own writing; ≤ 5 s after it lets go the crawl
    goes on. A signal meanwhile ends the command within 8 s, with 130."""
    gate = asyncio.Event()

    async def late(_: Any) -> str:
        await gate.wait()
        return page("/b")

    web = await serve(Site({"/": page("/a"), "/a": late, "/b": page()}))
    command = [sys.executable, "-m", "crawler", "crawl", web.url(), "-o", crawl_file, "--delay", "0", "--patience", "1"]
    process = await asyncio.create_subprocess_exec(
        *map(str, command), "--parse-workers", "0", "--progress", "none", env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while not any(r.path == "/a" for r in web.requests):
            await asyncio.sleep(0.01)
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOCK, str(crawl_file), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdin is not None
        assert other.stdout is not None
        await other.stdout.readline()
        gate.set()
        assert "locked by another program" in (await process.stderr.readline()).decode()
        if full:
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert await process.wait() == 130
            assert time.monotonic() - began < 8
        await other.communicate(b"\n")
        began = time.monotonic()
        err = (await process.communicate())[1].decode()
    assert "Traceback" not in err
    found = ask(crawl_file, "SELECT pages, queued FROM counts")
    assert found == ([(1, 1)] if full else [(3, 0)])
    assert full or time.monotonic() - began < 5 + 1


ERRORS = {
    "SQLITE_BUSY": StoreBusy,
    "SQLITE_BUSY_SNAPSHOT": StoreBusy,
    "SQLITE_LOCKED": StoreBusy,
    "SQLITE_PROTOCOL": StoreBusy,
    "SQLITE_FULL": StoreFull,
    "SQLITE_IOERR_WRITE": StoreFull,
    "SQLITE_IOERR_SHMSIZE": StoreFull,
    "SQLITE_IOERR_FSYNC": StoreError,
    "SQLITE_IOERR_READ": StoreError,
    "SQLITE_READONLY": StoreError,
    "SQLITE_CORRUPT": StoreError,
    "SQLITE_NOTADB": StoreError,
}


@pytest.mark.parametrize(("name", "kind"), ERRORS.items())
def test_d9_errors_are_told_apart_by_code(name: str, kind: type[StoreError]) -> None:
    """What may pass is waited for; a disk that cannot be read or synced, or a damaged file, ends the run (74) at once."""
    error = sqlite3.OperationalError("database is locked, disk full, malformed")
    error.sqlite_errorcode = getattr(sqlite3, name)
    found = told(error, Path("crawl.db"))
    assert type(found) is kind
    assert "crawl.db" in str(found)


class Blocked:
    """A store whose first tries to commit are blocked."""

    def __init__(self, *errors: StoreBlocked) -> None:
        self.errors, self.free, self.log = list(errors), 0, 0
        self.tries = 0

    def room(self) -> int:
        return self.free

    def unfolded(self) -> int:
        return self.log

    async def commit(self, *_: Any, **__: Any) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)


def patiently(store: Blocked) -> tuple[PatientStore, list[str], list[str]]:
    notes: list[str] = []
    pauses: list[str] = []
    made = PatientStore(store, SystemClock(), notes.append)  # type: ignore[arg-type]
    made.pause = lambda seconds, why: pauses.append(why)
    return made, notes, pauses


async def test_d9_room_that_returns_is_seen_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only each 30 s: the free space is looked at each second, and dispatch is held back all the while."""
    monkeypatch.setattr(patient, "LOOK", 0.02)
    store = Blocked(StoreFull("crawl.db is full"), StoreFull("crawl.db is full"))
    made, notes, pauses = patiently(store)
    committing = asyncio.create_task(made.commit([], now=0))
    await asyncio.sleep(0.1)
    assert (store.tries, made.blocked, len(notes)) == (1, True, 1)
    assert set(pauses) == {"crawl.db is full"}
    while store.tries < 3:
        store.free += 1
        await asyncio.sleep(0.01)
    await asyncio.wait_for(committing, 1)
    assert (made.blocked, len(notes)) == (False, 2)


async def test_d9_who_is_in_a_hurry_gets_the_error() -> None:
    """`hurry` gives up what is blocked when its time is over, whatever the interval between two tries is."""
    made, _, _ = patiently(Blocked(*[StoreFull("full")] * 9))
    committing = asyncio.create_task(made.commit([], now=0))
    await asyncio.sleep(0)
    made.hurry(0.05)
    with pytest.raises(StoreFull):
        await asyncio.wait_for(committing, 1)


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "log", "min_free", "pauses"),
    [
        (600 * 2**20, 0, None, False),
        (500 * 2**20, 0, None, True),
        (GIB, 500 * 2**20, None, False),
        (GIB, 600 * 2**20, None, True),
        (1, GIB, 0, False),
        (GIB, 0, 2 * GIB, True),
    ],
)
def test_d10_the_crawl_pauses_before_the_disk_is_full(free: int, log: int, min_free: int | None, pauses: bool) -> None:
    """Below --min-free, by default the larger of 512 MiB and twice the write-ahead log; said once."""
    store = Blocked()
    store.free, store.log = free, log
    made, notes, seen = patiently(store)
    made.look(min_free)
    made.look(min_free)
    assert len(seen) == 2 * pauses
    assert len([n for n in notes if "min-free" in n]) == pauses


async def test_d10_nobody_is_asked_while_the_disk_is_low(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a disk with less than --min-free sends nothing, says so, and crawls as soon as there is more."""
    free = [2**20]
    monkeypatch.setattr(SqliteStore, "room", lambda _: free[0])
    web, notes = await serve(Site({"/": page("/a"), "/a": page()})), Notes()
    spec = CrawlSpec(seeds=(web.url(),), **{**QUICK, "min_free": None})
    crawling = asyncio.create_task(run_async(spec, crawl_file, note=notes))
    await notes.until("--min-free asks for 512")
    assert await silence(web) == 0
    free[0] = 2**40
    assert (await asyncio.wait_for(crawling, 10)).counts.pages == 2


def test_d15_a_long_write_ahead_log_is_told_once() -> None:
    """A warning when it passes 256 MiB, and again only after it was shorter."""
    store = Blocked()
    made, notes, _ = patiently(store)
    for store.log in (2**28, 2**28 + 1, 2**29, 0, 2**29):
        made.look(0)
    assert len(notes) == 2
    assert "MiB" in notes[0]


@pytest.mark.parametrize(
    ("page", "exclude"),
    [
        (b"".join(b"<a href=/%d>t</a>" % n for n in range(10_000)), ()),
        (b"".join(b"<a href=/%d>t</a>" % n for n in range(10_000)), ("/[^a]" + "(?#a long remark)" * 20,)),
        (b"".join(b"<a href=http://%d.test/>t</a>" % n for n in range(10_000)), ()),
        (b"".join(b"<a href=/%d rel='%s'>t</a>" % (n, b"%d " % n * 90) for n in range(5_000)), ()),
    ],
    ids=["plain", "a verdict for each", "a host for each", "a rel for each"],
)
def test_d17_links_are_counted_for_what_they_take(page: bytes, exclude: tuple[str, ...]) -> None:
    """Memory that waits for its commit with a page's links is no more than half as much again as what is counted."""
    scope, at = Scope(CrawlSpec(scope="any", exclude=exclude), []), admit("http://a.test/")
    tracemalloc.start()
    try:
        found = settle(Visit(at.url, at, id=1), Outcome(at.url, 200), extract(page, at.url, "text/html"), scope, at=1, block=None)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= 1.5 * writer.weight(found)


async def test_d17_what_waits_for_its_commit_is_bounded_in_bytes() -> None:
    """`put` waits from 64 MiB of bodies and links on, until a commit has made room."""
    assert writer.WEIGHT <= 64 * 2**20
    go = asyncio.Event()

    class Slow:
        async def commit(self, *_: Any, **__: Any) -> None:
            await go.wait()

    async def committed(_: Any) -> None:
        return

    held = writer.Writer(Slow(), SystemClock(), tally=lambda: None, starving=lambda: True, on_commit=committed)  # type: ignore[arg-type, return-value]
    writing = asyncio.create_task(held.run())
    body = BodyRow(b"", 0, "raw", bytes(10 * 2**20))
    put = 0

    async def fill() -> None:
        nonlocal put
        for _ in range(20):
            await held.put(Settlement(place(), body=body))
            put += 1

    filling = asyncio.create_task(fill())
    await asyncio.sleep(0.1)
    assert put * 10 <= 64 + 10
    go.set()
    await asyncio.wait_for(filling, 5)
    held.close()
    await writing
