"""What a sitemap's visit comes to: the URLs it names, judged, and the sitemaps of an index. Pure; told the time.

A sitemap speaks for its own host, and for those whose robots.txt names it (sitemaps.org, "cross submits"; FAULTS R12).
It counts as a page that its host's seed links to: its URLs have depth 1, itself none. What turns out to be no sitemap is
a page like any other, if a page is wanted there (decision 0014).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from crawler.clock import ms
from crawler.fetch.robots import Robots
from crawler.frontier import politeness
from crawler.frontier.scope import Scope
from crawler.frontier.settling import USABLE_REDIRECTS, fetch_row, judged, unmodified
from crawler.url import InvalidUrl, admit
from crawler.visit import Extract, Outcome, Visit
from storage.links import Link
from storage.model import HostRow, LinkRow, Place, Role, Settlement

KIND = "sitemap"  # of its edges, of its outcome, of its fetches
INDEX = "index"  # the rel of an edge to another sitemap
DEEPEST = 2  # indexes a sitemap may be inside of (R13)


def named(robots: Robots, origin: str, host: str) -> tuple[LinkRow, ...]:
    """The sitemaps that an origin's robots.txt names. One elsewhere may speak for this host."""
    found = []
    for line in robots.sitemaps:
        try:
            place = admit(line, f"{origin}/robots.txt")
        except InvalidUrl:
            continue
        role = Role(0, frozenset() if place.host == host else frozenset((host,)))
        found.append(LinkRow(place, KIND, step=0, admit=True, role=role))
    return tuple(found)


def recalled(rows: Iterable[HostRow], scope: Scope) -> list[Settlement]:
    """What stored robots.txt files name, as if they had just been read: sitemaps are wanted now, and were not."""
    found = []
    for row in rows:
        for origin in row.origins:
            if origin.body is not None and scope.reaches(origin.origin, row.name):
                links = named(Robots.parse(origin.body), origin.origin, row.name)
                found.append(Settlement(Place(origin.origin, row.name, "/robots.txt"), links=links))
    return found


def settle_sitemap(
    visit: Visit, outcome: Outcome, extract: Extract, scope: Scope, *, at: int, block: float | None
) -> Settlement:
    """The settlement of a sitemap's visit. ``at``: Unix ms; ``block``: seconds the host is left alone after it."""
    settlement = Settlement(visit.place, visit.id, 0, KIND, attempts=visit.attempts + 1, role=visit.role)
    if outcome.fault is not None and not politeness.charged(outcome.reason):
        again = at + ms(politeness.retry_in(outcome.reason, 1) or 1.0)
        return replace(settlement, outcome=None, attempts=visit.attempts, due_at=again)
    if outcome.status == 304 and visit.headers:
        return unmodified(visit, outcome, at)
    reason, detail, links = _read(visit, outcome, extract, scope)
    wait = politeness.retry_in(reason, visit.attempts + 1) if reason else None
    fetch = fetch_row(outcome, KIND, at, visit.attempts + 1, reason=reason, extract=extract)
    return replace(
        settlement,
        reason=reason,
        detail=detail,
        due_at=None if wait is None else at + ms(max(wait, block or 0.0)),
        fetch=fetch,
        links=links,
        page=judged(visit.place, KIND, None, None, scope, step=0) if reason and wait is None else None,
    )


def _read(
    visit: Visit, outcome: Outcome, extract: Extract, scope: Scope
) -> tuple[str | None, str | None, tuple[LinkRow, ...]]:
    """Why it failed and what there is to say about that, or its links."""
    if outcome.status in USABLE_REDIRECTS:
        return _redirect(visit, outcome)
    if not outcome.ok:
        token, _, more = (outcome.reason or "bad_redirect").partition(": ")
        return token, more or None, ()
    if outcome.truncated == "cut" and politeness.retry_in("cut", visit.attempts + 1) is not None:
        return "cut", None, ()
    if extract.parse is not None:
        return "not_sitemap", extract.parse, ()
    return None, None, tuple(_entries(visit, extract.links, scope))


def _redirect(visit: Visit, outcome: Outcome) -> tuple[str | None, str | None, tuple[LinkRow, ...]]:
    """Where a sitemap leads is one too, and may speak for whom it spoke."""
    try:
        if not outcome.location:
            raise InvalidUrl("no Location header")
        target = admit(outcome.location, visit.url)
        if target == visit.place:
            raise InvalidUrl("it redirects to itself")
    except InvalidUrl as error:
        return "bad_redirect", str(error), ()
    role = visit.role or Role()
    heir = Role(role.level, (role.hosts | {visit.place.host}) - {target.host})
    return None, None, (LinkRow(target, "redirect", step=0, admit=True, role=heir),)


def _entries(visit: Visit, links: Iterable[Link], scope: Scope) -> Iterable[LinkRow]:
    role = visit.role or Role()
    ours = role.hosts | {visit.place.host}
    heir = Role(role.level + 1, role.hosts)
    foreign = f"{visit.url} is no sitemap of this host: the host's own robots.txt does not name it"
    for place, kind, rel, lastmod in links:
        if place.host not in ours:
            yield LinkRow(place, kind, rel, lastmod, reason="scope", detail=foreign)
        elif rel != INDEX:
            yield judged(place, kind, None, lastmod, scope, step=1)
        elif heir.level > DEEPEST:
            yield LinkRow(place, kind, rel, lastmod, reason="trap", detail=f"more than {DEEPEST} sitemap indexes deep")
        else:
            mine = Role(heir.level, heir.hosts - {place.host})
            yield LinkRow(place, kind, rel, lastmod, 0, True, role=mine)
