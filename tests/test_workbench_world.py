"""The workbench over a simulated web: its promises hold whatever answers take (FAULTS L1, L2, R3)."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.frontier.workbench import Host, Limits, RobotsState, Workbench
from crawler.visit import Kind, Visit
from tests.benches import ALLOWED, row


@dataclass
class World:
    """Hosts behind addresses, answers after random times; what happened is on record."""

    rng: random.Random
    limits: Limits
    delays: list[float]
    places: list[int]  # host n is behind address places[n]
    urls: int
    workers: int = 10_000
    robots: Callable[[int], RobotsState] = field(default=lambda n: ALLOWED)
    latency: Callable[[random.Random], float] = field(default=lambda rng: rng.choice((0.0, 0.01, 0.3, 3.0)))

    def __post_init__(self) -> None:
        self.now, self.n, self.open = 0.0, count(), 0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.bench = Workbench(self.limits)
        self.sent: dict[str, list[float]] = defaultdict(list)
        self.turns: list[tuple[float, Visit]] = []
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        ids = count(1)
        for n, delay in enumerate(self.delays):
            host = Host(n + 1, f"h{n}", delay)
            self.bench.add(host)
            self.bench.feed(host, [(self.rng.choice((0.0, 0.0, 2.5)), row(next(ids), host)) for _ in range(self.urls)])

    def run(self) -> World:
        for _ in range(100_000):
            self._resolve()
            while self.open < self.workers and (turn := self.bench.acquire(self.now)) is not None:
                assert isinstance(turn, Visit)
                self._visit(turn)
            self._resolve()
            at = [
                t
                for t in (
                    self.events[0][0] if self.events else None,
                    self.bench.next_at() if self.open < self.workers else None,
                )
                if t is not None
            ]
            if not at:
                return self
            self.now = max(self.now, min(at))
            while self.events and self.events[0][0] <= self.now:
                heappop(self.events)[2]()
        raise AssertionError("it does not end")

    def _resolve(self) -> None:
        while self.bench.unresolved:
            host = self.bench.unresolved.popleft()
            address = f"ip{self.places[int(host.name[1:])]}"
            self._later(
                self.latency(self.rng), lambda h=host, a=address: self.bench.resolved(h, a, ("192.0.2.1",), self.now)
            )

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self.events, (self.now + seconds, next(self.n), act))

    def _visit(self, visit: Visit) -> None:
        host, address = visit.handle
        self.open += 1
        self.turns.append((self.now, visit))
        for name in (host.name, address.name):
            self.busy[name] += 1
            self.most[name] = max(self.most[name], self.busy[name])
        sending = self.latency(self.rng)
        if self.rng.random() < 0.9:
            self._later(sending, lambda: self._sent(visit))
        self._later(sending + self.latency(self.rng), lambda: self._release(visit))

    def _sent(self, visit: Visit) -> None:
        for name in (visit.handle[0].name, visit.handle[1].name):
            self.sent[name].append(self.now)
        self.bench.sent(visit, self.now)

    def _release(self, visit: Visit) -> None:
        host, address = visit.handle
        self.busy[host.name] -= 1
        self.busy[address.name] -= 1
        self.open -= 1
        self.bench.release(visit, self.now)
        if visit.kind is Kind.ROBOTS:
            self.bench.robots_known(visit.errand, self.robots(int(host.name[1:])))


def least_gap(times: list[float]) -> float:
    return min((b - a for a, b in pairwise(times)), default=float("inf"))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.integers(1, 8))
    per_host = draw(st.integers(1, 3))
    limits = Limits(per_host, draw(st.integers(per_host, 4)), draw(st.sampled_from([0.0, 0.25, 0.5])))
    delays = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.7]), min_size=size, max_size=size))
    places = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return World(
        random.Random(draw(st.integers(0, 2**32))),
        limits,
        delays,
        places,
        draw(st.integers(0, 9)),
        draw(st.sampled_from([1, 3, 10_000])),
    )


@settings(max_examples=120, deadline=None)
@given(world=worlds())
def test_l1_never_more_open_than_allowed_and_never_sooner_than_the_delay(world: World) -> None:
    """Whatever answers take: per host at most per_host open and `delay` between sendings, per address at most
    per_address and address_delay (test_l2); every URL has exactly one turn, and the bench comes to rest."""
    world.run()
    for n, delay in enumerate(world.delays):
        assert world.most[f"h{n}"] <= world.limits.per_host
        assert least_gap(world.sent[f"h{n}"]) >= delay - 1e-9
    for n in set(world.places):
        assert world.most[f"ip{n}"] <= world.limits.per_address
        assert least_gap(world.sent[f"ip{n}"]) >= world.limits.address_delay - 1e-9
    ids = [v.id for _, v in world.turns if v.kind is Kind.PAGE]
    assert sorted(ids) == list(range(1, world.urls * len(world.delays) + 1))
    assert sum(v.kind is Kind.ROBOTS for _, v in world.turns) == len(world.delays) * (world.urls > 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(2, 12), workers=st.integers(1, 5), shared=st.booleans())
def test_l2_no_host_starves(seed: int, size: int, workers: int, shared: bool) -> None:
    """With few workers and every host wanting more, no host waits for more than two rounds of the others, whether they
    share an address or not."""
    world = World(
        random.Random(seed),
        Limits(1, 2, 0.0),
        [0.5] * size,
        [0] * size if shared else list(range(size)),
        12,
        workers,
        latency=lambda rng: rng.choice((0.1, 0.2)),
    )
    world.run()
    turns = [v.place.host for _, v in world.turns]
    for name in set(turns):
        places = [i for i, host in enumerate(turns) if host == name]
        assert max(b - a for a, b in pairwise(places)) <= 2 * size + workers


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), dead=st.frozensets(st.integers(0, 5), max_size=6))
def test_r3_robots_decide_before_any_page(seed: int, dead: frozenset[int]) -> None:
    """Every host's first turn is robots.txt; where it is unreachable no page is ever asked for, the others lose nothing."""
    world = World(
        random.Random(seed),
        Limits(2, 2, 0.1),
        [0.3] * 6,
        [0, 0, 1, 1, 2, 3],
        5,
        robots=lambda n: RobotsState("unreachable", 1e12) if n in dead else ALLOWED,
    )
    _run_until(world, 1e6)
    kinds = defaultdict(list)
    for _, visit in world.turns:
        kinds[visit.place.host].append(visit.kind)
    assert all(found[0] is Kind.ROBOTS for found in kinds.values())
    assert {name: found.count(Kind.PAGE) for name, found in kinds.items()} == {
        f"h{n}": 0 if n in dead else 5 for n in range(6)
    }


def _run_until(world: World, end: float) -> None:
    """Run; a host that waits for longer than ``end`` counts as at rest."""
    real = world.bench.next_at
    world.bench.next_at = lambda: at if (at := real()) is not None and at <= end else None  # type: ignore[method-assign]
    world.run()
