"""`crawler rescope`: other rules for what a crawl knows, seen before they are applied, and without a request."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from storage import open_reader
from storage.lock import FileLock
from tests.commands import cli, sh
from tests.conftest import Serve
from tests.crawls import ask, asked, run
from tests.test_recrawl import again
from tests.web import Site, Web, page

TABLES = ("url", "fetch", "run", "meta", "link", "host", "shape")
QUICK = ("--delay", "0", "--progress", "none", "--patience", "1")


async def crawled(serve: Serve, file: Path, **options: Any) -> Web:
    """Two hosts: the crawl's own, with a section of news, and another one it links to."""
    web = await serve(Site({}), Site({"/": page("/deep"), "/deep": page()}))
    own = {"/": page("/news/1", "/news/2", "/shop", web.url("/", host=2)), "/news/1": page(), "/news/2": page("/news/3"),
           "/news/3": page(), "/shop": page("/shop/1"), "/shop/1": page()}
    web.handlers[0].update(own)  # type: ignore[attr-defined]
    await run(web, file, **options)
    web.requests.clear()
    return web


def contents(file: Path) -> list[list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(file)) as db:
        return [sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in TABLES]


def urls(done: str) -> dict[tuple[str, str], tuple[int, list[str]]]:
    return {(row["what"], row["reason"]): (row["urls"], row["examples"]) for row in json.loads(done)["urls"]}


async def test_wider_rules_are_shown_and_then_applied(serve: Serve, crawl_file: Path) -> None:
    """What was refused and would be let in now, by reason, with examples; --dry-run leaves the file as it is, without it the
    same is done in one transaction, and `resume` fetches it by the new rules."""
    web = await crawled(serve, crawl_file, exclude=("/shop",))
    before = contents(crawl_file)
    wider = ("--scope", "any", "--exclude", "/never", "--json")
    dry = sh("rescope", crawl_file, *wider, "--dry-run")
    there, shop = web.url("/", host=2), web.url("/shop")
    assert urls(dry.out) == {("admitted", "scope"): (1, [there]), ("admitted", "exclude"): (1, [shop])}
    assert json.loads(dry.out)["settings"]["scope"] == {"before": "host", "now": "any"}
    assert "would be changed: scope host -> any" in dry.err
    assert contents(crawl_file) == before
    assert urls(sh("rescope", crawl_file, *wider).out) == urls(dry.out)
    assert web.requests == []
    assert sorted(url for (url,) in ask(crawl_file, "SELECT url FROM queue")) == sorted([there, shop])
    with open_reader(crawl_file) as reader:
        last = reader.run()
        assert last is not None
        assert (last.ending, last.requests, last.spec["scope"]) == ("rescoped", 0, "any")
    assert (await cli("resume", crawl_file, *QUICK, "--allow-private", "127.0.1.0/24")).code == 0
    assert sorted({*asked(web)}) == ["/", "/deep", "/shop", "/shop/1"]
    assert urls(sh("rescope", crawl_file, "--json").out) == {}


async def test_narrower_rules_refuse_what_waits_and_keep_what_is_there(serve: Serve, crawl_file: Path) -> None:
    """Queued URLs outside are refused; pages outside stay, are counted, and are not visited again, not even by a recrawl."""
    web = await crawled(serve, crawl_file, revisit="7d", max_pages=5)
    waiting = [url for (url,) in ask(crawl_file, "SELECT url FROM queue WHERE priority = 0")]
    assert len(waiting) == 1
    done = sh("rescope", crawl_file, "--exclude", "/news/|/shop/", "--json")
    found = urls(done.out)
    pages = ask(crawl_file, "SELECT url FROM pages WHERE url LIKE '%/news/%' OR url LIKE '%/shop/%' ORDER BY 1")
    outside = (len(pages), sorted(url for (url,) in pages)[:3])
    assert found == {("refused", "exclude"): (1, waiting), ("outside, and kept", "exclude"): outside,
                     ("not visited again", "exclude"): outside}
    assert ask(crawl_file, "SELECT count(*) FROM queue") == [(5 - len(pages),)]
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(5,)]
    await again(web, crawl_file, exclude=("/news/|/shop/",), max_pages=5)
    assert not [path for path in asked(web) if "/news/" in path or "/shop/" in path]


async def test_the_table_is_for_people(serve: Serve, crawl_file: Path) -> None:
    """A row for each reason, up to three examples; who has nothing to change is told so."""
    await crawled(serve, crawl_file)
    table = sh("rescope", crawl_file, "--exclude", "/news/", "--dry-run").out
    assert table.count("/news/") == 3
    assert table.count("outside, and kept") == 1
    assert "nothing would change" in sh("rescope", crawl_file, "--dry-run").err


async def test_who_may_not(serve: Serve, crawl_file: Path) -> None:
    """No file and a setting that is none: exit 2; a file that is being crawled: exit 75. Nothing is changed."""
    assert sh("rescope", crawl_file).code == 2
    await crawled(serve, crawl_file)
    before = contents(crawl_file)
    assert sh("rescope", crawl_file, "--include", "(").code == 2
    with FileLock(crawl_file):
        assert sh("rescope", crawl_file, "--scope", "any").code == 75
    assert contents(crawl_file) == before
