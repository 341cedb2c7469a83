"""A random web, and what a crawl of it must come to, whatever the order of arrival."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from storage.model import (
    Budgets,
    LinkRow,
    Place,
    Queued,
    Settlement,
)
from tests.settlements import NOW, Fact, failure, page, place, queue, redirect, start


@dataclass(frozen=True)
class Graph:
    """A small web: node n is a page, a redirect or a failure; an edge is (target, how)."""

    kinds: tuple[str, ...]
    edges: tuple[tuple[tuple[int, str], ...], ...]
    outside: frozenset[int]
    seeds: frozenset[int]
    max_depth: int | None
    redirects: int = 10  # in a row
    order: int = field(compare=False, default=0)  # decides batches and their order

    def place(self, n: int) -> Place:
        return place(f"/{n}", f"{'out' if n in self.outside else 'in'}{n % 2}.test")

    def links(self, n: int) -> tuple[LinkRow, ...]:
        return tuple({(to, how): self._link(to, how) for to, how in self._out(n)}.values())

    def _out(self, n: int) -> tuple[tuple[int, str], ...]:
        if self.kinds[n] == "failure":
            return ()
        return tuple((to, "redirect") for to, _ in self.edges[n][:1]) if self.kinds[n] == "redirect" else self.edges[n]

    def _link(self, to: int, how: str) -> LinkRow:
        inside = to not in self.outside or to in self.seeds
        reason = None if inside else "scope"
        if how == "img":
            return LinkRow(self.place(to), "img")
        if how == "nofollow":
            return LinkRow(self.place(to), "a", "nofollow", reason=reason or "nofollow")
        return LinkRow(self.place(to), how, step=STEPS[how], admit=inside, reason=reason)

    def expected(self) -> dict[str, Fact]:
        """The truth, by going round until nothing falls any more: a node is fetched when it is inside and near enough, and
        only then has links; a redirect that follows ``redirects`` others leads nowhere."""
        depth, hops = dict.fromkeys(self.seeds, 0), dict.fromkeys(self.seeds, 0)
        before: Any = None
        while before != (before := (dict(depth), dict(hops))):
            for n in [n for n in depth if self._fetched(n, depth)]:
                for to, how in self._out(n):
                    step = STEPS.get(how)
                    if step == 1 or (step == 0 and hops[n] < self.redirects):
                        depth[to] = min(depth.get(to, 99), depth[n] + step)
                        hops[to] = min(hops.get(to, 99), 0 if step else hops[n] + 1)
        fetched = {n for n in depth if self._fetched(n, depth)}
        known = {to for n in fetched for to, _ in self._out(n)} | self.seeds
        barred = {to: "nofollow" for n in fetched for to, how in self._out(n) if how == "nofollow"}
        barred |= {to: "redirects" for n in fetched for to, how in self._out(n) if STEPS.get(how) == 0}
        return {self.place(n).url: self._fact(n, depth.get(n), hops.get(n), n in fetched, barred.get(n)) for n in known}

    def _fetched(self, n: int, depth: Mapping[int, int]) -> bool:
        near = depth[n] <= (99 if self.max_depth is None else self.max_depth)
        return near and (n not in self.outside or n in self.seeds)

    def _fact(self, n: int, depth: int | None, hops: int | None, fetched: bool, barred: str | None) -> Fact:
        if fetched:
            return Fact(depth, self.kinds[n], "http_500" if self.kinds[n] == "failure" else None, False, hops)
        if depth is None and barred is None:
            return Fact(None, None, None, False, None)
        if n in self.outside:
            return Fact(depth, "skipped", "scope", False, hops)
        return Fact(depth, "skipped", barred if depth is None else "depth", False, hops)

    def settlement(self, row: Queued) -> Settlement:
        n = int(row.place.path[1:])
        if self.kinds[n] == "failure":
            return failure(row)
        links = self.links(n)
        if self.kinds[n] == "redirect":
            return redirect(row, links[0])
        return page(row, *links)


STEPS = {"a": 1, "refresh": 0, "redirect": 0}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Often a long way round (a chain) with shortcuts: the webs in which the order of arrival could matter."""
    size = draw(st.integers(2, 9))
    nodes = st.integers(0, size - 1)
    hows = st.sampled_from(["a", "a", "a", "refresh", "nofollow", "img"])
    chain = draw(st.booleans())
    edges = tuple(
        (((n + 1) % size, "a"),) * chain + tuple(draw(st.lists(st.tuples(nodes, hows), max_size=3)))
        for n in range(size)
    )
    odd = st.sampled_from(["page"] * 6 + ["redirect"] * 2 + ["failure"])
    kinds = tuple(draw(odd) for _ in range(size))
    whole = tuple(
        "page" if k == "redirect" and (not edges[n] or edges[n][0][0] == n) else k for n, k in enumerate(kinds)
    )
    outside = draw(st.frozensets(nodes, max_size=1))
    seeds = draw(st.frozensets(nodes, min_size=1, max_size=2))
    return Graph(
        whole,
        edges,
        outside,
        seeds,
        draw(st.none() | st.integers(0, 5)),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 2**32)),
    )


def long_way_round(max_depth: int | None) -> Graph:
    """5 → 1 → 2 → 3 → 4 → 6 is walked first, and at last the seed 0 turns out to be next to 2."""
    edges = {0: (2,), 5: (1,), 1: (2,), 2: (3,), 3: (4,), 4: (6,), 6: ()}
    whole = tuple(tuple((to, "a") for to in edges[n]) for n in range(7))
    return Graph(("page",) * 7, whole, frozenset(), frozenset({0, 5}), max_depth, order=1)


def shorter_chain(redirects: int) -> Graph:
    """5 → 1 → 2 → 3 → 4 are redirects and 4 leads on; at last the page 0 turns out to link to 3."""
    edges = {0: ((3, "a"),), 5: ((1, "a"),), 6: ()} | {n: ((n + 1, "redirect"),) for n in (1, 2, 3)}
    edges[4] = ((6, "redirect"),)
    kinds = ("page", *["redirect"] * 4, "page", "page")
    return Graph(kinds, tuple(edges[n] for n in range(7)), frozenset(), frozenset({0, 5}), None, redirects, order=1)


async def crawl_graph(store: Any, graph: Graph) -> AsyncIterator[None]:
    """Crawl the graph in an order and in batches of ``graph.order``'s choosing; yields after each commit."""
    rng, deep = random.Random(graph.order), bool(graph.order % 3)
    budgets = Budgets(redirects=graph.redirects)
    await start(store, *map(graph.place, sorted(graph.seeds)), max_depth=graph.max_depth, budgets=budgets)
    hand: list[Queued] = []
    while True:
        if not hand or deep or rng.random() < 0.5:
            hand += await queue(store, each=rng.randint(2, 4), held=[row.id for row in hand])
        if not hand:
            return
        if deep:  # the farthest first, one by one: the worst order there is
            hand.sort(key=lambda row: row.depth)
            batch = [hand.pop()]
        else:
            rng.shuffle(hand)
            batch = [hand.pop() for _ in range(rng.randint(1, len(hand)))]
        await store.commit([graph.settlement(row) for row in batch], now=NOW)
        yield
