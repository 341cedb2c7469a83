"""storage.sqlite, storage.migrate, storage.reader: the store in one SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from storage import StoreError, StoreLocked, StoreUnreadable, open_reader
from storage.migrate import APPLICATION_ID, VERSION
from storage.model import Counts, FetchRow, HostRow, LinkRow, OriginRow, Settlement, Tally
from storage.sqlite import SqliteStore
from tests.crawls import ask
from tests.settlements import FAR, NOW, Fact, body, failure, first, link, nofollow, page, place, queue, redirect, start
from tests.store_contract import StoreContract

CONTRACT = {  # CONTRACT.md §2: "columns at least", in this order
    "pages": "url status mime charset title depth size fetched_at elapsed_ms digest found_on parse truncated data",
    "fetches": "url at outcome reason status elapsed_ms size attempt run",
    "links": "src dst kind rel text",
    "redirects": "src dst status",
    "failures": "url status reason attempts found_on retry_at",
    "broken_links": "src dst status reason text",
    "skipped": "url reason detail found_on",
    "queue": "url host depth priority due_at attempts",
    "hosts": "host pages failures queued delay crawl_delay next_fetch_at blocked_until robots_status",
    "runs": "id started_at ended_at ending requests connections reused version spec",
}
FACTS = """SELECT o.name || u.path, u.depth, u.outcome, u.reason, u.due_at IS NOT NULL, u.hops
FROM url u JOIN origin o ON o.id = u.origin WHERE u.path <> '/robots.txt'"""
RECOUNT = """SELECT sum(outcome IS 'page'), sum(outcome IS 'redirect'), sum(outcome IS 'failure'), sum(outcome IS 'skipped'),
sum(due_at IS NOT NULL), count(DISTINCT iif(due_at IS NOT NULL OR outcome <> 'skipped', host, NULL)) FROM url"""


def rows(store: SqliteStore | Path, sql: str) -> list[tuple[Any, ...]]:
    return ask(store if isinstance(store, Path) else store.path, sql)


class TestSqliteStore(StoreContract):
    """SqliteStore keeps the contract."""

    def open(self, folder: Path) -> AbstractAsyncContextManager[Any]:
        return SqliteStore(folder / "crawl.db")

    def facts(self, store: Any) -> dict[str, Fact]:
        return {
            url: Fact(depth, outcome, reason, bool(queued), hops)
            for url, depth, outcome, reason, queued, hops in rows(store, FACTS)
        }

    def recounted(self, store: Any) -> Counts:
        return Counts(*rows(store, RECOUNT)[0])

    async def test_r4_robots_gone_take_their_rules_along(self, store: Any) -> None:
        """As the contract says."""
        await super().test_r4_robots_gone_take_their_rules_along(store)

    async def test_the_counters_of_each_host_equal_a_recount(self, store: Any) -> None:
        """queued, pages, redirects, failed and skipped of `host` follow the URLs whatever statement moves them."""
        await whole_crawl(store)
        counted = """SELECT h.name, h.queued, h.pages, h.redirects, h.failed, h.skipped FROM host h ORDER BY 1"""
        recount = """SELECT h.name, coalesce(sum(u.due_at IS NOT NULL), 0), coalesce(sum(u.outcome IS 'page'), 0),
          coalesce(sum(u.outcome IS 'redirect'), 0), coalesce(sum(u.outcome IS 'failure'), 0),
          coalesce(sum(u.outcome IS 'skipped'), 0) FROM host h LEFT JOIN url u ON u.host = h.id GROUP BY h.id ORDER BY 1"""
        assert rows(store, counted) == rows(store, recount)


async def whole_crawl(store: Any) -> None:
    """One of everything: page, redirect, failure, retry, refusals, robots, bodies, clocks."""
    await start(store, place(), place("/r"), place("/f"), place("/", "b.test"))
    await store.commit(await batch(store), now=NOW, tally=Tally(4, 1, 3, 999, {"rate": 2.0}))


async def batch(store: Any) -> list[Settlement]:
    found = {(r.place.host, r.place.path): r for r in await queue(store)}
    robots = Settlement(
        place("/robots.txt"),
        fetch=FetchRow(NOW, "robots", status=200),
        body=body(b"User-agent: *"),
        origins=(OriginRow("http://a.test", "ok", None, FAR, 0),),
    )
    root = page(
        found["a.test", "/"],
        link("/x", text="an x"),
        link("/f"),
        nofollow("/no"),
        link("/", host="out.test", admit=False, reason="scope"),
        LinkRow(place("/i.png"), "img"),
        content=b"<title>hello",
        host=HostRow(0, "a.test", NOW + 1000, 0, 1000, 1000, 0),
        address=("192.0.2.1", NOW + 500),
        fetch=FetchRow(
            NOW,
            "page",
            None,
            200,
            12,
            1,
            99,
            None,
            "text/html",
            "utf-8",
            "hello",
            None,
            None,
            '[["Server","x"]]',
            '{"lang":"en"}',
        ),
    )
    return [
        robots,
        root,
        redirect(found["a.test", "/r"], link("/x", kind="redirect", step=0)),
        failure(found["a.test", "/f"], "http_404"),
        failure(found["b.test", "/"], "timeout", due_at=FAR),
    ]


@pytest.fixture
async def store(crawl_file: Path) -> Any:
    async with SqliteStore(crawl_file) as opened:
        yield opened


# --- the interface of the file


@pytest.mark.parametrize(("view", "columns"), CONTRACT.items())
async def test_views_have_the_columns_of_the_contract(store: SqliteStore, view: str, columns: str) -> None:
    """Names and order of the columns CONTRACT §2 lists are a prefix of each view's."""
    with open_reader(store.path) as reader:
        names, _ = reader.query(f"SELECT * FROM {view}")
    assert names[: len(columns.split())] == columns.split()


async def test_each_url_tried_or_refused_is_in_one_view(store: SqliteStore) -> None:
    """pages, redirects (as src), failures and skipped share no URL; queue holds those to be tried or retried."""
    await whole_crawl(store)
    views = {"pages": "url", "redirects": "src", "failures": "url", "skipped": "url"}
    found = {
        view: [u for (u,) in rows(store, f"SELECT {column} FROM {view} ORDER BY 1")] for view, column in views.items()
    }
    assert found == {
        "pages": ["http://a.test/"],
        "redirects": ["http://a.test/r"],
        "failures": ["http://a.test/f", "http://b.test/"],
        "skipped": ["http://a.test/no", "http://out.test/"],
    }
    assert rows(store, "SELECT url FROM queue ORDER BY 1") == [("http://a.test/x",), ("http://b.test/",)]


async def test_views_say_what_was_stored(store: SqliteStore) -> None:
    """Digest in lower-case hex and size of the decoded body, ISO times, where a URL was found, the edge of a failure."""
    await whole_crawl(store)
    digest = body(b"<title>hello").digest.hex()
    assert rows(store, "SELECT title, size, digest, found_on, depth, data FROM pages") == [
        ("hello", 12, digest, None, 0, '{"lang":"en"}')
    ]
    [(at,)] = rows(store, "SELECT fetched_at FROM pages")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert rows(store, "SELECT src, dst, status, reason FROM broken_links") == [
        ("http://a.test/", "http://a.test/f", 500, "http_404")
    ]
    assert rows(store, "SELECT found_on FROM skipped WHERE reason = 'scope'") == [("http://a.test/",)]
    assert rows(store, "SELECT host, delay, robots_status FROM hosts WHERE host = 'a.test'") == [("a.test", 1.0, "ok")]
    assert rows(store, "SELECT requests, connections, reused, bytes FROM runs") == [(4, 1, 3, 999)]


async def test_a_link_has_one_row_for_each_kind_with_the_first_text(store: SqliteStore) -> None:
    """links: one row per (src, dst, kind), the first text wins."""
    await start(store)
    await store.commit(
        [page(await first(store), link("/x", text="first"), link("/x", text="second"), link("/x", kind="area"))],
        now=NOW,
    )
    assert rows(store, "SELECT kind, text FROM links ORDER BY kind") == [("a", "first"), ("area", None)]


async def test_bodies_are_content_addressed(store: SqliteStore) -> None:
    """The same body of two pages, in one batch or in two, is stored once and comes back bit by bit."""
    await start(store, *(place(f"/{n}") for n in range(3)))
    content = bytes(range(256))
    settled = [page(r, content=content) for r in await queue(store)]
    await store.commit(settled[:2], now=NOW)
    await store.commit(settled[2:], now=NOW)
    assert rows(store, "SELECT count(*) FROM body") == [(1,)]
    assert rows(store, "SELECT count(DISTINCT digest), count(*) FROM pages") == [(1, 3)]
    with open_reader(store.path) as reader:
        found = reader.body(place("/2"))
    assert found is not None
    assert found.content == content


async def test_a_run_that_was_killed_is_named_so_by_the_next(store: SqliteStore) -> None:
    """A run without an end is 'killed' as soon as the next begins."""
    await start(store)
    await start(store)
    await store.end("complete", now=NOW)
    assert rows(store, "SELECT ending FROM runs ORDER BY id") == [("killed",), ("complete",)]


# --- a crash between two statements


class Failing:
    """The write connection's SQLite connection, whose ``at``-th statement fails as a disk does; ROLLBACK always works."""

    def __init__(self, db: sqlite3.Connection, at: int) -> None:
        self.db, self.left = db, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.left -= sql != "ROLLBACK"
        if self.left == 0 and sql != "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(sql, *parameters)


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    tables = [name for (name,) in rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: rows(path, f"SELECT * FROM {name}") for name in tables}


async def test_d1_a_failure_between_any_two_statements_leaves_nothing(store: SqliteStore) -> None:
    """Whichever statement of a commit fails, StoreError is raised, the file is as before, and the store goes on."""
    await start(store, place(), place("/r"), place("/f"), place("/", "b.test"))
    settlements, before = await batch(store), dump(store.path)
    assert store._db is not None
    real = store._db._conn
    for at in range(1, 100):
        store._db._connection = Failing(real, at)  # type: ignore[assignment]
        try:
            await store.commit(settlements, now=NOW)
        except StoreError:
            assert dump(store.path) == before, f"statement {at}"
        else:
            break
        finally:
            store._db._connection = real
    assert at > 15
    assert len(rows(store, "SELECT * FROM pages")) == 1
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]


async def test_d17_a_foreign_write_lock_is_a_store_error(store: SqliteStore) -> None:
    """Another program that holds the write lock makes `commit` raise StoreError (never a bare sqlite3 error); after it
    has let go the same commit works."""
    await start(store)
    row = await first(store)
    await store._db.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            await store.commit([page(row)], now=NOW)
        other.execute("ROLLBACK")
    await store.commit([page(row)], now=NOW)
    assert (await store.counts()).pages == 1


# --- opening


async def test_d8_a_second_open_is_refused_and_names_the_process(store: SqliteStore) -> None:
    """The file has one crawler; the refusal says who it is and where the file is, and the first goes on."""
    with pytest.raises(StoreLocked, match=rf"{re.escape(str(store.path))} .*{os.getpid()}"):
        async with SqliteStore(store.path):
            raise AssertionError
    await start(store)
    assert (await store.counts()).queued == 1


async def test_d14_the_lock_survives_a_reader(store: SqliteStore) -> None:
    """Opening and closing the file in the same process does not let go of the lock."""
    with open_reader(store.path) as reader:
        assert reader.crawler() == os.getpid()
    code = """import asyncio, sys
from pathlib import Path
from storage.sqlite import SqliteStore
asyncio.run(SqliteStore(Path(sys.argv[1])).open())"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, timeout=20
    )
    assert "StoreLocked" in done.stderr


async def test_the_lock_is_free_after_close(crawl_file: Path) -> None:
    """Closing lets the next one in, and nobody is named as the crawler."""
    for _ in range(2):
        async with SqliteStore(crawl_file):
            pass
    with open_reader(crawl_file) as reader:
        assert reader.crawler() is None


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            f"CREATE TABLE t (x); PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION + 1}"
        )


def text(path: Path) -> None:
    path.write_bytes(b"this is no database, it is a letter to my mother. " * 100)


def damaged(path: Path) -> None:
    foreign(path)
    path.write_bytes(path.read_bytes()[:100] + os.urandom(4000))


@pytest.mark.parametrize(
    ("make", "said"),
    [(foreign, "not a crawl"), (newer, "newer"), (text, r"\.recover"), (damaged, "crawl.db")],
)
async def test_d12_what_is_not_ours_is_refused_and_left_alone(
    crawl_file: Path, make: Callable[[Path], None], said: str
) -> None:
    """No database, another application's, or a newer version's: StoreUnreadable for store and reader, no byte changed."""
    make(crawl_file)
    before = crawl_file.read_bytes()
    with pytest.raises(StoreUnreadable, match=said) as refusal:
        async with SqliteStore(crawl_file):
            raise AssertionError
    assert str(crawl_file) in str(refusal.value)
    with pytest.raises(StoreUnreadable, match=said):
        open_reader(crawl_file)
    assert crawl_file.read_bytes() == before


async def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    """A file in a folder that does not exist, a folder in the file's place, and no file for a reader: StoreUnreadable."""
    with pytest.raises(StoreUnreadable, match="does not exist"):
        await SqliteStore(tmp_path / "no" / "crawl.db").open()
    with pytest.raises(StoreUnreadable):
        await SqliteStore(tmp_path).open()
    with pytest.raises(StoreUnreadable, match="no such file"):
        open_reader(tmp_path / "no.db")


async def test_d11_a_read_only_folder_is_refused(read_only: Path) -> None:
    """StoreUnreadable with path and reason."""
    with pytest.raises(StoreUnreadable, match="Permission denied"):
        await SqliteStore(read_only / "crawl.db").open()


async def test_v3_all_files_are_their_owners_only(store: SqliteStore) -> None:
    """0600 for the file, its write-ahead log, its shared memory and the lock, whatever the umask."""
    await whole_crawl(store)
    found = {p.name: oct(p.stat().st_mode & 0o777) for p in store.path.parent.iterdir()}
    assert found == {f"crawl.db{end}": "0o600" for end in ("", "-wal", "-shm", ".lock")}


# --- reading while writing


async def test_d16_a_reader_sees_the_last_commit_while_another_is_under_way(store: SqliteStore) -> None:
    """A reader is neither blocked by an open transaction nor shown half of it."""
    await start(store)
    count = "SELECT count(*) FROM url WHERE outcome IS NULL"
    seen = []

    def work(db: sqlite3.Connection) -> None:
        db.execute("UPDATE url SET outcome = 'page', due_at = NULL")
        seen.extend(rows(store, count))

    await store._transact(work)
    assert [*seen, *rows(store, count)] == [(1,), (0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM url",
        "CREATE TABLE t (x)",
        "PRAGMA user_version = 9",
        "UPDATE run SET pid = 1",
        "DROP VIEW pages",
        "PRAGMA journal_mode = DELETE",
    ],
)
async def test_a_reader_cannot_write(store: SqliteStore, sql: str) -> None:
    """Every way to write through `open_reader` fails or does nothing."""
    await start(store)
    before = dump(store.path)
    with open_reader(store.path) as reader:
        with suppress(sqlite3.Error):
            list(reader.query(sql)[1])
    assert dump(store.path) == before
    assert rows(store, "PRAGMA user_version") == [(VERSION,)]


async def test_a_reader_cannot_write_into_another_file(store: SqliteStore, tmp_path: Path) -> None:
    """ATTACH through a reader makes no new file."""
    with open_reader(store.path) as reader, pytest.raises(sqlite3.Error):
        reader.query(f"ATTACH '{tmp_path / 'other.db'}' AS other")
        reader.query("CREATE TABLE other.t (x)")
    assert not (tmp_path / "other.db").exists()


# --- odd values

ODD = {
    "NUL": "a\0b",
    "controls": "\x01\x1b[31m\x9b\u202e",
    "high surrogate": "a\ud800",
    "low surrogate": "\udfffb",
    "astral": "\U0001f600",
    "pair": "\ud83d\ude00",
}


@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
async def test_d23_odd_text_never_raises(store: SqliteStore, odd: str) -> None:
    """Surrogates, NUL and controls from the web are stored in some form without a NUL, and every view can be read."""
    await start(store)
    fetch = FetchRow(
        NOW, "page", None, 200, 1, 1, 1, None, odd, odd, odd, odd, odd, json.dumps([["X", odd]]), json.dumps({"k": odd})
    )
    settled = page(
        await first(store),
        link("/x", rel=odd, text=odd),
        link("/y", detail=odd, admit=False, reason="scope"),
        content=b"\x00\xff",
        fetch=fetch,
    )
    await store.commit([settled], now=NOW)
    for view in CONTRACT:
        rows(store, f"SELECT * FROM {view}")
    assert rows(store, "SELECT instr(title, char(0)) FROM pages") == [(0,)]


@pytest.mark.parametrize("number", [-1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30])
async def test_d23_odd_integers_never_raise(store: SqliteStore, number: int) -> None:
    """An integer beyond 63 bits is clamped; it never ends the crawl."""
    await start(store)
    await store.commit([page(await first(store), fetch=FetchRow(NOW, "page", None, 200, number, 1, number))], now=NOW)
    most = min(number, 2**63 - 1)
    assert rows(store, "SELECT elapsed_ms, wire_size FROM fetch") == [(most, most)]
