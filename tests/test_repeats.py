"""Pages that have too much of one thing: the same body for many URLs (storage.repeats, FAULTS T3), links (P6, P7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import open_reader
from storage.repeats import MOST, SAME
from storage.sqlite import SqliteStore
from tests.conftest import Serve
from tests.crawls import ask, asked, run
from tests.settlements import NOW, link, page, place, queue, redirect, start
from tests.web import Answer, Request, Site
from tests.web import page as html


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "crawl.db") as store:
        yield store


async def visit(store: SqliteStore, each: int) -> None:
    """Settle what is queued, ``each`` pages a batch: all of them one body, with a link that each has for itself."""
    rows = await queue(store)
    for at in range(0, len(rows), each):
        found = [page(row, link(f"/from{row.place.path}"), content=b"not found, sorry") for row in rows[at : at + each]]
        await store.commit(found, now=NOW)


@pytest.mark.parametrize("each", [1, 7, 200])
async def test_t3_of_pages_with_one_body_a_hundred_lead_on(tmp_path: Path, each: int) -> None:
    """The links of a host's pages whose body 100 others have are edges that nobody follows, their new targets skipped as
    `trap`; whatever the batches, over a restart, and for each host by itself."""
    seeds = [place(f"/{n}") for n in range(60)]
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, *seeds)
        await visit(store, each)
        assert len(await queue(store)) == 60
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, *seeds, place("/b", "b.test"))
        await visit(store, each)
        inside = {row.place.url for row in await queue(store)}
        assert len(inside) == MOST - 60 + 1
        assert "http://a.test/from/b" in inside
        with open_reader(store.path) as reader:
            skipped = list(reader.query("SELECT reason, detail FROM skipped")[1])
            assert reader.one("SELECT count(*) FROM link") == (121,)
        assert skipped == [("trap", SAME)] * 20


async def test_t3_a_better_page_admits_what_such_a_page_named(store: SqliteStore) -> None:
    """What only pages with a repeated body linked to comes in when an honest page links to it."""
    await start(store, *(place(f"/{n}") for n in range(MOST + 2)), place("/honest"))
    rows = {row.place.path: row for row in await queue(store)}
    honest = rows.pop("/honest")
    await store.commit([page(row, link("/gem"), content=b"x") for row in list(rows.values())[:MOST]], now=NOW)
    await store.commit([page(row, link(f"/only{n}"), content=b"x") for n, row in enumerate(list(rows.values())[MOST:])], now=NOW)
    assert sorted(row.place.path for row in await queue(store)) == ["/gem", "/honest"]
    await store.commit([page(honest, link("/only0"), content=b"y")], now=NOW)
    assert sorted((row.place.path, row.depth) for row in await queue(store)) == [("/gem", 1), ("/only0", 1)]


@pytest.mark.parametrize("together", [True, False])
async def test_t3_such_a_page_takes_nothing_from_what_an_honest_one_named(store: SqliteStore, together: bool) -> None:
    """What is only too deep for now stays so, though such a page links to it too: a shorter way to it brings it in."""
    await start(store, *(place(f"/{n}") for n in range(MOST + 1)), place("/far"), place("/late"), max_depth=1)
    rows = {row.place.path: row for row in await queue(store)}
    far, late = rows.pop("/far"), rows.pop("/late")
    *many, last = [page(row, content=b"x") for row in rows.values()]
    last = replace(last, links=(link("/x"),))
    await store.commit([*many, page(far, link("/a"), content=b"y")], now=NOW)
    [honest] = [row for row in await queue(store) if row.place.path == "/a"]
    for batch in [[page(honest, link("/x"), content=b"z"), last]] if together else [[page(honest, link("/x"))], [last]]:
        await store.commit(batch, now=NOW)
    with open_reader(store.path) as reader:
        assert reader.one("SELECT reason FROM skipped WHERE url LIKE '%/x'") == ("depth",)
    await store.commit([redirect(late, link("/a", kind="redirect", step=0))], now=NOW)
    assert [(row.place.path, row.depth) for row in await queue(store)] == [("/x", 1)]


async def test_p6_p7_what_was_cut_is_said_in_the_row(serve: Serve, crawl_file: Path) -> None:
    """Of a page with more than 10,000 links and one URL of more than 4,096 characters both are flagged in `pages`, and the
    first 10,000 links are edges."""
    web = await serve(Site({"/": html("/" + "x" * 4096, *(f"/{n}" for n in range(10_001)))}))
    await run(web, crawl_file, scope="page")
    assert ask(crawl_file, "SELECT data->>'truncated', data->>'dropped_links' FROM pages") == [("links", 1)]
    assert ask(crawl_file, "SELECT count(*) FROM links") == [(10_000,)]


async def test_t3_soft_404s_without_end_end(serve: Serve, crawl_file: Path) -> None:
    """A host that answers every path with one page of relative links: a hundred are expanded, and the crawl ends."""
    same = "<!DOCTYPE html><title>Oops</title><a href='?a'>a</a><a href='./x/'>deeper</a>"

    def oops(request: Request) -> Answer:
        return Answer(body=same.encode())

    site = Site({"/": html(*(f"/{n}/" for n in range(150)))})
    site.update({f"/{n}/{'x/' * m}{q}": oops for n in range(150) for m in range(5) for q in ("", "?a")})
    web = await serve(site)
    assert (await run(web, crawl_file)).state == "complete"
    assert len(asked(web)) <= 1 + 150 + 2 * MOST
    assert dict(ask(crawl_file, "SELECT reason, count(*) > 0 FROM skipped GROUP BY 1")) == {"trap": 1}
