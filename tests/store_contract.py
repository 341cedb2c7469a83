"""The contract of `storage.store.Store`, as tests that every implementation inherits.

    class TestMyStore(StoreContract):
        def open(self, folder): ...   # an async context manager that gives an open store
        def facts(self, store): ...   # what it holds of every URL

Everything else is asked through the protocol.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from storage.model import (
    Before,
    Budgets,
    Counts,
    FetchRow,
    HostRow,
    LinkRow,
    OriginRow,
    Place,
    Settlement,
    Tally,
)
from tests.random_web import Graph, crawl_graph, graphs, long_way_round, shorter_chain
from tests.settlements import (
    FAR,
    NOW,
    Fact,
    body,
    failure,
    first,
    judge,
    link,
    nofollow,
    page,
    place,
    queue,
    redirect,
    start,
)


class StoreContract:
    """Inherit, and give `open`, `facts` and `recounted`."""

    def open(self, folder: Path) -> AbstractAsyncContextManager[Any]:
        """An open store in ``folder``; opened again there, it finds what it held."""
        raise NotImplementedError

    def facts(self, store: Any) -> dict[str, Fact]:
        """Every http(s) URL the store knows."""
        raise NotImplementedError

    def recounted(self, store: Any) -> Counts:
        """What `counts` must say (`slowest_ms` apart), counted from the URLs themselves."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Any]:
        async with self.open(tmp_path) as store:
            yield store

    # begin

    async def test_begin_makes_the_seeds_due_at_once(self, store: Any) -> None:
        """A seed is queued at depth 0 and due now; a fresh store says it was not resumed."""
        begun = await start(store, place("/"), place("/b", "b.test"))
        assert (begun.resumed, begun.answered, begun.counts.queued) == (False, False, 2)
        assert [s.url for s in begun.seeds] == ["http://a.test/", "http://b.test/b"]
        assert {(r.place.url, r.depth, r.due_at, r.seed) for r in await queue(store)} == {
            ("http://a.test/", 0, NOW, True),
            ("http://b.test/b", 0, NOW, True),
        }

    async def test_begin_again_says_what_was_and_keeps_what_came_of_a_seed(self, tmp_path: Path) -> None:
        """A later run is told the last spec; a settled seed is not queued again, a new one joins; nothing is deleted."""
        async with self.open(tmp_path) as store:
            await start(store, delay=2)
            await store.commit([page(await first(store), link("/next"))], now=NOW)
            await store.end("interrupted", now=NOW)
        async with self.open(tmp_path) as store:
            begun = await start(store, place("/"), place("/new"), delay=3)
            assert begun.resumed
            assert (begun.counts.pages, begun.counts.queued) == (1, 2)
            assert sorted(r.place.path for r in await queue(store)) == ["/new", "/next"]

    async def test_a_seed_named_twice_is_one(self, store: Any) -> None:
        """The same seed twice in a list, and again in a second run, is one URL."""
        await start(store, place(), place())
        begun = await start(store, place())
        assert len(begun.seeds) == 1
        assert begun.counts.queued == 1

    async def test_a_seed_is_exempt_from_max_depth_and_what_was_found_deeper_is_lifted(self, store: Any) -> None:
        """A URL that a link found at depth 3 and that is a seed later has depth 0."""
        await start(store, max_depth=0)
        await store.commit([page(await first(store), link("/deep"))], now=NOW)
        assert self.facts(store)["http://a.test/deep"] == Fact(1, "skipped", "depth", False)
        await start(store, place("/deep"), max_depth=0)
        assert self.facts(store)["http://a.test/deep"] == Fact(0, None, None, True)

    # hosts and due

    async def test_hosts_come_longest_waiting_first_without_held_idle_and_blocked(self, store: Any) -> None:
        """`hosts` orders by the host's clock; leaves out hosts held, without a queue, or blocked beyond the horizon."""
        names = ["a.test", "b.test", "c.test", "d.test", "e.test"]
        await start(store, *(place("/", n) for n in names), place("/2"), place("/2", "b.test"), place("/2", "d.test"))
        clocks = {"a.test": (NOW + 5, 0), "b.test": (NOW + 1, 0), "d.test": (NOW, FAR + 1), "e.test": (NOW, 0)}
        rows = {r.place.host: r for r in await queue(store) if r.place.path == "/"}
        await store.commit(
            [
                page(rows[n], host=HostRow(0, n, next_fetch_at=at, blocked_until=blocked, delay=1000))
                for n, (at, blocked) in clocks.items()
            ],
            now=NOW,
        )
        found = await store.hosts(10, horizon=FAR)
        assert [h.name for h in found] == ["c.test", "b.test", "a.test"]
        assert [h.name for h in await store.hosts(1, horizon=FAR)] == ["c.test"]
        assert [h.name for h in await store.hosts(9, horizon=FAR, held=[found[0].id])] == ["b.test", "a.test"]
        assert {h.name for h in await store.hosts(0, horizon=0, names=["d.test", "e.test", "no.test"])} == {
            "d.test",
            "e.test",
        }
        assert "d.test" in [h.name for h in await store.hosts(10, horizon=FAR + 1)]

    async def test_due_gives_each_host_its_share_in_order_without_held(self, store: Any) -> None:
        """Up to `each` URLs a host, in the order (priority, depth, id), without those held."""
        await start(store, place(), place("/", "b.test"))
        rows = {r.place.host: r for r in await queue(store)}
        await store.commit(
            [page(rows["a.test"], *(link(f"/{n}") for n in range(5)), link("/0", host="b.test"))], now=NOW
        )
        assert [(r.place.host, r.place.path) for r in await queue(store, each=3)] == [
            ("b.test", "/"),
            ("a.test", "/0"),
            ("a.test", "/1"),
            ("a.test", "/2"),
            ("b.test", "/0"),
        ]
        held = [r.id for r in await queue(store) if r.place.path in ("/0", "/1", "/")]
        assert [r.place.path for r in await queue(store, held=held)] == ["/2", "/3", "/4"]

    async def test_due_leaves_out_what_falls_due_beyond_the_horizon(self, store: Any) -> None:
        """A retry later than the horizon is not given, and comes back with its attempts when its time has come."""
        await start(store)
        await store.commit([failure(await first(store), due_at=NOW + 5000)], now=NOW)
        assert await queue(store, horizon=NOW + 4999) == []
        [row] = await queue(store, horizon=NOW + 5000)
        assert (row.attempts, row.due_at) == (1, NOW + 5000)

    async def test_r3_an_unreachable_robots_holds_back_its_origin_only(self, store: Any) -> None:
        """An origin whose robots.txt is unreachable is due when that may be asked again; other origins now."""
        other = Place("http://a.test:81", "a.test", "/")
        await start(store, place(), other)
        robots = OriginRow("http://a.test", "unreachable", None, NOW + 300_000, 1)
        await store.commit(
            [Settlement(place("/robots.txt"), fetch=FetchRow(NOW, "robots", status=503), origins=(robots,))], now=NOW
        )
        assert [r.place for r in await queue(store, horizon=NOW + 299_999)] == [other]
        assert {r.place.url: r.due_at for r in await queue(store)} == {other.url: NOW, "http://a.test/": NOW + 300_000}
        await store.commit([page(next(r for r in await queue(store) if r.place == other))], now=NOW)
        assert await self._pending(store) == (1, NOW + 300_000)

    # commit

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors]
    )
    @given(graph=graphs())
    @example(graph=long_way_round(None))
    @example(graph=long_way_round(3))
    @example(graph=long_way_round(4))
    @example(graph=shorter_chain(1))
    @example(graph=shorter_chain(2))
    @example(graph=shorter_chain(3))
    def test_i4_u4_depth_and_hops_do_not_depend_on_the_order_of_arrival(self, graph: Graph) -> None:
        """Whatever the order and the batches, URL → (depth, hops, outcome, reason, due) is what a walk of the graph says, and
        the counters equal a recount after every commit."""

        async def whole() -> None:
            with tempfile.TemporaryDirectory(dir=self.fast_folder()) as folder:
                async with self.open(Path(folder)) as store:
                    async for _ in crawl_graph(store, graph):
                        assert replace(await store.counts(), slowest_ms=0) == self.recounted(store)
                    assert self.facts(store) == graph.expected()

        asyncio.run(whole())

    def fast_folder(self) -> str | None:
        return "/dev/shm" if Path("/dev/shm").is_dir() else None

    @pytest.mark.parametrize("first_edge", [nofollow("/x"), link("/x", kind="img", step=None, admit=False)])
    async def test_a_better_edge_found_later_admits(self, store: Any, first_edge: LinkRow) -> None:
        """A refusal that belongs to an edge (nofollow), and a mere mention (img), yield to a followed edge."""
        await start(store, place("/1"), place("/2"))
        await store.commit([page(await first(store, "/1"), first_edge)], now=NOW)
        assert not self.facts(store)["http://a.test/x"].queued
        await store.commit([page(await first(store, "/2"), link("/x"))], now=NOW)
        assert self.facts(store)["http://a.test/x"] == Fact(1, None, None, True)

    @pytest.mark.parametrize("reason", ["robots", "trap", "limit"])
    async def test_a_refusal_of_the_url_itself_stays(self, store: Any, reason: str) -> None:
        """What robots.txt, a trap or a budget refused is not queued again by another edge."""
        await start(store, place("/1"), place("/2"))
        await store.commit([page(await first(store, "/1"), link("/x"))], now=NOW)
        row = await first(store, "/x")
        await store.commit([Settlement(row.place, row.id, row.depth, "skipped", reason, "line 2: /x")], now=NOW)
        await store.commit([page(await first(store, "/2"), link("/x"))], now=NOW)
        assert self.facts(store)["http://a.test/x"] == Fact(1, "skipped", reason, False)

    async def test_a_depth_that_was_lowered_while_the_visit_was_out_counts(self, store: Any) -> None:
        """A visit handed out at depth 1 settles after its URL was found at depth 0: its links are at depth 1, not 2."""
        await start(store, place("/0"), place("/5"), max_depth=1)
        await store.commit([page(await first(store, "/5"), link("/1"))], now=NOW)
        out = await first(store, "/1")
        await store.commit([page(await first(store, "/0"), link("/1", kind="refresh", step=0))], now=NOW)
        assert out.depth == 1
        await store.commit([page(out, link("/2"))], now=NOW)
        assert self.facts(store)["http://a.test/2"] == Fact(1, None, None, True)

    async def test_u4_hops_that_were_lowered_while_the_visit_was_out_count(self, store: Any) -> None:
        """A visit handed out as the first redirect of a chain settles after a link to it was found: its target may still
        be redirected to, with a limit of one redirect in a row."""
        await start(store, place("/0"), place("/5"), budgets=Budgets(redirects=1))
        await store.commit([redirect(await first(store, "/5"), link("/1", kind="redirect", step=0))], now=NOW)
        out = await first(store, "/1")
        await store.commit([page(await first(store, "/0"), link("/1"))], now=NOW)
        assert (out.hops, self.facts(store)["http://a.test/1"].hops) == (1, 0)
        await store.commit([redirect(out, link("/2", kind="redirect", step=0))], now=NOW)
        assert self.facts(store)["http://a.test/2"] == Fact(0, None, None, True, 1)

    async def test_a_settled_url_is_not_queued_by_a_new_link(self, store: Any) -> None:
        """A link to a page or a failure that is known changes neither."""
        await start(store, place("/1"), place("/2"))
        await store.commit([failure(await first(store, "/1"))], now=NOW)
        await store.commit([page(await first(store, "/2"), link("/1"), link("/2"))], now=NOW)
        assert await queue(store) == []
        assert self.facts(store)["http://a.test/1"] == Fact(0, "failure", "http_500", False)

    async def test_a_seed_redirect_may_plant_a_seed(self, store: Any) -> None:
        """A redirect edge marked as seed makes its target a seed of depth 0, in this run and the next."""
        await start(store)
        await store.commit(
            [redirect(await first(store), link("/", host="www.a.test", kind="redirect", step=0, seed=True))], now=NOW
        )
        [row] = await queue(store)
        assert (row.place.url, row.depth, row.seed) == ("http://www.a.test/", 0, True)
        assert [s.url for s in (await start(store)).seeds] == ["http://a.test/", "http://www.a.test/"]

    async def test_an_empty_outcome_leaves_the_url_as_it_was(self, store: Any) -> None:
        """Our own fault (outcome None) only moves the time; reason and attempts of before stay."""
        await start(store)
        await store.commit([failure(await first(store), "timeout", due_at=NOW)], now=NOW)
        row = await first(store)
        await store.commit(
            [Settlement(row.place, row.id, row.depth, due_at=NOW + 1000, attempts=row.attempts)], now=NOW
        )
        assert self.facts(store)["http://a.test/"] == Fact(0, "failure", "timeout", True)
        assert [(r.due_at, r.attempts) for r in await queue(store)] == [(NOW + 1000, 1)]

    async def test_d21_clocks_are_stored_with_the_visit_and_never_go_back(self, store: Any) -> None:
        """The clocks of host and address survive; a settlement that brings an older one does not turn them back."""
        await start(store, place("/1"), place("/2"))
        for path, at in (("/1", NOW + 9000), ("/2", NOW + 4000)):
            host = HostRow(0, "a.test", next_fetch_at=at, blocked_until=at, delay=1500, crawl_delay=1500, failures=2)
            settlement = replace(failure(await first(store, path), due_at=FAR), host=host, address=("192.0.2.1", at))
            await store.commit([settlement], now=NOW)
        [row] = await store.hosts(0, horizon=0, names=["a.test"])
        assert (row.next_fetch_at, row.delay, row.crawl_delay, row.failures) == (NOW + 9000, 1500, 1500, 2)
        assert (await start(store)).addresses == {"192.0.2.1": NOW + 9000}

    async def test_r7_robots_are_stored_with_their_body(self, store: Any) -> None:
        """The rules in force come back with the host; an unreachable copy keeps the last rules."""
        await start(store)
        await self._robots(store, "ok", b"User-agent: *\nDisallow: /x\n")
        assert await self._origin(store) == OriginRow("http://a.test", "ok", b"User-agent: *\nDisallow: /x\n", FAR, 0)
        await self._robots(store, "ok", None)
        assert (await self._origin(store)).body == b"User-agent: *\nDisallow: /x\n"

    async def test_r4_robots_gone_take_their_rules_along(self, store: Any) -> None:
        """A robots.txt that was there and now answers 404 leaves no rules behind."""
        await start(store)
        await self._robots(store, "ok", b"User-agent: *\nDisallow: /x\n")
        await self._robots(store, "absent", None)
        assert await self._origin(store) == OriginRow("http://a.test", "absent", None, FAR, 0)

    @staticmethod
    async def _robots(store: Any, status: str, content: bytes | None) -> None:
        row = OriginRow("http://a.test", status, None, FAR, 0)
        settlement = Settlement(
            place("/robots.txt"),
            fetch=FetchRow(NOW, "robots", status=200 if content else 404),
            body=body(content) if content else None,
            origins=(row,),
        )
        await store.commit([settlement], now=NOW)

    @staticmethod
    async def _origin(store: Any) -> OriginRow:
        [host] = await store.hosts(0, horizon=0, names=["a.test"])
        return next(o for o in host.origins if o.origin == "http://a.test")

    async def test_our_own_visits_are_no_part_of_the_crawl(self, store: Any) -> None:
        """A robots.txt visit is neither counted nor queued."""
        await start(store)
        await self._robots(store, "ok", b"x")
        counts = await store.counts()
        assert (counts.pages, counts.queued, counts.failures, counts.skipped) == (0, 1, 0, 0)

    async def test_commit_is_all_or_nothing(self, store: Any) -> None:
        """A batch with an impossible settlement at its end leaves nothing of its other settlements."""
        await start(store, place("/1"), place("/2"))
        good, bad = await first(store, "/1"), await first(store, "/2")
        before = self.facts(store)
        with pytest.raises(Exception):  # noqa: B017 - which one is the implementation's
            await store.commit([page(good, link("/3")), page(bad, fetch=FetchRow("not a time", "page"))], now=NOW)  # type: ignore[arg-type]
        assert self.facts(store) == before
        await store.commit([page(good, link("/3"))], now=NOW)
        assert self.facts(store)["http://a.test/3"].queued

    async def test_an_empty_batch_is_fine(self, store: Any) -> None:
        """Nothing to settle is no error."""
        await start(store)
        await store.commit([], now=NOW, tally=Tally(1, 2, 3, 4, {"rate": 1.0}))
        assert (await store.counts()).queued == 1

    # rescope, refuse, pending

    async def test_rescope_judges_again_what_is_untried_or_was_refused(self, tmp_path: Path) -> None:
        """A wider rule readmits what scope refused; a narrower one refuses what is queued; what was fetched stays."""
        async with self.open(tmp_path) as store:
            await start(store)
            out = link("/out", host="b.test", admit=False, reason="scope")
            await store.commit([page(await first(store), out, link("/in"), nofollow("/no"))], now=NOW)
        async with self.open(tmp_path) as store:
            await start(store)
            assert await store.rescope(judge(only={"/out"}), now=NOW) == 2
            assert self.facts(store) == {
                "http://a.test/": Fact(0, "page", None, False),
                "http://b.test/out": Fact(1, None, None, True),
                "http://a.test/in": Fact(1, "skipped", "exclude", False),
                "http://a.test/no": Fact(None, "skipped", "nofollow", False, None),
            }
            assert await store.rescope(judge(only={"/out"}), now=NOW) == 0
            assert replace(await store.counts(), slowest_ms=0) == self.recounted(store)

    async def test_rescope_with_a_raised_max_depth_readmits_what_depth_refused(self, tmp_path: Path) -> None:
        """And with a lowered one refuses what is queued deeper."""
        async with self.open(tmp_path) as store:
            await start(store, max_depth=0)
            await store.commit([page(await first(store), link("/1"))], now=NOW)
        for depth, fact in (
            (1, Fact(1, None, None, True)),
            (0, Fact(1, "skipped", "depth", False)),
            (None, Fact(1, None, None, True)),
        ):
            async with self.open(tmp_path) as store:
                await start(store, max_depth=depth)
                await store.rescope(judge(), now=NOW)
                assert self.facts(store)["http://a.test/1"] == fact

    async def test_rescope_leaves_a_retry_alone(self, store: Any) -> None:
        """What was tried and waits for its retry keeps its time and its reason, whatever the new rule says."""
        await start(store)
        await store.commit([page(await first(store), link("/1"))], now=NOW)
        await store.commit([failure(await first(store, "/1"), due_at=NOW + 7)], now=NOW)
        assert await store.rescope(judge(only=set()), now=NOW) == 0
        assert [(r.place.path, r.due_at) for r in await queue(store)] == [("/1", NOW + 7)]

    async def test_refuse_takes_all_untried_of_a_host_off_the_queue(self, store: Any) -> None:
        """A used-up budget: what is queued on the host and was never tried is skipped with the reason; others stay."""
        await start(store, place(), place("/", "b.test"))
        await store.commit([page(await first(store), link("/1"), link("/2"))], now=NOW)
        [host] = await store.hosts(0, horizon=0, names=["a.test"])
        assert await store.refuse(host.id, "limit", "2 pages of a.test") == 2
        assert [r.place.host for r in await queue(store)] == ["b.test"]
        assert self.facts(store)["http://a.test/1"] == Fact(1, "skipped", "limit", False)

    async def test_changed_rules_are_judged_by_whichever_run_comes_to_it(self, tmp_path: Path) -> None:
        """D1: a run that is told of changed rules and dies before it has judged by them leaves that to the next one, which has
        the changed rules as its own already."""
        async with self.open(tmp_path) as store:
            await start(store, place("/"))
        for asked in (True, False):
            async with self.open(tmp_path) as store:
                assert (await start(store, rescope=asked)).rescope
        async with self.open(tmp_path) as store:
            await start(store)
            await store.rescope(judge(), now=NOW)
        async with self.open(tmp_path) as store:
            assert not (await start(store)).rescope

    async def test_record_keeps_what_was_changed(self, tmp_path: Path) -> None:
        """The settings of the run are those it was told last; what has to be judged again is, by the next run if not now."""
        async with self.open(tmp_path) as store:
            await start(store, place("/"), delay=1)
            await store.record([{"what": "pause"}], now=NOW, spec={"delay": 1})
            await store.record([{"what": "set", "name": "x", "now": 2}], now=NOW + 5, spec={"delay": 2}, rescope=True)
        async with self.open(tmp_path) as store:
            assert (await start(store)).rescope
            await store.rescope(judge(), now=NOW)
            await store.record([], now=NOW, spec={"delay": 3}, rescope=True)
            await store.rescope(judge(), now=NOW)
        async with self.open(tmp_path) as store:
            assert not (await start(store)).rescope

    async def test_pending_says_what_waits_and_until_when(self, store: Any) -> None:
        """How many are queued and the first instant one may be tried: its own, its host's block or its robots.txt's."""
        await start(store)
        assert await self._pending(store) == (1, NOW)
        blocked = HostRow(0, "a.test", blocked_until=NOW + 9000)
        await store.commit([replace(failure(await first(store), due_at=NOW + 5000), host=blocked)], now=NOW)
        assert await self._pending(store) == (1, NOW + 9000)
        await store.commit([page((await queue(store))[0])], now=NOW)
        assert await self._pending(store) == (0, None)

    async def test_a_revisit_says_what_was_there(self, store: Any) -> None:
        """A page that was settled with a time and a priority above 0 is due then, with its body's digest and its headers;
        behind first visits, alone with ``revisits``. A visit that found nothing newer leaves it as it is."""
        await start(store)
        fetch = FetchRow(NOW, "page", status=200, headers='[["ETag","\\"x\\""]]')
        again = {"priority": 2, "due_at": NOW + 5000, "attempts": 0}
        seed = replace(page(await first(store), link("/new"), content=b"x", fetch=fetch), **again)
        await store.commit([seed], now=NOW)
        assert [r.place.path for r in await queue(store)] == ["/new", "/"]
        [host] = await store.hosts(0, horizon=0, names=["a.test"])
        [row] = await store.due([host.id], 9, horizon=FAR, revisits=True)
        assert (row.priority, row.attempts) == (2, 0)
        assert row.before == Before("page", body(b"x").digest, fetch.headers)
        assert ((await store.pending(now=NOW)).revisits, await store.revisit_at()) == (False, NOW + 5000)
        assert await store.refuse(host.id, "limit", "", revisits=False) == 1
        same = Settlement(row.place, row.id, fetch=FetchRow(NOW, "unmodified", status=304), due_at=NOW + 9000, priority=3)
        await store.commit([same], now=NOW)
        assert self.facts(store)["http://a.test/"] == Fact(0, "page", None, True)
        assert ((await store.pending(now=NOW)).revisits, await store.revisit_at()) == (True, NOW + 9000)
        assert [r.before for r in await queue(store)] == [row.before]
        await store.refuse(host.id, "exclude", "")
        assert self.facts(store)["http://a.test/"] == Fact(0, "page", None, False)

    @staticmethod
    async def _pending(store: Any) -> tuple[int, int | None]:
        pending = await store.pending(now=NOW)
        return pending.queued, pending.next_at
