"""What a visit's outcome means for the crawl: from (visit, outcome, extract) to one Settlement. Pure; told the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crawler.clock import ms
from crawler.fetch.headers import VALIDATORS, sendable
from crawler.frontier import politeness
from crawler.frontier.scope import Scope, same_site
from crawler.text import without_userinfo
from crawler.url import InvalidUrl, canonical, split
from crawler.visit import FOLLOWED, REQUISITES, Extract, Outcome, Visit
from storage.links import Judged, Links, Verdict
from storage.model import BodyRow, FetchRow, LinkRow, Place, Settlement
from storage.text import to_json

KEPT_HEADERS = frozenset(
    """age allow cache-control content-disposition content-encoding content-language content-length content-location
    content-security-policy content-signal content-type content-usage date etag expires last-modified link location
    permissions-policy refresh referrer-policy retry-after server strict-transport-security tdm-policy tdm-reservation
    vary x-content-type-options x-frame-options x-robots-tag""".split()  # noqa: SIM905 - thirty lines of quotes read worse
)
"""Response headers that are stored (FAULTS V4): what archives, audits and revisits need; never a cookie."""
HEADERS_MOST = 16 * 1024  # bytes of the stored header blob (FAULTS H5)
_STEPS = {kind: 0 if kind == "refresh" else 1 for kind in FOLLOWED}  # what following an edge adds to the depth
_ALL_STEPS = {**_STEPS, **dict.fromkeys(REQUISITES, 1)}  # with what pages are shown with
USABLE_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def settle(
    visit: Visit, outcome: Outcome, extract: Extract, scope: Scope, *, at: int, block: float | None
) -> Settlement:
    """The settlement of a page visit. ``at``: Unix ms; ``block``: seconds the host is left alone after it."""
    if outcome.fault is not None and not politeness.charged(outcome.reason):
        wait = politeness.retry_in(outcome.reason, 1) or 1.0
        return Settlement(visit.place, visit.id, visit.depth, due_at=at + ms(wait), attempts=visit.attempts)
    if outcome.status == 304 and visit.headers:
        return unmodified(visit, outcome, at)
    if outcome.ok and not _cut_short(visit, outcome):
        return _page(visit, outcome, extract, scope, at)
    if outcome.status in USABLE_REDIRECTS:
        return _redirect(visit, outcome, scope, at)
    reason = outcome.reason or "bad_redirect"
    if outcome.ok:
        reason = "cut"
    elif outcome.status is not None and outcome.status < 400:
        reason = "bad_redirect"
    return failure(visit, outcome, at, reason, block=block)


def unmodified(visit: Visit, outcome: Outcome, at: int) -> Settlement:
    """The server has nothing newer than what is stored (304): the URL stays what it is."""
    attempt = visit.attempts + 1
    fetch = fetch_row(outcome, "unmodified", at, attempt)
    return Settlement(visit.place, visit.id, visit.depth, attempts=attempt, fetch=fetch, role=visit.role)


def _cut_short(visit: Visit, outcome: Outcome) -> bool:
    """A body the peer cut is tried again twice before it is kept as truncated (FAULTS H9)."""
    return outcome.truncated == "cut" and politeness.retry_in("cut", visit.attempts + 1) is not None


def failure(
    visit: Visit, outcome: Outcome, at: int, reason: str, detail: str | None = None, block: float | None = None
) -> Settlement:
    token, _, more = reason.partition(": ")
    attempt = visit.attempts + 1
    wait = politeness.retry_in(token, attempt)
    due = None if wait is None else at + ms(max(wait, block or 0.0))
    fetch = fetch_row(outcome, "failure", at, attempt, reason=token)
    return Settlement(visit.place, visit.id, visit.depth, "failure", token, detail or more or None, due, attempt, fetch)


def _redirect(visit: Visit, outcome: Outcome, scope: Scope, at: int) -> Settlement:
    try:
        if not outcome.location:
            raise InvalidUrl("no Location header")
        target = split(canonical(outcome.location, visit.url))
        if target == visit.place:
            raise InvalidUrl("it redirects to itself")
    except InvalidUrl as error:
        return failure(visit, outcome, at, "bad_redirect", str(error))
    link = redirect_link(visit, target, scope)
    fetch = fetch_row(outcome, "redirect", at, visit.attempts + 1)
    return Settlement(
        visit.place, visit.id, visit.depth, "redirect", None, None, None, visit.attempts + 1, fetch, links=(link,)
    )


def redirect_link(visit: Visit, target: Place, scope: Scope) -> LinkRow:
    """The edge of a redirect; a seed's redirect inside its registrable domain becomes a seed (CONTRACT §1)."""
    if visit.seed and same_site(visit.place, target):
        scope.add_seed(target)
        return LinkRow(target, "redirect", step=0, admit=True, seed=True)
    return judged(target, "redirect", None, None, scope, step=0)


def _page(visit: Visit, outcome: Outcome, extract: Extract, scope: Scope, at: int) -> Settlement:
    closed = "nofollow" if "nofollow" in extract.robots else None if scope.follows else "sitemaps"
    links = _judged(extract.links, scope, closed)
    fetch = fetch_row(outcome, "page", at, visit.attempts + 1, extract=extract)
    body = BodyRow(extract.digest, extract.size, extract.codec, extract.packed) if extract.digest else None
    return Settlement(
        visit.place, visit.id, visit.depth, "page", None, None, None, visit.attempts + 1, fetch, body, links
    )


def _judged(links: Links, scope: Scope, closed: str | None) -> Judged:
    """The edges of a page. ``closed``: why none of them is followed."""
    follows = _ALL_STEPS if scope.requisites else _STEPS
    steps = [follows.get(group.kind) for group in links.groups]
    verdicts, own = scope.judge_all(links, steps)
    shut = {
        n
        for n, (_, _, rel, _) in enumerate(links.groups)
        if steps[n] is not None and (closed or (rel is not None and "nofollow" in rel.split()))
    }
    if shut:
        refused = Verdict(False, closed or "nofollow")
        for n in shut:
            steps[n] = 1 if closed == "sitemaps" else None
            verdicts[n] = refused if verdicts[n].admit else verdicts[n]  # a refusal of the URL beats one of the edge
        own = [refused if n in shut and word.admit else word for n, word in zip(links.of_groups(), own, strict=False)]
    return Judged(links, steps, verdicts, scope.last_word, own)


def judged(target: Place, kind: str, rel: str | None, text: str | None, scope: Scope, *, step: int) -> LinkRow:
    """A followed edge with the scope's verdict on its target."""
    verdict = scope.judge(target)
    return LinkRow(target, kind, rel, text, step, verdict.admit, verdict.reason, verdict.detail)


def fetch_row(
    outcome: Outcome, kind: str, at: int, attempt: int, *, reason: str | None = None, extract: Extract | None = None
) -> FetchRow:
    """The attempt as it is stored."""
    found = extract or Extract()
    data = page_data(found)
    return FetchRow(
        at,
        kind,
        reason or outcome.reason or None,
        outcome.status,
        outcome.elapsed_ms,
        attempt,
        outcome.wire_size,
        outcome.truncated,
        found.mime or _mime(outcome),
        found.charset,
        found.title,
        " ".join(sorted(found.robots)) or None,
        found.parse,
        _headers(outcome),
        to_json(data) if data else None,
        outcome.address,
    )


def page_data(found: Extract) -> dict[str, Any]:
    """What goes into the page's ``data``: metadata of parsing, then the user's own keys."""
    plain: Mapping[str, Any] = {
        "lang": found.lang,
        "canonical": found.canonical,
        "dropped_links": found.dropped or None,
        "truncated": found.truncated,
    }
    return {k: v for k, v in plain.items() if v is not None} | dict(found.data)


def _mime(outcome: Outcome) -> str | None:
    value = outcome.header("content-type")
    return value.split(";", 1)[0].strip().lower() or None if value else None


def _headers(outcome: Outcome) -> str | None:
    found = [(k, k.lower(), v) for k, v in outcome.headers]
    clean = [(k, v) for k, low, v in found if low in KEPT_HEADERS and (low not in VALIDATORS or sendable(k, v))]
    kept = [(k, without_userinfo(v) if "@" in v else v) for k, v in clean]
    text = to_json(kept)
    while kept and len(text) > HEADERS_MOST:
        kept.pop()
        text = to_json(kept)
    return text if kept else None
