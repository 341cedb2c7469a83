"""Torture: every fallible call of a crawl fails once, and nothing is lost by it (FAULTS X9, after curl's torture tests).

    python -m tests.torture                # each call of each seam, with each error
    python -m tests.torture --most 50 sql  # some calls of one seam

A seam is a set of calls that leave our own code: to the network, the store, SQLite, the parser, the resolver, the
clock, the file system. For call k of a seam a crawl of the generated web is run in which just that call raises. However
that run ends, its file must be whole and hold nothing the reference does not hold; a crawl that goes on from there,
without failures, must come to the very same as the reference.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import inspect
import itertools
import json
import os
import pkgutil
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from crawler import api
from crawler.clock import SystemClock
from crawler.spec import CrawlSpec
from crawler.visit import RETRY, Retry
from storage.store import StoreError
from tests.killing import Snapshot, differences, snapshot
from tests.web import Answer, Generated, Request, Web

HOUR = 3_600_000  # ms
PATIENCE = 30.0  # s for a run to end: one that does not has lost something
GETADDRINFO, CONNECT, DISK_USAGE = socket.getaddrinfo, sqlite3.connect, shutil.disk_usage
EXPECTED = (OSError, MemoryError, RuntimeError, sqlite3.Error, StoreError, asyncio.CancelledError)  # what a run may end with

DISK, SQL, MEMORY = OSError(5, "injected"), sqlite3.OperationalError("injected"), MemoryError("injected")
CANCEL = asyncio.CancelledError("injected")


class Fuse:
    """Counts the calls of a seam; call ``at`` raises, before it is made or ``after``."""

    def __init__(self, at: int | None = None, error: BaseException = DISK, after: bool = False) -> None:
        self._numbers = itertools.count(1)  # calls come from several threads
        self._at, self._error, self._after = at, error, after
        self.calls = 0
        self.blown = False

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function behind the fuse; coroutine functions stay such."""
        if inspect.iscoroutinefunction(function):

            async def waiting(*args: Any, **options: Any) -> Any:
                mine = self._mine()
                self._burn(mine and not self._after)
                result = await function(*args, **options)
                if mine:
                    del result  # a cursor that nobody was given
                    self._burn(mine)
                return result

            return waiting

        def plain(*args: Any, **options: Any) -> Any:
            mine = self._mine()
            self._burn(mine and not self._after)
            result = function(*args, **options)
            if mine:
                del result
                self._burn(mine)
            return result

        return plain

    def _mine(self) -> bool:
        self.calls = next(self._numbers)
        return self.calls == self._at

    def _burn(self, now: bool) -> None:
        if now:
            self.blown = True
            raise type(self._error)(*self._error.args)  # a fresh one: its traceback keeps alive what the frames hold


@dataclass(frozen=True, slots=True)
class Seam:
    """Calls that are counted together: attributes by their dotted names, or what ``patched`` puts in their place."""

    errors: tuple[BaseException, ...]
    calls: tuple[str, ...] = ()
    patched: Callable[[Fuse], dict[str, Any]] = lambda fuse: {}
    after: bool = False  # fail once more when the call has been made: it happened, but nobody was told
    parse_workers: int = 0

    @contextmanager
    def behind(self, fuse: Fuse) -> Iterator[None]:
        with ExitStack() as stack:
            for name in self.calls:
                owner, _, attribute = name.rpartition(".")
                stack.enter_context(patch(name, fuse.wrap(getattr(pkgutil.resolve_name(owner), attribute))))
            for name, thing in self.patched(fuse).items():
                stack.enter_context(patch(name, thing))
            yield


def _names(host: bytes, *args: Any, **options: Any) -> list[tuple[Any, ...]]:
    """hK.test is 127.0.1.K."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.1.{host.decode()[1:-5]}", 0))]


def _statements(fuse: Fuse) -> dict[str, Any]:
    class Connection(sqlite3.Connection):
        execute = fuse.wrap(sqlite3.Connection.execute)
        executescript = fuse.wrap(sqlite3.Connection.executescript)

    return {"sqlite3.connect": lambda *args, **options: CONNECT(*args, **{**options, "factory": Connection})}


def _files(fuse: Fuse) -> dict[str, Any]:
    """The system calls of the store's own modules, not those of the rest of the process."""

    class Calls:
        def __init__(self, module: Any, names: str) -> None:
            self._module, self._names = module, names.split()

        def __getattr__(self, name: str) -> Any:
            value = getattr(self._module, name)
            return fuse.wrap(value) if name in self._names else value

    system = Calls(os, "open write read ftruncate access stat replace unlink fsync")
    return {
        "storage.lock.os": system, "storage.lock.fcntl": Calls(fcntl, "flock"), "storage.migrate.os": system,
        "storage.sqlite.os": system, "storage.sqlite.shutil": Calls(shutil, "disk_usage"),
    }  # fmt: skip


STORE = tuple(
    f"storage.sqlite.SqliteStore.{name}"
    for name in ("begin", "hosts", "due", "commit", "rescope", "counts", "pending", "end", "room")
)
SEAMS: dict[str, Seam] = {
    "fetch": Seam((DISK, MEMORY, CANCEL), ("crawler.fetch.pool.FetchPool.fetch",)),
    "resolve": Seam((DISK, MEMORY, CANCEL), ("crawler.fetch.pool.FetchPool.resolve",)),
    "dial": Seam((OSError(24, "injected"), MEMORY), ("crawler.fetch.pool.FetchPool._dial",)),
    "look-up": Seam(
        (DISK, socket.gaierror(-3, "injected"), MEMORY),
        patched=lambda fuse: {"socket.getaddrinfo": fuse.wrap(_names)},
    ),
    "parse": Seam((DISK, MEMORY, CANCEL), ("crawler.parse.pool.ParsePool.parse",)),
    "spawn": Seam((DISK, MEMORY), ("crawler.parse.process.Worker.spawn",), parse_workers=1),
    "store": Seam((DISK, SQL, MEMORY, CANCEL), STORE, after=True),
    "sql": Seam((SQL, MEMORY), patched=_statements, after=True),
    "file": Seam((DISK,), patched=_files),
    "clock": Seam(
        (MEMORY,), ("crawler.clock.SystemClock.now", "crawler.clock.SystemClock.wall"),
    ),
}


class Named(Generated):
    """The generated web under names, so that there is something to look up; the server knows them by its Host header."""

    @staticmethod
    def url(host: int, path: str, port: int) -> str:
        return f"http://h{host}.test:{port}{path}" if host else f"http://outside.test:{port}{path}"

    def __call__(self, request: Request) -> Answer:
        return Generated.__call__(self, replace(request, host=f"127.0.1.{request.host[1:-5]}"))

    def seeds(self, port: int) -> list[str]:
        return [self.url(host, "/", port) for host in range(1, self.hosts + 1)]


@dataclass
class Torture:
    """One web, its reference, and what the failures came to."""

    web: Web
    folder: Path
    reference: Snapshot = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # of each seam in a run without failure
    runs: Counter[str] = field(default_factory=Counter)  # by seam
    missed: Counter[str] = field(default_factory=Counter)  # by seam: the run had fewer calls than the reference's
    ends: Counter[str] = field(default_factory=Counter)  # how the failing runs ended
    faults: list[str] = field(default_factory=list)
    _number: int = 0

    def spec(self, seam: Seam | None = None) -> CrawlSpec:
        site = self.web.handlers[0]
        assert isinstance(site, Named)
        return CrawlSpec(
            seeds=tuple(site.seeds(self.web.port)), delay=0.0, per_host=4, patience=0.5, contact="a@b.test",
            connections=16, parse_workers=seam.parse_workers if seam else 0, allow_private=("127.0.1.0/24",),
        )  # fmt: skip

    async def measure(self) -> None:
        """The reference, and how often each seam is called on the way to it; twice, with parse workers and without."""
        for workers in (0, 1):
            fuses = {name: Fuse() for name, seam in SEAMS.items() if seam.parse_workers == workers}
            file = self._file()
            with ExitStack() as stack:
                for name, fuse in fuses.items():
                    stack.enter_context(SEAMS[name].behind(fuse))
                ending = await self._run(file, next(SEAMS[name] for name in fuses))
            assert ending == "complete", f"the reference ended {ending}"
            found = self._look(file)
            self.reference = self.reference or found
            assert differences(self.reference, found) == []
            self.calls |= {name: fuse.calls for name, fuse in fuses.items()}

    async def fail(self, name: str, k: int, error: BaseException, *, after: bool = False) -> None:
        """Call k of a seam fails; what is not as promised is noted in ``faults``."""
        seam, file, fuse = SEAMS[name], self._file(), Fuse(k, error, after)
        label = f"{name} {k}/{self.calls[name]} {type(error).__name__}{' after' if after else ''}"
        tasks = asyncio.all_tasks()
        with seam.behind(fuse):
            ended = await self._run(file, seam)
        self.runs[name] += 1
        self.missed[name] += not fuse.blown
        self.ends[ended.partition(":")[0]] += 1
        found = [ended] if ended.startswith(("hangs", "unexpected")) else []
        found += [f"leaves the task {task.get_name()}" for task in asyncio.all_tasks() - tasks if not self._serving(task)]
        if file.exists():
            try:
                found += [f"the file {what}" for what in stray(self._look(file), self.reference)]
            except (sqlite3.Error, AssertionError) as error:
                found.append(str(error))
        found += await self._resumed(file)
        self.faults += [f"{label}: {what}" for what in found[:5]]
        shutil.rmtree(file.parent)

    async def _resumed(self, file: Path) -> list[str]:
        """Go on without failures, an hour later each time: a host that was to be left alone may be asked again."""
        for hours in (1, 2, 3):
            ended = await self._run(file, None, ahead=hours * HOUR)
            if ended != "deferred":
                break
        if ended != "complete":
            return [f"resumed, it ended {ended}"]
        return [f"resumed, it differs: {row}" for row in differences(self.reference, self._look(file))]

    async def _run(self, file: Path, seam: Seam | None, *, ahead: int = 0) -> str:
        """One run, in a task of its own; its ending, or what it ended with."""
        with ExitStack() as stack:
            if ahead:
                stack.enter_context(patch("crawler.api.SystemClock", lambda: Ahead(ahead)))
            task = asyncio.create_task(api.run_async(self.spec(seam), file, note=lambda sentence: None))
            await asyncio.wait({task}, timeout=PATIENCE)
            if not task.done():
                return await _hanging(task)
        if task.cancelled():
            return "CancelledError: injected"
        error = task.exception()
        if error is None:
            return task.result().state
        leaves = list(_leaves(error))
        known = all(isinstance(leaf, EXPECTED) and "injected" in f"{leaf}{leaf.__cause__}" for leaf in leaves)
        return f"{'' if known else 'unexpected '}{type(leaves[0]).__name__}: {leaves[0]}"

    def _serving(self, task: asyncio.Task[Any]) -> bool:
        return "tests.web" in str(task.get_coro()) or "tests/web" in str(task)

    def _file(self) -> Path:
        self._number += 1
        site = self.web.handlers[0]
        assert isinstance(site, Named)
        site.failed.clear()
        folder = self.folder / str(self._number)
        folder.mkdir()
        return folder / "crawl.db"

    @staticmethod
    def _look(file: Path) -> Snapshot:
        connection = CONNECT(file)
        try:
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
            assert said == "ok", f"the file is damaged: {said}"
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pages'").fetchone():
                return {}  # it was not made yet
            return snapshot(connection)
        finally:
            connection.close()


class Ahead(SystemClock):
    """The machine's clock, so many ms later."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self._ahead = ahead

    def wall(self) -> int:
        return super().wall() + self._ahead


async def _hanging(task: asyncio.Task[Any]) -> str:
    where = "; ".join(f"{f.f_code.co_name}:{f.f_lineno}" for f in task.get_stack())
    task.cancel()
    with suppress(BaseException):
        await asyncio.wait_for(task, 5.0)
    return f"hangs in {where}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def stray(found: Snapshot, reference: Snapshot) -> list[str]:
    """What a file holds that the reference does not, and pages that are there without their links (D3).

    Not compared: the depth, which still falls while a crawl goes on; failures that are still to be tried again.
    """
    if not found:
        return []
    bad = [f"has the page {row}" for row in _short(found["pages"]) - _short(reference["pages"])]
    waiting, known = {row[0] for row in found["queue"]}, {row[0] for view in reference.values() for row in view}
    bad += [f"waits for {url}" for url in waiting - known]
    bad += [f"has failed {r}" for r in set(found["failures"]) - set(reference["failures"]) if r[0] not in waiting]
    for view in ("redirects", "links", "skipped"):
        bad += [f"has in {view} {row}" for row in set(found[view]) - set(reference[view])]
    settled = {row[0] for view in ("pages", "redirects") for row in found[view]}
    there = {row[0] for view in found for row in found[view]}
    for row in reference["links"]:
        if row[0] in settled and (row not in found["links"] or row[1] not in there):
            bad.append(f"lacks {row}")
    return bad


def _short(pages: list[tuple[object, ...]]) -> set[tuple[object, ...]]:
    return {row[:3] for row in pages}


@asynccontextmanager
async def torture(folder: Path, *, pages: int = 120, hosts: int = 4) -> AsyncIterator[Torture]:
    """A small web with its reference, every wait of the retry table made short."""
    site = Named(pages=pages, hosts=hosts, words=10)
    soon = {reason: Retry(rule.tries, tuple(0.01 for _ in rule.waits), rule.charge) for reason, rule in RETRY.items()}
    async with Web(*[site] * hosts) as web:
        with patch("crawler.frontier.politeness.RETRY", soon), patch("socket.getaddrinfo", _names):
            rig = Torture(web, folder)
            await rig.measure()
            yield rig


def cases(rig: Torture, name: str, most: int | None = None) -> list[tuple[int, BaseException, bool]]:
    """(k, error, after): every call of a seam with every error, or at most so many of them from all over the run."""
    seam, calls = SEAMS[name], rig.calls[name]
    kinds = [(error, after) for after in ((False, True) if seam.after else (False,)) for error in seam.errors]
    if most is None or most >= calls * len(kinds):
        return [(k, *kind) for k in range(1, calls + 1) for kind in kinds]
    step = calls / most
    return [(int(step * (n + 0.5)) + 1, *kinds[n % len(kinds)]) for n in range(most)]


async def _main(seams: list[str], most: int | None) -> int:
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        async with torture(Path(folder)) as rig:
            for name in seams or SEAMS:
                for k, error, after in cases(rig, name, most):
                    before = len(rig.faults)
                    await rig.fail(name, k, error, after=after)
                    for fault in rig.faults[before:]:
                        print(fault, file=sys.stderr, flush=True)
                print(json.dumps({"seam": name, "calls": rig.calls[name], "runs": rig.runs[name],
                                  "not_reached": rig.missed[name], "faults": len(rig.faults)}), flush=True)  # fmt: skip
            verdict = "NOT AS PROMISED: " if rig.faults else ""
            print(f"{verdict}{rig.runs.total()} runs, {len(rig.faults)} faults; they ended {dict(rig.ends)}")
            return 1 if rig.faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--most", type=int, help="failures of each seam; all of them if not given")
    parser.add_argument("seams", nargs="*", help=f"of {', '.join(SEAMS)}; all of them if none is named")
    wanted = parser.parse_args()
    return asyncio.run(_main(wanted.seams, wanted.most))


if __name__ == "__main__":
    sys.exit(main())
