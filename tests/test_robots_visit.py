"""crawler.frontier.robots_visit: what a visit of robots.txt comes to (FAULTS R3-R7)."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.fetch.robots import Robots
from crawler.frontier.politeness import DAY
from crawler.frontier.robots_visit import HOPS, settle_robots
from crawler.frontier.workbench import Errand, RobotsState
from crawler.url import admit
from crawler.visit import Extract, Fault, Kind, Outcome, Visit
from storage.model import OriginRow
from tests.benches import WALL, ask, bench_of


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
        pytest.param(None, id="None"),
        pytest.param("", id="''"),
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
