"""The index of a crawl file: search, near duplicates, and that it is only ever a copy of what the file says."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crawler.indexing import bring_up_to_date
from crawler.parse.text import MAX_JSON, extract, simhash
from storage import index, open_reader
from storage import purge as purging
from storage.lock import FileLock
from storage.near import near
from storage.questions import QUESTIONS
from tests.commands import EVIL, RAW, Done, sh
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.killing import environment
from tests.test_purge import CANARY, GONE, host_of, raw
from tests.test_purge import crawled as crawled_for_purge
from tests.test_upgrade import OLD, restored
from tests.web import Answer, Site, Web, page

PROSE = " ".join(f"word{n * 7 % 101} and thing{n * 13 % 97}" for n in range(300))


def site() -> Site:
    return Site({
        "/": page("/cats", "/dogs", "/copy", "/evil", "/bin", "/pets", title="Start"),
        "/pets": page(title="Pets") + "<p>dogs dogs dogs</p>",
        "/cats": page(title="Cats") + f"<p>The quick brown cat naps.</p><script>hidden()</script><p>{PROSE}</p>",
        "/copy": page(title="Cats") + f"<p>The quick brown cat naps!</p><p>{PROSE} indeed</p>",
        "/dogs": page("/cats", title="Dogs") + "<p>Un café très noir, and a cat.</p>",
        "/evil": page(title=EVIL) + f"<p>needle {EVIL} haystack</p>",
        "/bin": Answer(body=b"needle in bytes", headers=(("Content-Type", "text/plain"),)),
    })


async def crawled(serve: Serve, file: Path) -> Web:
    web = await serve(site())
    await run(web, file)
    return web


async def do(*arguments: object) -> Done:
    """`crawler` beside the loop of this test: it has one of its own."""
    return await asyncio.to_thread(sh, *arguments)


async def hits(file: Path, *words: str) -> list[str]:
    """Paths of what search finds, the best first."""
    done = await do("search", file, *words, "--json")
    assert done.code == 0, done.err
    return ["/" + row["url"].split("/", 3)[3] for row in json.loads(done.out)]


async def test_search_finds_words_in_titles_and_texts(serve: Serve, crawl_file: Path) -> None:
    """All words must be there; a title counts more; phrases, beginnings, accents and case; no scripts, no syntax to know."""
    await crawled(serve, crawl_file)
    assert await hits(crawl_file, "CAFE") == ["/dogs"]
    assert set(await hits(crawl_file, "cat")) == {"/cats", "/copy", "/dogs"}
    assert set(await hits(crawl_file, "quick", "naps")) == {"/cats", "/copy"}
    assert await hits(crawl_file, "noir and a") == ["/dogs"]
    assert await hits(crawl_file, "quick naps") == []
    assert (await hits(crawl_file, "dogs"))[:2] == ["/dogs", "/pets"]
    assert set(await hits(crawl_file, "caf*")) == {"/dogs"}
    assert await hits(crawl_file, "hidden") == []
    for odd in ('"', "NEAR(", "a AND", "title:x", "-", "*", "^", "\x00", ""):
        assert (await do("search", crawl_file, odd)).code == 0, odd
    done = await do("search", crawl_file, "noir")
    assert "Dogs\n  http://" in done.out
    assert "très [noir]" in done.out
    assert stat.S_IMODE(index.path_of(crawl_file).stat().st_mode) == 0o600


async def test_o1_search_results_cannot_draw(serve: Serve, crawl_file: Path) -> None:
    """Nothing in a hostile title, URL or snippet reaches the terminal as a control character."""
    await crawled(serve, crawl_file)
    done = await do("search", crawl_file, "needle")
    assert "haystack" in done.out
    assert not RAW & set(done.out + done.err)


async def test_search_says_what_it_left_out(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pages than are shown, or than are ranked, are counted on stderr; so is nothing at all."""
    await crawled(serve, crawl_file)
    assert (await do("search", crawl_file, "cat", "--limit", "1")).err == "the best 1 of 3 pages; --limit shows more\n"
    monkeypatch.setattr("storage.index.RANKED", 2)
    done = await do("search", crawl_file, "cat")
    assert (done.out.count("http://"), "the best 2 of the first 2 pages that match" in done.err) == (2, True)
    assert (await do("search", crawl_file, "unicorn")).err == "no page has unicorn\n"


async def test_search_sees_what_came_since(serve: Serve, crawl_file: Path) -> None:
    """New and changed pages are indexed with the next search, those that are gone leave it; nothing is read twice."""
    web = await crawled(serve, crawl_file)
    assert await hits(crawl_file, "zebra") == []
    web.handlers[0]["/new"] = page(title="Zebra")  # type: ignore[index]
    await run(web, crawl_file, "/new")
    assert (await do("search", crawl_file, "zebra", "--no-update")).err.startswith("1 request not in the index yet")
    assert await hits(crawl_file, "zebra") == ["/new"]
    with open_reader(crawl_file) as reader:
        assert index.behind(reader.db, "text") == 0
    with closing(sqlite3.connect(crawl_file)) as db:  # as if it had been visited again, and failed
        db.execute("INSERT INTO fetch (url, run, at, outcome, elapsed_ms, attempt, wire_size) "
                   "SELECT id, 1, 0, 'failure', 1, 1, 0 FROM url WHERE path = '/new'")
        db.execute("UPDATE url SET outcome = 'failure' WHERE path = '/new'")
        db.commit()
    assert await hits(crawl_file, "zebra") == []


async def test_near_duplicates_and_measures(serve: Serve, crawl_file: Path) -> None:
    """`crawler index` makes `duplicates`, `click_depth` and `pagerank`; without it SQL that needs them says so."""
    web = await crawled(serve, crawl_file)
    assert await hits(crawl_file, "noir") == ["/dogs"]
    done = await do("query", crawl_file, "SELECT * FROM pagerank")
    assert (done.code, f"crawler index {crawl_file}" in done.err) == (2, True)
    assert (await do("index", crawl_file)).code == 0
    assert ask(crawl_file, "SELECT alike, url, same_as FROM duplicates") == [("near", web.url("/copy"), web.url("/cats"))]
    assert dict(ask(crawl_file, "SELECT url, click_depth FROM click_depth")) == {
        web.url(path): int(path != "/") for path in site()}
    assert ask(crawl_file, "SELECT round(sum(pagerank), 9) FROM pagerank") == [(1.0,)]
    for name in ("duplicates", "click-depth", "pagerank"):
        assert (await do("query", crawl_file, name)).code == 0


@pytest.mark.parametrize("damage", ["", "letter", "other", "cut"])
async def test_an_index_that_is_not_this_crawls_is_made_anew(serve: Serve, crawl_file: Path, damage: str) -> None:
    """An empty, foreign, damaged or other crawl's index is neither trusted nor in the way."""
    await crawled(serve, crawl_file)
    await asyncio.to_thread(bring_up_to_date, crawl_file, graph=False, say=print)
    side = index.path_of(crawl_file)
    if damage == "other":
        with closing(sqlite3.connect(side)) as db:
            db.execute("UPDATE meta SET value = 'another' WHERE key = 'crawl'")
            db.commit()
    else:
        side.write_bytes(side.read_bytes()[:5000] if damage == "cut" else damage.encode())
    assert (await do("query", crawl_file, "SELECT count(*) FROM pages")).code == 0
    assert await hits(crawl_file, "noir") == ["/dogs"]


async def test_p1_a_hostile_page_costs_only_its_own_text(serve: Serve, crawl_file: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that kills its parse worker leaves a reason in the index; all others are found. One that killed a worker of the
    crawl is not tried again."""
    web = await serve(Site({path: page("/good", "/segv", "/spin", title="t") for path in ("/", "/good", "/segv", "/spin")}))
    await run(web, crawl_file)
    with closing(sqlite3.connect(crawl_file)) as db:  # tried again, it would say 'timeout'
        db.execute("UPDATE fetch SET parse = 'memory' WHERE url = (SELECT id FROM url WHERE path = '/spin')")
        db.commit()
    monkeypatch.setattr("crawler.indexing.EXTRACTOR", "tests.bombs:misbehave")
    assert (await do("index", crawl_file)).err.endswith("of 1: crash\ntext not, or not wholly, indexed of 1: memory\n")
    assert set(await hits(crawl_file, "t")) == {"/", "/good", "/segv", "/spin"}


async def test_one_process_writes_the_index(serve: Serve, crawl_file: Path) -> None:
    """While another brings it up to date, `search` answers from what is there, and `index` is exit 75."""
    await crawled(serve, crawl_file)
    await asyncio.to_thread(bring_up_to_date, crawl_file, graph=False, say=print)
    lock = FileLock(index.path_of(crawl_file))
    lock.acquire()
    done = await do("search", crawl_file, "noir")
    assert ("Dogs" in done.out, "another process" in done.err) == (True, True)
    assert (await do("index", crawl_file)).code == 75
    assert (await do("purge", crawl_file, "--host", GONE, "--yes")).code == 75
    lock.release()


async def test_a_crawl_can_be_searched_while_it_runs(serve: Serve, crawl_file: Path) -> None:
    """The crawl file is only read: its lock may be held by a crawl, and the index is made all the same."""
    await crawled(serve, crawl_file)
    lock = FileLock(crawl_file)
    lock.acquire()
    before = crawl_file.read_bytes()
    assert await hits(crawl_file, "noir") == ["/dogs"]
    assert crawl_file.read_bytes() == before
    lock.release()


async def test_v5_a_purge_takes_the_index_too(serve: Serve, crawl_file: Path) -> None:
    """After `purge` nothing of the host is in the index; the next search knows the pages that stayed."""
    await crawled_for_purge(serve, crawl_file)
    assert CANARY not in b"".join(p.read_bytes() for p in crawl_file.parent.glob("*.index*"))
    assert "canary" in (await do("search", crawl_file, "canary")).out
    assert CANARY in b"".join(p.read_bytes() for p in crawl_file.parent.glob("*.index*"))
    os.link(index.path_of(crawl_file), crawl_file.with_name("crawl.db.linked"))  # what is left of it on the disk
    with open_reader(crawl_file):  # a reader of the index is not in the way
        purging.purge(crawl_file, [GONE], host_of)
    assert CANARY not in raw(crawl_file)
    assert await hits(crawl_file, "same") == ["/same"]
    assert await hits(crawl_file, "canary") == ["/"]  # what another host's page says of it is its own


async def test_ctrl_c_keeps_what_is_indexed(serve: Serve, crawl_file: Path) -> None:
    """SIGINT ends `index` with 130, without a traceback, and what was committed is not done again."""
    await crawled(serve, crawl_file)
    script = ("import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
              "from storage.indexing import Indexing; put = Indexing.put\n"
              "def once(self, *a): put(self, *a); os.kill(os.getpid(), signal.SIGINT)\n"
              "Indexing.put = once; from storage import indexing; indexing.PAGES = 2\n"
              "from crawler.__main__ import main; main()")
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, "index", str(crawl_file)],
                                   capture_output=True, text=True, timeout=30, env=environment(), check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False)
    with open_reader(crawl_file) as reader:
        assert 0 < (index.behind(reader.db, "text") or 0) < 7
    assert await hits(crawl_file, "noir") == ["/dogs"]


@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
def test_a_file_of_an_older_version_is_searched_and_asked(tmp_path: Path, dump: Path) -> None:
    """Without an upgrade, for it is only read; a question that its version has no answer to says so."""
    file = restored(dump, tmp_path / "crawl.db")
    assert sh("index", file).code == 0
    assert sh("search", file, "a").code == 0
    errors = {name: done.err for name in QUESTIONS if (done := sh("query", file, name)).code}
    assert errors.keys() == {"hosts", "downgrades", "sitemap-gaps", "not-in-sitemap"}
    assert all(f"of an older version, without it; crawler resume {file}" in error for error in errors.values())


def test_a_text_fits_an_answer_of_a_worker() -> None:
    """A long text is cut, and says so; one without a tree has none."""
    from selectolax.lexbor import LexborHTMLParser

    found = extract(LexborHTMLParser("<p>" + "日本語 " * 50_000), "http://x/")
    assert (found["cut"], len(json.dumps(found["text"])) <= MAX_JSON) == (True, True)
    assert extract(None, "http://x/") == {}


def test_simhash_and_its_groups() -> None:
    """A changed word moves few bits, another text half of them; groups are of three bits or fewer, counted from their first."""
    words = [f"w{n}" for n in range(2_000)]
    base = simhash(words)
    close = simhash([*words[:1_000], "changed", *words[1_001:]])
    other = simhash([f"x{n}" for n in range(2_000)])
    assert base is not None
    assert close is not None
    assert other is not None
    mask = (1 << 64) - 1
    assert ((base ^ close) & mask).bit_count() <= 3 < 20 < ((base ^ other) & mask).bit_count()
    assert simhash(["one", "two"]) is None
    flips = [(1 << a) ^ (1 << b) ^ (1 << c) for a in range(0, 64, 7) for b in range(1, 64, 11) for c in range(2, 64, 13)]
    assert all(list(near([(1, 0), (2, flip)])) == [(2, 1, flip.bit_count())] for flip in flips)
    assert list(near([(1, 0b1111), (2, 0), (3, 0b0011), (4, -1)])) == [(3, 1, 2)]
