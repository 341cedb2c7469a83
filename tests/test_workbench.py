"""crawler.frontier.workbench, robots_visit, frontier: turns, under a fake clock (FAULTS L1-L4, R3-R7, N4, X4)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.fetch.robots import Robots
from crawler.frontier.frontier import Frontier
from crawler.frontier.politeness import DAY, Standing
from crawler.frontier.robots_visit import HOPS, settle_robots
from crawler.frontier.scope import Scope
from crawler.frontier.stored import Times, host_of, row_of
from crawler.frontier.workbench import Errand, Host, Limits, Refusal, RobotsState, Workbench
from crawler.spec import CrawlSpec
from crawler.url import admit
from crawler.visit import Extract, Fault, Kind, Outcome, Visit
from storage.model import Begun, Counts, HostRow, OriginRow, Place, Queued

ALLOWED = RobotsState("absent", float("inf"))
WALL = 1_800_000_000_000


def row(n: int, host: Host | str, path: str | None = None, depth: int = 0) -> Queued:
    name = host if isinstance(host, str) else host.name
    return Queued(n, 1, Place(f"http://{name}", name, path or f"/{n}"), depth, 0, 0, 0)


def bench_of(
    limits: Limits | None = None, address: str | None = None, **hosts: int
) -> tuple[Workbench, dict[str, Host]]:
    """A workbench with hosts of so many URLs each, all allowed, delay 1 s, at one address or one of its own each."""
    bench, made, n = Workbench(limits or Limits(address_delay=0.0)), {}, count(1)
    for name, urls in hosts.items():
        host = made[name] = Host(next(n), name, 1.0, robots={f"http://{name}": ALLOWED})
        bench.add(host)
        bench.feed(host, [(0.0, row(next(n), host)) for _ in range(urls)])
        bench.unresolved.clear()
        bench.resolved(host, address or f"address of {name}", ("192.0.2.1",), 0.0)
        host.resolve_at = 1e12
    return bench, made


def ask(bench: Workbench, now: float) -> Visit:
    """The next turn, which must be a visit, sent at once."""
    turn = bench.acquire(now)
    assert isinstance(turn, Visit)
    bench.sent(turn, now)
    return turn


# --- the rules, one by one


def test_l1_a_host_rests_from_the_moment_the_request_is_sent() -> None:
    """One open request; the next turn comes a delay after the headers went out, never before the answer is in."""
    bench, _ = bench_of(a=3)
    visit = bench.acquire(10.0)
    assert isinstance(visit, Visit)
    assert (bench.acquire(10.0), bench.next_at()) == (None, None)
    bench.sent(visit, 10.4)
    assert bench.next_at() is None
    bench.release(visit, 10.6)
    assert bench.next_at() == 11.4
    assert bench.acquire(11.39) is None
    bench.release(ask(bench, 11.4), 20.0)
    assert bench.next_at() == 12.4


def test_l1_a_request_that_never_went_out_rests_the_host_all_the_same() -> None:
    """A visit released without having been sent starts the clock at its release."""
    bench, _ = bench_of(a=2)
    visit = bench.acquire(0.0)
    assert isinstance(visit, Visit)
    bench.release(visit, 5.0)
    assert bench.next_at() == 6.0


def test_l1_a_reused_connections_second_sending_moves_the_clock() -> None:
    """A request that is sent again on a new connection (H19) counts from its second sending."""
    bench, _ = bench_of(a=2)
    visit = ask(bench, 0.0)
    bench.sent(visit, 0.5)
    bench.release(visit, 0.6)
    assert bench.next_at() == 1.5


def test_l2_hosts_of_one_address_share_its_patience() -> None:
    """Ten hosts behind one machine: at most per_address open, and address_delay between two sendings."""
    bench, _ = bench_of(Limits(per_address=2, address_delay=0.5), "one", **{f"h{n}": 2 for n in range(10)})
    first = ask(bench, 0.0)
    assert bench.acquire(0.49) is None
    ask(bench, 0.5)
    assert bench.acquire(5.0) is None
    bench.release(first, 5.0)
    assert isinstance(bench.acquire(5.0), Visit)


def test_l4_a_blocked_host_gets_no_turn_and_others_do() -> None:
    """N4: nothing goes to the host before its block ends, all of its URLs wait; other hosts go on."""
    bench, hosts = bench_of(a=3, b=1)
    bench.block(hosts["a"], 120.0)
    assert ask(bench, 0.0).place.host == "b"
    assert bench.acquire(119.9) is None
    assert ask(bench, 120.0).place.host == "a"


def test_n3_a_host_on_probation_gets_one_request_at_a_time() -> None:
    """Four a host may be open, and yet only one probe goes out; an answer brings the others back."""
    bench, hosts = bench_of(Limits(per_host=4, per_address=9, address_delay=0.0), a=5)
    hosts["a"].delay = 0.0
    hosts["a"].standing = Standing(failures=5)
    probe = ask(bench, 0.0)
    assert bench.acquire(1000.0) is None
    hosts["a"].standing = Standing()
    bench.release(probe, 1000.0)
    assert all(isinstance(bench.acquire(1000.0), Visit) for _ in range(4))
    assert bench.acquire(1000.0) is None


def test_l3_a_closed_host_is_refused_without_a_request() -> None:
    """Every URL of it, once its robots.txt is known, and never before."""
    bench, hosts = bench_of(a=2)
    hosts["a"].closed = "Crawl-delay: 600 s"
    refusals = [bench.acquire(0.0), bench.acquire(0.0)]
    assert [r.detail for r in refusals if isinstance(r, Refusal)] == ["Crawl-delay: 600 s"] * 2
    bench, hosts = bench_of(a=1)
    hosts["a"].closed, hosts["a"].robots["http://a"] = "Crawl-delay: 600 s", RobotsState("ok", 0.0)
    assert ask(bench, 1.0).kind is Kind.ROBOTS


def test_l4_a_shorter_block_does_not_end_a_longer_one() -> None:
    """The later of two instants holds."""
    bench, hosts = bench_of(a=1)
    bench.block(hosts["a"], 120.0)
    bench.block(hosts["a"], 30.0)
    assert bench.next_at() == 120.0


def test_robots_come_first_and_everything_of_the_host_waits() -> None:
    """The first turn of an origin is its robots.txt; until it is known no URL of the host is handed out."""
    bench, hosts = bench_of(Limits(per_host=4, address_delay=0.0, per_address=9), a=3)
    hosts["a"].robots.clear()
    visit = ask(bench, 0.0)
    assert (visit.kind, visit.url) == (Kind.ROBOTS, "http://a/robots.txt")
    bench.release(visit, 0.1)
    assert bench.acquire(1000.0) is None
    bench.robots_known(visit.errand, ALLOWED)
    assert ask(bench, 1000.0).kind is Kind.PAGE


def test_robots_are_an_origins_not_a_hosts() -> None:
    """http and https, and each port, have a robots.txt of their own (RFC 9309 §2.3)."""
    bench, hosts = bench_of(Limits(address_delay=0.0), a=1)
    bench.feed(hosts["a"], [(0.0, Queued(9, 1, Place("https://a:8443", "a", "/x"), 1, 0, 0, 0))])
    bench.release(ask(bench, 0.0), 0.0)
    visit = ask(bench, 1.0)
    assert visit.url == "https://a:8443/robots.txt"


def test_ignored_robots_are_not_asked_for() -> None:
    """--robots ignore."""
    bench, hosts = bench_of(Limits(obey=False, address_delay=0.0), a=1)
    hosts["a"].robots.clear()
    assert ask(bench, 0.0).kind is Kind.PAGE


def test_a_disallowed_url_is_refused_with_rule_and_line_and_costs_no_turn() -> None:
    """The refusal names line and rule; the next URL of the host follows at the same instant."""
    bench, hosts = bench_of(a=0)
    hosts["a"].robots["http://a"] = RobotsState("ok", 1e9, Robots.parse(b"User-agent: *\nDisallow: /no\n"))
    bench.feed(hosts["a"], [(0.0, row(1, "a", "/no/1")), (0.0, row(2, "a", "/yes"))])
    refusal = bench.acquire(0.0)
    assert isinstance(refusal, Refusal)
    assert (refusal.row.place.path, refusal.detail) == ("/no/1", "line 2: Disallow: /no")
    assert ask(bench, 0.0).place.path == "/yes"


def test_r3_an_unreachable_robots_lets_no_page_through() -> None:
    """No URL of the origin is handed out before robots.txt may be asked again; then that is asked first."""
    bench, hosts = bench_of(a=5)
    hosts["a"].robots["http://a"] = RobotsState("unreachable", 300.0)
    assert bench.acquire(299.9) is None
    assert bench.next_at() == 300.0
    assert ask(bench, 300.0).kind is Kind.ROBOTS


def test_r7_robots_are_asked_again_when_they_are_a_day_old() -> None:
    """A copy is used until it is stale, then asked for again before the next page."""
    bench, hosts = bench_of(a=3)
    hosts["a"].robots["http://a"] = RobotsState("ok", DAY, Robots.parse(b""))
    visit = ask(bench, DAY - 2)
    bench.release(visit, DAY - 2)
    assert ask(bench, DAY).kind is Kind.ROBOTS


def test_a_host_is_looked_up_again_after_five_minutes() -> None:
    """An address is not kept for ever: the host goes back to be resolved, and has its turn then."""
    bench, hosts = bench_of(a=2)
    bench.resolved(hosts["a"], "here", ("192.0.2.1",), 0.0)
    assert bench.acquire(300.0) is None
    assert list(bench.unresolved) == [hosts["a"]]
    bench.resolved(hosts["a"], "elsewhere", ("192.0.2.9",), 300.0)
    assert ask(bench, 300.0).addresses == ("192.0.2.9",)


def test_breadth_first_within_a_host() -> None:
    """Of what is due the lowest (priority, depth, id) goes first, whatever the order of feeding."""
    bench, hosts = bench_of(a=0)
    bench.feed(hosts["a"], [(0.0, row(n, "a", depth=d)) for n, d in ((5, 2), (4, 1), (3, 2), (2, 1), (1, 0))])
    order = []
    for now in range(5):
        visit = ask(bench, float(now))
        bench.release(visit, float(now))
        order.append(visit.id)
    assert order == [1, 2, 4, 3, 5]


def test_a_host_let_go_gets_no_turn() -> None:
    """After `remove` nothing the host held is handed out: the store gives it again."""
    bench, hosts = bench_of(a=2)
    bench.block(hosts["a"], 100.0)
    bench.remove(hosts["a"])
    assert bench.acquire(100.0) is None


def test_l2_a_pruned_address_keeps_its_clock() -> None:
    """Forgetting an address nobody queues at does not shorten its rest."""
    bench, hosts = bench_of(Limits(address_delay=5.0), a=1, b=1)
    visit = ask(bench, 0.0)
    bench.release(visit, 0.0)
    bench.settled(visit.place.host, page=True)
    bench.remove(hosts[visit.place.host])
    bench.prune(0.0)
    other = next(h for h in hosts.values() if h.name in bench.hosts)
    bench.resolved(other, f"address of {visit.place.host}", ("192.0.2.1",), 0.0)
    assert bench.next_at() == 5.0


# --- a simulated web


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
def rate_of_the_living(dead: int, *, tries: int = 5, seconds: float = 60.0) -> int:
    """Answers of 40 hosts that have answered before, beside hosts each of which holds one of ten connections for 10 s."""
    live = {f"live{n}": 200 for n in range(40)}
    bench, hosts = bench_of(Limits(address_delay=0.0, tries=tries), **{f"dead{n}": 3 for n in range(dead)}, **live)
    for name in live:
        hosts[name].standing = Standing(latency=0.1)
    now, answered, n = 0.0, 0, count()
    open_: list[tuple[float, int, Visit]] = []  # heap of (end, n, visit)
    while now < seconds:
        while len(open_) < 10 and isinstance(turn := bench.acquire(now), Visit):
            bench.sent(turn, now)
            heappush(open_, (now + (0.1 if turn.place.host in live else 10.0), next(n), turn))
        times = [at for at in (open_[0][0] if open_ else None, bench.next_at() if len(open_) < 10 else None) if at]
        now = max(now, min(times, default=seconds))
        while open_ and open_[0][0] <= now:
            visit = heappop(open_)[2]
            good = visit.place.host in live
            answered += good
            hosts[visit.place.host].standing = Standing(latency=0.1) if good else Standing(failures=1)
            bench.release(visit, now)
    return answered


@pytest.mark.parametrize("barred", [True, False])
def test_n3_a_doubtful_host_that_makes_no_request_holds_no_other_up(barred: bool) -> None:
    """Barred while it waits for its kind, or refused by its stored robots.txt: the next ones are asked all the same."""
    bench, hosts = bench_of(Limits(address_delay=0.0, tries=1), a=1, b=1, c=1, d=1)
    hosts["b"].robots["http://b"] = RobotsState("ok", 1e9, Robots.parse(b"User-agent: *\nDisallow: /"))
    first = ask(bench, 0.0)
    assert bench.acquire(0.0) is None
    if barred:
        bench.bar(hosts["b"], "excluded", 0.0)
    bench.release(first, 1.0)
    asked, now = [], 1.0
    while now < 60.0:
        now += 0.5
        if isinstance(turn := bench.acquire(now), Visit):
            bench.sent(turn, now)
            bench.release(turn, now)
            asked.append(turn.place.host)
    assert asked == ["c", "d"]


def test_n3_a_thousand_dead_hosts_take_half_of_the_connections_at_most() -> None:
    """Live hosts lose 10 % of their rate at most: who has not answered yet, or no more, waits for others of that kind."""
    alone = rate_of_the_living(0)
    assert rate_of_the_living(1000) >= 0.9 * alone
    assert rate_of_the_living(1000, tries=10) < 0.5 * alone


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
    heap, bench = world.events, world.bench
    world.workers = 10_000
    _run_until(world, 1e6)
    del heap, bench
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


# --- what a robots.txt visit comes to


def robots_visit(errand: Errand | None = None) -> Visit:
    errand = errand or Errand("http://a.test", "a.test", admit("http://a.test/robots.txt"))
    return Visit(errand.place.url, errand.place, Kind.ROBOTS, errand=errand)


def said(
    outcome: Outcome, before: RobotsState | None = None, visit: Visit | None = None, extract: Extract | None = None
) -> Any:
    return settle_robots(
        visit or robots_visit(),
        outcome,
        extract or Extract(digest=b"d" * 32, packed=b"x"),
        before,
        now=1000.0,
        wall=WALL,
    )


def test_robots_rules_hold_for_a_day() -> None:
    """200: the rules, stored with their body, fresh for 24 h (R7)."""
    result = said(Outcome("", 200, body=b"User-agent: *\nDisallow: /x\nCrawl-delay: 0.5"))
    assert (result.state.status, result.state.until, result.next) == ("ok", 1000.0 + DAY, None)
    assert not result.state.robots.verdict("poolcrawl", "http://a.test/x").allowed
    assert result.settlement.body is not None
    assert result.settlement.origins == (OriginRow("http://a.test", "ok", None, WALL + 86_400_000, 0),)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_r4_a_4xx_allows_everything(status: int) -> None:
    """RFC 9309 §2.3.1.3: unavailable means no rules, for a day; no body is stored."""
    result = said(Outcome("", status, f"http_{status}"))
    assert (result.state.status, result.state.robots, result.state.until, result.settlement.body) == (
        "absent",
        None,
        1000.0 + DAY,
        None,
    )


UNREACHABLE = [
    Outcome("", 500, "http_500"),
    Outcome("", 503, "http_503"),
    Outcome("", 429, "http_429"),
    *(
        Outcome("", fault=f, reason=f.value)
        for f in (
            Fault.TIMEOUT,
            Fault.RESET,
            Fault.TLS,
            Fault.DNS_TIMEOUT,
            Fault.DNS_FAILED,
            Fault.CONNECT_REFUSED,
            Fault.CONNECT_TIMEOUT,
            Fault.PROTOCOL,
            Fault.SLOW,
        )
    ),
]


@pytest.mark.parametrize("outcome", UNREACHABLE, ids=lambda o: o.reason)
def test_r3_unreachable_disallows_and_is_retried_later_and_later(outcome: Outcome) -> None:
    """5xx, 429, and whatever gives no answer: nothing may be fetched; again after 5 min, doubling, at most a day."""
    state, waits = None, []
    for _ in range(12):
        state = said(outcome, state).state
        assert (state.status, state.robots) == ("unreachable", None)
        waits.append(state.until - 1000.0)
    assert waits[:3] == [300.0, 600.0, 1200.0]
    assert waits[-1] == DAY


def test_r3_the_last_copy_holds_while_robots_are_unreachable() -> None:
    """Rules that were had go on to hold; they are asked for again as if there were none."""
    old = RobotsState("ok", 900.0, Robots.parse(b"User-agent: *\nDisallow: /x"))
    state = said(Outcome("", 503, "http_503"), old).state
    assert (state.status, state.robots, state.until, state.failures) == ("ok", old.robots, 1300.0, 1)


@pytest.mark.parametrize(
    ("status", "value", "wait"),
    [(429, "900", 900.0), (503, "900", 900.0), (429, "10", 300.0), (503, "Fri, 15 Jan 2027 08:30:00 GMT", 1800.0)],
)
def test_r5_retry_after_of_robots_is_kept(status: int, value: str, wait: float) -> None:
    """The longer of Retry-After and our own back-off."""
    assert said(Outcome("", status, f"http_{status}", (("Retry-After", value),))).state.until == 1000.0 + wait


def hop(n: int) -> Visit:
    return robots_visit(Errand("http://a.test", "a.test", admit(f"https://b{n}.test/r"), n))


def test_r6_five_redirects_are_followed_and_the_rules_are_the_first_ones() -> None:
    """Each hop is an errand to its own host with the first origin kept; the rules that come of it are that origin's."""
    assert HOPS == 5
    visit = robots_visit()
    for n in range(1, HOPS + 1):
        result = said(Outcome(visit.url, 302, location=f"https://b{n}.test/r"), visit=visit)
        assert (result.state, result.settlement.origins) == (None, ())
        assert result.next == hop(n).errand
        visit = robots_visit(result.next)
    answered = said(Outcome(visit.url, 200, body=b"User-agent: *\nDisallow: /"), visit=visit)
    assert answered.settlement.origins[0].origin == "http://a.test"
    assert said(Outcome(visit.url, 302, location="https://c.test/r"), visit=visit).next is None


def test_r6_the_sixth_redirect_means_no_rules() -> None:
    """RFC 9309 §2.3.1.2: more than five in a row are treated as unavailable, like a 404."""
    assert said(Outcome("", 302, location="https://c.test/r"), visit=hop(HOPS)).state.status == "absent"


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a.test/",
        "http://",
        *[
            pytest.param(
                v,
                id=repr(v),
            )
            for v in (None, "")
        ],
    ],
)
def test_r6_a_redirect_to_nowhere_is_not_followed(location: str | None) -> None:
    """No Location, or one that is no http(s) URL: no further request."""
    assert said(Outcome("", 301, location=location)).next is None


def test_r6_a_hop_waits_for_its_hosts_turn() -> None:
    """The errand goes before the target's own URLs, but not before the target's clock; its own robots.txt is not asked."""
    bench, hosts = bench_of(a=1, b=2)
    while (visit := ask(bench, 0.0)).place.host != "b":
        bench.release(visit, 0.0)
    bench.release(visit, 0.0)
    bench.send(Errand("http://a", "a", admit("http://b/elsewhere.txt"), 1), hosts["b"])
    assert bench.acquire(0.99) is None
    hop = ask(bench, 1.0)
    while hop.place.host != "b":
        bench.release(hop, 1.0)
        hop = ask(bench, 1.0)
    assert (hop.kind, hop.url) == (Kind.ROBOTS, "http://b/elsewhere.txt")


@pytest.mark.parametrize("fault", [Fault.LOCAL, Fault.OFFLINE])
def test_x1_our_own_fault_says_nothing_of_robots(fault: Fault) -> None:
    """The same errand again; nothing is stored, no failure counted."""
    result = said(Outcome("", fault=fault, reason=fault.value))
    assert (result.state, result.settlement.fetch, result.next.hops) == (None, None, 0)


@pytest.mark.parametrize("fault", [Fault.DNS_NXDOMAIN, Fault.ADDRESS_REFUSED, Fault.PORT_REFUSED])
def test_where_nobody_is_the_pages_say_so(fault: Fault) -> None:
    """A name that does not exist has no robots.txt to respect: the pages' own visits fail, and say why."""
    assert said(Outcome("", fault=fault, reason=fault.value)).state.status == "absent"


# --- stored times and a clock that jumps


class FakeClock:
    def __init__(self, wall: int = WALL) -> None:
        self.mono, self.unix = 5000.0, wall

    def now(self) -> float:
        return self.mono

    def wall(self) -> int:
        return self.unix


def frontier(clock: FakeClock, resumed: bool = True, **options: Any) -> Frontier:
    spec = CrawlSpec(contact="a@b.test", **options)
    begun = Begun(2, resumed, Counts(), (), {"ip": WALL + 7000})
    return Frontier(spec, None, Scope(spec, []), None, clock, begun)  # type: ignore[arg-type]


def host_from(row: HostRow, clock: FakeClock | None = None, resumed: bool = True, **options: Any) -> Host:
    clock = clock or FakeClock()
    rested_at = clock.now() if resumed else None
    return host_of(row, CrawlSpec(contact="a@b.test", **options), Times(clock), rested_at=rested_at)


def test_d21_on_resume_everybody_is_left_alone_for_a_delay() -> None:
    """What was in flight is not known: each host waits its delay from the start, or until its stored time if later."""
    assert host_from(HostRow(1, "a", WALL - 9000), delay=2.0).next_at == 5002.0
    assert host_from(HostRow(1, "a", WALL - 9000, crawl_delay=7000), delay=2.0).next_at == 5007.0
    assert host_from(HostRow(1, "a", WALL + 9000), delay=2.0).next_at == 5009.0
    assert host_from(HostRow(1, "a"), resumed=False, delay=2.0).next_at <= 5000.0


def test_d21_on_resume_addresses_wait_too() -> None:
    """An address waits address_delay, or until its stored clock."""
    bench = frontier(FakeClock(), delay=2.0).bench
    assert bench._address("new").next_at == 5001.0
    assert bench._address("ip").next_at == 5007.0


def test_n4_a_stored_block_holds_in_the_next_run() -> None:
    """Retry-After survives the process."""
    assert host_from(HostRow(1, "a", blocked_until=WALL + 60_000)).blocked_until == 5060.0


def test_d21_a_hosts_standing_holds_in_the_next_run() -> None:
    """Answer time, storm, failures and 429s in a row are stored, and with them the delay; so is what is said of it."""
    before = host_from(HostRow(1, "a"), delay=1.0)
    before.standing = Standing(latency=0.25, slowed=8.0, failures=6, throttled=2)
    row = row_of(before, Times(FakeClock()))
    assert row.trouble is not None
    assert row.trouble.startswith("no answer to 6 requests")
    again = host_from(row, delay=1.0)
    assert (again.standing, again.delay, again.next_at) == (before.standing, 8.0, 5008.0)


def test_r7_stored_robots_hold_in_the_next_run() -> None:
    """Rules, their age and their Crawl-delay come back from the file; nothing is asked again before it is due."""
    origin = OriginRow("http://a", "ok", b"User-agent: *\nDisallow: /x", WALL + 60_000)
    host = host_from(HostRow(1, "a", crawl_delay=1500, origins=(origin, OriginRow("https://a"))), delay=0.5)
    assert (host.delay, host.robots["http://a"].until, "https://a" in host.robots) == (1.5, 5060.0, False)
    assert not host.robots["http://a"].robots.verdict("poolcrawl", "http://a/x").allowed  # type: ignore[union-attr]


@pytest.mark.parametrize("jump", [365, 40_000])
def test_x4_a_stored_time_is_never_further_than_a_day(jump: int) -> None:
    """The wall clock was years ahead when the file was written: no delay is longer than 300 s, nothing else than a day."""
    far = WALL + jump * 86_400_000
    host = host_from(HostRow(1, "a", far, far, origins=(OriginRow("http://a", "unreachable", None, far),)))
    assert host.next_at == 5000.0 + 300
    assert host.blocked_until == host.robots["http://a"].until == 5000.0 + DAY


def test_x4_a_clock_that_jumps_while_the_crawl_runs_moves_no_turn() -> None:
    """Turns are on the monotonic clock: a year forward or back on the wall changes no host's next turn."""
    clock = FakeClock()
    host = host_from(HostRow(1, "a", WALL + 3000), clock, resumed=False)
    clock.unix += 365 * 86_400_000
    assert host.next_at == 5003.0
    assert row_of(host, Times(clock)).next_fetch_at == clock.unix + 3000


async def test_n1_our_own_fault_pauses_the_crawl_and_charges_no_host() -> None:
    """A local fault: one second without a new visit; the host's failures stay."""
    made = frontier(FakeClock(), resumed=False, delay=1.0)
    host = host_from(HostRow(1, "a"), resumed=False)
    host.robots["http://a"] = ALLOWED
    made.bench.add(host)
    made.bench.feed(host, [(0.0, row(n, "a")) for n in (1, 2)])
    made.bench.resolved(host, "ip9", ("192.0.2.1",), 5000.0)
    made.bench.unresolved.clear()
    turn = await asyncio.wait_for(made.acquire(), 1)
    assert isinstance(turn, Visit)
    made.release(turn, Outcome(turn.url, fault=Fault.LOCAL, reason="local"))
    assert (made.paused_until, host.standing.failures) == (5001.0, 0)
