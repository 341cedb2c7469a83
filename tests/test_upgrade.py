"""storage.migrate: a crawl file of an older version becomes one of today's, or stays as it was (FAULTS D18)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from crawler.api import run_async
from crawler.spec import CrawlSpec
from storage import StoreUnreadable, migrate, open_reader
from storage.migrate import VERSION, prepare
from storage.sqlite import SqliteStore
from tests.conftest import Serve, long
from tests.crawls import ask
from tests.web import Site, page, redirect

DATA = Path(__file__).with_name("data")
SHAPE = """SELECT s.type, s.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema s
LEFT JOIN pragma_table_xinfo(s.name) c WHERE s.name NOT LIKE 'sqlite_%' ORDER BY s.name, c.cid"""
WORDING = "SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY name"
ROWS = "SELECT count(*), (SELECT count(*) FROM link), (SELECT count(*) FROM fetch) FROM url"
OLD = sorted(DATA.glob("version*.sql"))


def restored(dump: Path, file: Path, port: int = 8080) -> Path:
    """The file that a dump was made of."""
    with closing(sqlite3.connect(file)) as db:
        db.executescript(dump.read_text("utf-8").replace("PORT", str(port)))
        db.execute("PRAGMA journal_mode = WAL")
    return file


def shape(file: Path) -> tuple[list[object], list[object], int]:
    """Tables and views with their columns, the definitions of views, triggers and indexes, the version."""
    with closing(sqlite3.connect(file)) as db:
        return (
            db.execute(SHAPE).fetchall(),
            db.execute(WORDING).fetchall(),
            db.execute("PRAGMA user_version").fetchone()[0],
        )


def test_d18_each_version_has_its_fixture() -> None:
    """tests/data holds a file of every earlier version."""
    assert [path.stem for path in OLD] == [f"version{n}" for n in range(1, VERSION)]


@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
async def test_d18_an_upgraded_file_is_as_a_fresh_one(tmp_path: Path, dump: Path) -> None:
    """Same tables, columns, views, triggers, indexes and version; every row is still there; a copy of the old file lies
    beside it, for its owner only; what the user has added stays."""
    file, fresh = restored(dump, tmp_path / "crawl.db"), tmp_path / "fresh.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE VIEW mine AS SELECT url FROM pages")
        before = db.execute(ROWS).fetchone()
    was = shape(file)
    async with SqliteStore(file) as store, SqliteStore(fresh):
        assert store.copied == tmp_path / "crawl.db.v1"
    copy = tmp_path / "crawl.db.v1"
    assert shape(copy) == was
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP VIEW mine")
        db.commit()
        assert db.execute(ROWS).fetchone() == before
    assert shape(file) == shape(fresh)
    async with SqliteStore(file) as store:
        assert store.copied is None


async def test_d18_the_crawl_goes_on(serve: Serve, tmp_path: Path) -> None:
    """A crawl that an older version began is finished by this one, and says that it was upgraded."""
    site = {"/": page(), "/a": page("/a/1"), "/r": redirect("/a"), "/gone": 404, "/b": page(), "/c": page(), "/a/1": page()}
    web = await serve(Site(site, robots="User-agent: *\nDisallow: /c"))
    file, said = restored(OLD[0], tmp_path / "crawl.db", web.port), list[str]()
    with closing(sqlite3.connect(file)) as db:  # the fixture's robots.txt was fresh for a day only
        db.execute("UPDATE origin SET robots_until = ? WHERE robots_status = 'ok'", (time.time_ns() // 10**6 + 3_600_000,))
        db.commit()
    spec = CrawlSpec(seeds=(web.url(),), delay=0.0, patience=1.0, parse_workers=0)
    assert (await run_async(spec, file, note=said.append)).state == "complete"
    assert any("crawl.db.v1" in text for text in said)
    paths = [url.removeprefix(web.url()[:-1]) for (url,) in ask(file, "SELECT url FROM pages ORDER BY url")]
    assert paths == ["/", "/a", "/a/1", "/b"]
    assert sorted(r.path for r in web.requests) == ["/a/1", "/b", "/gone", "/r"]


def test_d18_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """Killed before a statement of the upgrade (each eighth; all of them in the long form): old or new,
    never between; and the next start finishes it."""
    fresh = tmp_path / "fresh.db"
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        prepare(db, fresh)
    old, seen, at = shape(restored(OLD[0], tmp_path / "old.db")), set[int](), 0
    status, step = 9, long(8, 1)
    while status:
        at += 1 if at < 8 else step  # the copy comes first
        file = restored(OLD[0], tmp_path / f"killed{at}.db")
        if (pid := os.fork()) == 0:
            left = [at]

            def count(_: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)

            child = sqlite3.connect(file, isolation_level=None)
            child.set_trace_callback(count)
            prepare(child, file)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = shape(file)
        assert found in (old, shape(fresh)), at
        seen.add(found[2])
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            prepare(db, file)
        assert shape(file) == shape(fresh), at
        assert shape(tmp_path / f"killed{at}.db.v1") == old
    assert at > 20
    assert seen == {1, VERSION}


def test_d18_an_old_file_can_be_read(tmp_path: Path) -> None:
    """Reading does not upgrade: the views of its own time are there."""
    file = restored(OLD[0], tmp_path / "crawl.db")
    with open_reader(file) as reader:
        assert (reader.counts().pages, reader.counts().queued) == (2, 5)
    assert shape(file)[2] == 1


async def test_d18_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never guessed at, never changed."""
    file = tmp_path / "crawl.db"
    async with SqliteStore(file):
        pass
    before = file.read_bytes()
    monkeypatch.setattr(migrate, "VERSION", VERSION - 1)
    with pytest.raises(StoreUnreadable, match="newer"):
        await SqliteStore(file).open()
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["explain", "http://127.0.0.1:8080/a"]], ids=" ".join)
def test_d18_an_older_file_can_be_asked_before_it_is_upgraded(tmp_path: Path, command: list[str]) -> None:
    """What only reads takes a file of any version: what it does not know yet is left out."""
    for dump in OLD:
        file = restored(dump, tmp_path / f"{dump.stem}.db")
        name, *more = command
        ended = subprocess.run([sys.executable, "-m", "crawler", name, file, *more], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
