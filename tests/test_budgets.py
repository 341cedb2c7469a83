"""storage.budget: what a host, and one path with the same query keys, may bring into a crawl (FAULTS T1, T5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.summary import describe
from storage import open_reader
from storage.budget import _shape
from storage.model import Budgets, LinkRow
from storage.sqlite import SqliteStore
from tests.conftest import Serve
from tests.crawls import ask, asked, paths, run
from tests.settlements import NOW, first, judge, link, nofollow, page, place, queue, start
from tests.web import Answer, Request, Site
from tests.web import page as html


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "crawl.db") as store:
        yield store


async def waiting(store: SqliteStore) -> list[str]:
    return sorted(row.place.path for row in await queue(store))


def refused(store: SqliteStore) -> dict[str, tuple[str, str]]:
    with open_reader(store.path) as reader:
        return {url: why for url, *why in reader.query("SELECT url, reason, detail FROM skipped")[1]}


def links(*paths: str, host: str = "a.test") -> list[LinkRow]:
    return [link(path, host=host) for path in paths]


async def test_t1_t5_a_host_brings_in_so_many_urls(store: SqliteStore) -> None:
    """At the budget of a seed's host (of all others: a smaller one) the first are admitted, the rest are rows with the
    setting that admits more; what is known, mentioned or nofollow costs nothing; other hosts go on."""
    await start(store, budgets=Budgets(host=4, other_host=1))
    seen = [link("/img", kind="img", step=None, admit=False), nofollow("/no"), link("/")]
    row = await first(store)
    await store.commit([page(row, *seen, *links("/1", "/2", "/1"), *links("/x", "/y", host="b.test"))], now=NOW)
    assert await waiting(store) == ["/1", "/2", "/x"]
    await store.commit([page(await first(store, "/1"), *links("/2", "/3", "/4", "/5", "/img", "/no", "/"))], now=NOW)
    assert await waiting(store) == ["/2", "/3", "/x"]
    over = ("limit", "over --host-budget 4")
    assert {url: tuple(why) for url, why in refused(store).items()} == {
        "http://b.test/y": ("limit", "over --other-host-budget 1"),
        **{f"http://a.test{path}": over for path in ("/4", "/5", "/img", "/no")},
    }


async def test_t1_a_path_with_the_same_query_keys_brings_in_so_many_urls(store: SqliteStore) -> None:
    """A calendar: one path with the same set of keys, whatever their values and order, has a budget of its own; other
    paths, other keys and what is known already do not count."""
    await start(store, budgets=Budgets(query=2, other_query=1))
    row = await first(store)
    calendar = links("/c?d=1&m=1", "/c?m=2&d=1", "/c?d=1&m=1", "/c?d=3&m=3", "/c?d=4", "/e?d=1&m=1", "/c")
    await store.commit([page(row, *calendar, *links("/c?d=1", "/c?d=2", host="b.test"))], now=NOW)
    inside = ["/c", "/c?d=1", "/c?d=1&m=1", "/c?d=4", "/c?m=2&d=1", "/e?d=1&m=1"]
    assert await waiting(store) == inside
    await store.commit([page(await first(store, "/c"), *links("/c?d=1&m=1", "/c?d=9", "/c?d=8&m=8"))], now=NOW)
    assert await waiting(store) == [*inside[1:4], "/c?d=9", *inside[4:]]
    over = "over --query-budget 2: one path, the same query keys"
    assert {url: tuple(why) for url, why in refused(store).items()} == {
        "http://a.test/c?d=3&m=3": ("trap", over),
        "http://a.test/c?d=8&m=8": ("trap", over),
        "http://b.test/c?d=2": ("trap", "over --other-query-budget 1: one path, the same query keys"),
    }


async def test_t1_budgets_hold_over_restarts_and_can_be_raised(tmp_path: Path) -> None:
    """A budget counts what earlier runs admitted; raised, what it refused is judged again and comes in as far as there
    is room; seeds are exempt; 0 is no limit."""
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, budgets=Budgets(host=3, query=1))
        await store.commit([page(await first(store), *links("/1?a=1", "/2?a=2", "/3", "/4"))], now=NOW)
        assert await waiting(store) == ["/1?a=1", "/2?a=2"]
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, place("/seed"), budgets=Budgets(host=3, query=1))
        await store.commit([page(await first(store, "/seed"), *links("/5", "/1?a=3"))], now=NOW)
        assert await waiting(store) == ["/1?a=1", "/2?a=2"]
    for budgets, readmitted, inside in (
        (Budgets(host=5, query=1), 1, ["/1?a=1", "/2?a=2", "/3"]),
        (Budgets(host=0, query=1), 2, ["/1?a=1", "/2?a=2", "/3", "/4", "/5"]),
        (Budgets(host=0, query=0), 1, ["/1?a=1", "/1?a=3", "/2?a=2", "/3", "/4", "/5"]),
    ):
        async with SqliteStore(tmp_path / "crawl.db") as store:
            await start(store, budgets=budgets)
            assert await store.rescope(judge(), now=NOW) == readmitted
            assert await waiting(store) == inside


async def test_t1_what_depth_refused_and_a_shorter_way_brings_back_is_counted(store: SqliteStore) -> None:
    """A URL that only its depth kept out needs room like any other when a shorter way to it is found."""
    await start(store, place("/1"), place("/2"), max_depth=1, budgets=Budgets(host=3))
    await store.commit([page(await first(store, "/1"), link("/in"))], now=NOW)
    await store.commit([page(await first(store, "/in"), link("/deep"))], now=NOW)
    await store.commit([page(await first(store, "/2"), link("/deep"))], now=NOW)
    assert await waiting(store) == []
    assert refused(store)["http://a.test/deep"] == ["limit", "over --host-budget 3"]


@given(st.lists(st.sampled_from(["a=1", "a=2", "b=", "b", "c=%3D"]), min_size=1))
def test_t1_a_shape_is_host_path_and_key_set(pairs: list[str]) -> None:
    """Order, repetition and values do not matter; host, path and keys do; it fits SQLite's integer."""
    keys = {pair[0] for pair in pairs}
    shape = _shape(1, "/p?" + "&".join(pairs))
    assert shape == _shape(1, "/p?" + "&".join(f"{key}=x" for key in sorted(keys)))
    others = [_shape(2, "/p?" + "&".join(pairs)), _shape(1, "/q?" + "&".join(pairs)), _shape(1, "/p?z&" + "&".join(pairs))]
    assert len({shape, *others}) == 4
    assert 0 < shape < 2**63


async def test_t5_a_flood_of_urls_costs_little(store: SqliteStore) -> None:
    """A host that names 20,000 URLs beyond its budget grows the file by no more than 300 bytes each, all of them rows."""
    await start(store, budgets=Budgets(host=100))
    row, n = await first(store), 20_000
    before = store.path.stat().st_size
    for part in range(4):
        found = links(*(f"/listing/page-{i}.html?session={i:08x}" for i in range(part, n, 4)))
        await store.commit([page(row, *[one._replace(kind=f"{part}") for one in found])], now=NOW)
    await store.close()
    grown = store.path.stat().st_size - before
    assert len(refused(store)) == n - 99
    assert grown / n < 300


async def test_t1_an_endless_calendar_ends_and_the_rest_goes_on(serve: Serve, crawl_file: Path) -> None:
    """Of a calendar without end so many days are fetched as its budget says, and all honest pages of its host; the
    summary names host and setting; with a raised budget the same command goes on."""

    def day(request: Request) -> Answer:
        n = int(request.path.partition("=")[2] or 0)
        return Answer(body=html(f"/cal?d={n + 1}", f"/cal?d={n + 2}", f"/p/{min(n, 30)}").encode())

    site = Site({"/": html("/cal?d=0", "/p/0"), **{f"/p/{n}": html(f"/p/{n + 1}") for n in range(40)}})
    site.update({f"/cal?d={n}": day for n in range(100)})
    web = await serve(site)
    ending = await run(web, crawl_file, query_budget=20)
    assert ending.state == "complete"
    assert sum(path.startswith("/cal") for path in asked(web)) == 20
    assert sum(path.startswith("/p") for path in asked(web)) == 41
    with open_reader(crawl_file) as reader:
        said = describe(ending, crawl_file, reader)
    assert "URLs of 127.0.1.1 are skipped, over --query-budget 20: one path, the same query keys (0: no limit)" in said
    assert (await run(web, crawl_file, query_budget=30)).state == "complete"
    assert sum(path.startswith("/cal") for path in asked(web)) == 30
    assert max(Counter(asked(web)).values()) == 1
    assert len(paths(web, crawl_file, "skipped")) == len(ask(crawl_file, "SELECT 1 FROM skipped WHERE reason = 'trap'"))
