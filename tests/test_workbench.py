"""crawler.frontier.workbench: whose turn it is, rule by rule, under a fake clock (FAULTS L1-L4, N3, R3, R7)."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

import pytest

from crawler.fetch.robots import Robots
from crawler.frontier.politeness import DAY, Standing
from crawler.frontier.workbench import Limits, Refusal, RobotsState
from crawler.visit import Kind, Visit
from storage.model import Place, Queued
from tests.benches import ALLOWED, ask, bench_of, row

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
    bench.settled(visit.place.host, gain=1)
    bench.remove(hosts[visit.place.host])
    bench.prune(0.0)
    other = next(h for h in hosts.values() if h.name in bench.hosts)
    bench.resolved(other, f"address of {visit.place.host}", ("192.0.2.1",), 0.0)
    assert bench.next_at() == 5.0


# --- hosts that do not answer


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
