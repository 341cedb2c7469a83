"""What a robots.txt visit comes to (RFC 9309 §2.3.1): rules, "everything allowed", or "not now". Pure; told the time."""

from __future__ import annotations

from dataclasses import replace

from crawler.clock import ms
from crawler.fetch.robots import Robots, availability, whole_lines
from crawler.frontier import politeness
from crawler.frontier.settling import USABLE_REDIRECTS, fetch_row
from crawler.frontier.sitemap_visit import named
from crawler.frontier.workbench import Errand, RobotsState
from crawler.url import InvalidUrl, admit
from crawler.visit import Extract, Fault, Outcome, Visit
from storage.model import BodyRow, OriginRow, Settlement, record

HOPS = 5  # RFC 9309 §2.3.1.2: at least five consecutive redirects

BROKEN = ("cut", "time")  # bodies that are no whole file
BROKEN_TRIES = 2  # as often it is asked again, as a page is (H9); then what came whole is read

HOPELESS = frozenset({Fault.DNS_NXDOMAIN, Fault.ADDRESS_REFUSED, Fault.PORT_REFUSED})
"""Nobody is there to be impolite to: the pages' own visits meet the same fault, and say so at the pages. (A redirect
that ends so is another matter: the host itself is there.)"""


@record
class RobotsResult:
    """The settlement; and either the origin's new state, or the next hop of a redirect. Neither: our own fault, again."""

    settlement: Settlement
    state: RobotsState | None = None
    next: Errand | None = None


def settle_robots(
    visit: Visit,
    outcome: Outcome,
    extract: Extract,
    before: RobotsState | None,
    *,
    now: float,
    wall: int,
    sitemaps: bool = False,
    rules: Robots | None = None,
) -> RobotsResult:
    """Decide what an origin's robots.txt says after this answer; ``before``: what it said so far; ``sitemaps``: whether
    those it names are wanted; ``rules``: its body, if it has been read already."""
    errand: Errand = visit.errand
    fetch = fetch_row(outcome, "robots", wall, errand.hops + 1)
    if outcome.fault is not None and not politeness.charged(outcome.reason):
        return RobotsResult(Settlement(visit.place), next=errand)
    hop = _hop(errand, visit, outcome) if outcome.status in USABLE_REDIRECTS else None
    if hop is not None and hop.hops <= HOPS:
        return RobotsResult(Settlement(visit.place, fetch=fetch), next=hop)
    if outcome.fault in HOPELESS and errand.hops == 0:
        state = RobotsState("absent", now + politeness.ROBOTS_RETRY)
    else:
        state = _state(outcome, before, now, wall, rules)
    if hop is not None:  # more than five: "unavailable", which is as good as none
        state = RobotsState("absent", now + politeness.ROBOTS_FRESH)
    body = (
        BodyRow(extract.digest, extract.size, extract.codec, extract.packed)
        if state.status == "ok" and state.failures == 0
        else None
    )
    row = OriginRow(errand.origin, state.status, None, wall + ms(state.until - now), state.failures)
    known = state.robots if body is not None else None
    links = named(known, errand.origin, errand.home) if known and sitemaps else ()
    if known and known.html:
        fetch = replace(fetch, parse="not robots.txt: HTML")
    return RobotsResult(Settlement(visit.place, fetch=fetch, body=body, links=links, origins=(row,)), state)


def readable(outcome: Outcome) -> bytes:
    """What may be read of a robots.txt's body: of one that ended too early not the last line, half of which may be missing
    and would open what the whole forbids (R8). `Robots.parse` itself sees to what our own limit cut."""
    return whole_lines(outcome.body) if outcome.truncated in BROKEN else outcome.body


def _hop(errand: Errand, visit: Visit, outcome: Outcome) -> Errand | None:
    if not outcome.location:
        return None
    try:
        target = admit(outcome.location, visit.url)
    except InvalidUrl:
        return None
    return None if target == visit.place else Errand(errand.origin, errand.home, target, errand.hops + 1)


def _state(
    outcome: Outcome, before: RobotsState | None, now: float, wall: int, rules: Robots | None = None
) -> RobotsState:
    status = "unreachable" if outcome.status is None else availability(outcome.status)
    failures = before.failures + 1 if before else 1
    if outcome.truncated in BROKEN and failures <= BROKEN_TRIES:
        status = "unreachable"
    if status == "ok":
        return RobotsState("ok", now + politeness.ROBOTS_FRESH, rules or Robots.parse(readable(outcome)))
    if status == "absent":
        return RobotsState("absent", now + politeness.ROBOTS_FRESH)
    asked = politeness.retry_after(outcome.header("retry-after"), wall / 1000)
    until = now + max(politeness.robots_retry(failures), asked or 0.0)
    if before is not None and before.robots is not None:
        return RobotsState("ok", until, before.robots, failures)  # the last copy holds while it cannot be asked
    if failures >= politeness.ROBOTS_TRIES:
        return RobotsState("absent", until, None, failures)
    return RobotsState("unreachable", until, None, failures)
