"""`crawler purge`: a host leaves the file for good, and stays away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crawler.cli.purge import host_name, host_of
from storage import open_reader
from storage import purge as purging
from storage.lock import FileLock
from storage.model import Place
from storage.sqlite import SqliteStore
from storage.store import StoreError
from tests.commands import cli, sh
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.web import Answer, Site, Web, page, redirect

GONE, KEPT = "127.0.1.2", "127.0.1.1"
CANARY = b"canary"
SHARED = page(title="the same on both")
HIDDEN = "&#99;anary"  # a page of the host that stays may say it, but its URLs and texts are not to remain with us


def webs(port: int) -> tuple[Site, Site]:
    """The host that stays links and redirects to the one that goes, which has a word in whatever can be stored."""
    gone = f"http://{GONE}:{port}"
    return (
        Site({
            "/": page("/moved", "/same", "/robbed") + f'<a href="{gone}/{HIDDEN}?q={HIDDEN}">{HIDDEN}</a>'
                 + f'<a href="{gone}/same">x</a><img src="{gone}/{HIDDEN}.png">',
            "/moved": redirect(f"{gone}/canary-moved"),
            "/same": SHARED,
        }),
        Site({
            "/canary?q=canary": Answer(body=page("/canary-2", f"http://{KEPT}:{port}/found", title="canary").encode(),
                                       headers=(("Content-Type", "text/html"), ("ETag", '"canary"'))),
            "/canary-2": Answer(body=os.urandom(3000) + CANARY, headers=(("Content-Type", "application/canary"),)),
            "/canary-moved": 404,
            "/same": SHARED,
        }, robots="User-agent: *\nDisallow: /canary-no\n"),
    )


async def crawled(serve: Serve, file: Path) -> Web:
    web = await serve(Site({}), Site({}))
    for handler, site in zip(web.handlers, webs(web.port), strict=True):
        handler.update(site)  # type: ignore[attr-defined]
    await run(web, file, "/", f"http://{GONE}:{web.port}/canary?q=canary", per_ip=100)
    return web


def raw(file: Path) -> bytes:
    """Every byte in the file and beside it."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob("crawl.db*")))


def dump(file: Path) -> list[tuple[str, list[Any]]]:
    with closing(sqlite3.connect(file)) as db:
        tables = [t for (t,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return [(t, db.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall()) for t in tables]


async def test_v5_a_purged_host_is_gone_to_the_last_byte(serve: Serve, crawl_file: Path) -> None:
    """After `purge` no byte of the host's URLs, texts, titles, headers or bodies is in the file or beside it; what other
    hosts have stays, the file is whole, and the exit code is 0."""
    web = await crawled(serve, crawl_file)
    assert CANARY in raw(crawl_file)
    done = await cli("purge", crawl_file, "--host", GONE, "--yes", "--json")
    assert (done.code, json.loads(done.out)["hosts"]) == (0, 1), done.err
    assert CANARY not in raw(crawl_file)
    assert f"//{GONE}".encode() not in raw(crawl_file)
    assert ask(crawl_file, "SELECT count(*) FROM hosts") == [(1,)]
    own = [url for (url,) in ask(crawl_file, "SELECT url FROM pages ORDER BY url")]
    assert own == [web.url(), web.url("/same")]
    assert ask(crawl_file, "SELECT count(*) FROM pages WHERE digest IS NULL") == [(0,)]
    with closing(sqlite3.connect(crawl_file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_v5_every_url_is_still_in_exactly_one_view(serve: Serve, crawl_file: Path) -> None:
    """A redirect whose target was purged is skipped with a reason; no row points to one that is gone, and no other table names
    the host; counters hold."""
    web = await crawled(serve, crawl_file)
    with closing(sqlite3.connect(crawl_file)) as db:
        (gone,) = db.execute("SELECT id FROM host WHERE name = ?", (GONE,)).fetchone()
        db.execute("UPDATE url SET role = ? WHERE path = '/same' AND host <> ?", (f"sitemap 1 {GONE} x.test", gone))
        db.execute("UPDATE host SET trouble = ? WHERE id <> ?", (f"leads to {GONE}", gone))
        db.execute("UPDATE run SET alone = (SELECT id FROM url WHERE host = ? LIMIT 1)", (gone,))
        db.execute("INSERT INTO shape VALUES (1, ?, 1)", (gone,))
        db.execute("INSERT OR IGNORE INTO repeat VALUES (?, 1, 1)", (gone,))
        db.commit()
    purging.purge(crawl_file, [GONE], host_of)
    views = "SELECT url FROM pages UNION ALL SELECT src FROM redirects UNION ALL SELECT url FROM failures UNION ALL " \
            "SELECT url FROM skipped"
    assert set(Counter(ask(crawl_file, views)).values()) == {1}
    assert (web.url("/moved"), "purged", "redirects to a purged host") in ask(
        crawl_file, "SELECT url, reason, detail FROM skipped")
    dangling = """SELECT count(*) FROM url u LEFT JOIN fetch f ON f.id = u.last LEFT JOIN body b ON b.id = f.body
      LEFT JOIN url p ON p.id = u.parent LEFT JOIN host h ON h.id = u.host
      WHERE (u.last AND f.id IS NULL) OR (f.body AND b.id IS NULL) OR (u.parent AND p.id IS NULL) OR h.id IS NULL"""
    assert ask(crawl_file, dangling) == [(0,)]
    assert [table for table, rows in dump(crawl_file) if GONE in str(rows)] == ["exclusion"]
    assert ask(crawl_file, "SELECT role FROM url WHERE role IS NOT NULL") == [("sitemap 1 x.test",)]
    assert ask(crawl_file, f"SELECT host FROM shape WHERE host = {gone} UNION SELECT host FROM repeat WHERE host = {gone} "
                           "UNION SELECT alone FROM run WHERE alone IS NOT NULL") == []
    counters = "SELECT sum(pages), sum(redirects), sum(failed), sum(skipped), sum(queued) FROM host"
    truth = """SELECT sum(outcome = 'page'), sum(outcome = 'redirect'), sum(outcome = 'failure'), sum(outcome = 'skipped'),
      sum(due_at IS NOT NULL) FROM url"""
    assert ask(crawl_file, counters) == ask(crawl_file, truth)


async def test_v5_a_store_that_was_closed_remembers_nothing_of_its_file(tmp_path: Path) -> None:
    """Between close and open a host is purged, and its ids are given to others: the next commit asks the file."""
    seeds = [Place("http://a.test", "a.test", "/"), Place("http://b.test", "b.test", "/")]
    store = SqliteStore(tmp_path / "crawl.db")
    async with store:
        await store.plant(seeds, now=1)
    purging.purge(store.path, ["b.test"], host_of)
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("DELETE FROM exclusion")
        db.commit()
    async with store:
        await store.plant([Place("http://c.test", "c.test", "/"), *seeds], now=2)
    urls = "SELECT o.name || u.path, h.name, u.id FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host"
    assert sorted(ask(store.path, urls)) == [(f"http://{n}.test/", f"{n}.test", i) for n, i in (("a", 1), ("b", 3), ("c", 2))]


async def test_v5_a_purged_host_is_never_asked_again(serve: Serve, crawl_file: Path) -> None:
    """Neither as a link met later, nor as a redirect, nor as a seed that is typed again: no request, a reason instead."""
    web = await crawled(serve, crawl_file)
    purging.purge(crawl_file, [GONE], host_of)
    before = len(web.requests)
    web.handlers[0]["/new"] = page(f"http://{GONE}:{web.port}/x", "/again")  # type: ignore[index]
    web.handlers[0]["/again"] = redirect(f"http://{GONE}:{web.port}/y")  # type: ignore[index]
    seed = f"http://{GONE}:{web.port}/canary?q=canary"
    done = await cli("crawl", web.url("/new"), seed, "-o", crawl_file, "--delay", "0", "--allow-private", "127.0.1.0/24",
                     "--scope", "any", "--parse-workers", "0", "--progress", "none")
    assert done.code == 0
    assert "was purged from" in done.err
    assert {r.host for r in web.requests[before:]} == {KEPT}
    assert ask(crawl_file, "SELECT url, reason, detail FROM skipped WHERE url LIKE '%127.0.1.2%' ORDER BY url") == [
        (f"http://{GONE}:{web.port}/{path}", "exclude", "purged from this file") for path in ("x", "y")]
    again = await cli("crawl", web.url("/new"), seed, "-o", crawl_file, "--delay", "0", "--allow-private",
                      "127.0.1.0/24", "--scope", "any", "--parse-workers", "0")
    assert "is complete" in again.err
    assert "refused: exclude (purged" in sh("explain", crawl_file, seed).out


async def test_v5_a_kill_in_the_midst_leaves_old_or_new(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Killed at any statement: all of the host is there, or none; what follows ends the work, to the last byte."""
    await crawled(serve, crawl_file)
    old = dump(crawl_file)
    states = set()
    for k, at in enumerate(("BEGIN", "DELETE FROM url", "INSERT OR IGNORE INTO exclusion", "COMMIT", "VACUUM",
                            "PRAGMA wal_checkpoint", "DELETE FROM meta WHERE key", "nowhere")):
        there = tmp_path / str(k) / "crawl.db"
        there.parent.mkdir()
        shutil.copy(crawl_file, there)
        killed = killed_at(at, there)
        gone = not ask(there, f"SELECT 1 FROM hosts WHERE host = '{GONE}'")
        states.add((killed, gone))
        assert gone or dump(there) == old
        if gone:
            await open_and_close(there)
        else:
            purging.purge(there, [GONE], host_of)
        assert CANARY not in raw(there)
        assert ask(there, "SELECT count(*) FROM meta WHERE key = 'purge'") == [(0,)]
    assert states == {(True, False), (True, True), (False, True)}


async def open_and_close(file: Path) -> None:
    async with SqliteStore(file):
        pass


def killed_at(start: str, file: Path) -> bool:
    """Purge in a process of its own that is killed before the statement that begins so; whether it was."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == signal.SIGKILL

    class Deadly(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.startswith(start):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().execute(sql, *parameters)

    connect = sqlite3.connect
    purging.sqlite3.connect = lambda *a, **o: connect(*a, **o, factory=Deadly)  # type: ignore[assignment,attr-defined]
    try:
        purging.purge(file, [GONE], host_of)
    finally:
        os._exit(0)


async def test_v5_a_reader_that_pins_the_old_text_is_named(serve: Serve, crawl_file: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program reads, the log cannot be emptied: that is said, and the same command again ends the work."""
    await crawled(serve, crawl_file)
    monkeypatch.setattr(purging, "PRAGMAS", purging.PRAGMAS.replace("30000", "100"))
    with open_reader(crawl_file) as reader:
        rows = reader.query("SELECT src FROM links")[1]
        next(rows)
        with pytest.raises(StoreError, match=r"being read by another program.*same command again"):
            purging.purge(crawl_file, [GONE], host_of)
        del rows
    purging.purge(crawl_file, [GONE], host_of)
    assert CANARY not in raw(crawl_file)


async def test_v5_purge_asks_and_refuses(serve: Serve, crawl_file: Path) -> None:
    """Without --yes and without a terminal nothing is deleted (2); while a crawl runs neither (75)."""
    await crawled(serve, crawl_file)
    old = dump(crawl_file)
    done = sh("purge", crawl_file, "--host", GONE)
    assert (done.code, "--yes" in done.err) == (2, True)
    lock = FileLock(crawl_file)
    lock.acquire()
    assert sh("purge", crawl_file, "--host", GONE, "--yes").code == 75
    lock.release()
    assert sh("purge", crawl_file.with_name("none.db"), "--host", GONE, "--yes").code == 2
    assert dump(crawl_file) == old


@pytest.mark.parametrize(("text", "host"), [
    ("example.org", "example.org"), ("WWW.Example.Org.", "www.example.org"), ("bücher.example", "xn--bcher-kva.example"),
    ("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("https://example.org/", None), ("example.org:80", None),
    ("example.org/x", None), ("a@example.org", None), ("*.example.org", None), ("", None)])
def test_v5_only_a_host_is_a_host(text: str, host: str | None) -> None:
    """A URL, a port, a pattern or nothing is refused: what is deleted must be what was meant."""
    if host is None:
        assert sh("purge", "crawl.db", "--host", text, "--yes").code == 2
    else:
        assert host_name(text) == host
