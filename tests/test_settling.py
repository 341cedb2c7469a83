"""crawler.frontier.settling: what an outcome means for the crawl."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crawler.frontier.scope import Scope
from crawler.frontier.settling import HEADERS_MOST, settle
from crawler.parse.html import extract
from crawler.spec import CrawlSpec
from crawler.url import admit
from crawler.visit import RETRY, Extract, Fault, Outcome, Visit
from storage.links import Link, Links, admitted_hosts
from storage.model import LinkRow, Settlement

AT = 1_800_000_000_000
SEED = "https://example.org/a/"


def visit(url: str = SEED, **more: Any) -> Visit:
    return Visit(url, admit(url), id=7, depth=2, **more)


def settled(
    outcome: Outcome,
    extract: Extract | None = None,
    *,
    of: Visit | None = None,
    block: float | None = None,
    scope: str = "host",
) -> Settlement:
    return settle(
        of or visit(), outcome, extract or Extract(), Scope(CrawlSpec(scope=scope), [admit(SEED)]), at=AT, block=block
    )


def redirected(location: str | None, *, of: Visit | None = None, status: int = 302, scope: str = "host") -> Settlement:
    headers = (("Location", location),) if location is not None else ()
    return settled(Outcome((of or visit()).url, status, headers=headers, location=location), of=of, scope=scope)


def edges(extract: Extract) -> list[LinkRow]:
    return list(settled(Outcome(SEED, 200), extract).links)


# --- pages


@pytest.mark.parametrize("status", [200, 201, 204, 206, 299])
def test_any_2xx_is_a_page(status: int) -> None:
    """A 2xx answer settles as a page, with the body as the parse worker packed it."""
    extract = Extract(title="T", mime="text/html", digest=b"d" * 32, size=5, codec="raw", packed=b"12345")
    found = settled(Outcome(SEED, status, wire_size=9, elapsed_ms=3), extract)
    assert (found.outcome, found.due_at, found.attempts, found.reason) == ("page", None, 1, None)
    assert found.fetch is not None
    assert found.body is not None
    assert (found.fetch.status, found.fetch.title, found.fetch.wire_size, found.body.data) == (status, "T", 9, b"12345")


@pytest.mark.parametrize(
    ("truncated", "attempts", "outcome", "reason", "wait"),
    [
        ("size", 0, "page", None, None),
        ("time", 0, "page", None, None),
        ("cut", 0, "failure", "cut", 5),
        ("cut", 1, "failure", "cut", 30),
        ("cut", 2, "page", None, None),
    ],
)
def test_h9_a_cut_body_is_tried_again_twice_then_kept(
    truncated: str, attempts: int, outcome: str, reason: str | None, wait: int | None
) -> None:
    """What the peer cut is retried after 5 s and 30 s, then kept and flagged; our own caps keep it at once."""
    found = settled(Outcome(SEED, 200, truncated=truncated), Extract(digest=b"d"), of=visit(attempts=attempts))
    assert (found.outcome, found.reason, found.due_at) == (outcome, reason, None if wait is None else AT + wait * 1000)
    assert found.fetch is not None
    assert found.fetch.truncated == truncated


# --- links


def test_l7_nofollow_of_a_link_and_of_a_page() -> None:
    """rel=nofollow bars its edge, meta or header nofollow all of the page's; both keep the edge and never its step."""
    [plain, barred] = edges(Extract(links=Links.of([Link(admit(SEED + "1"), "a"), Link(admit(SEED + "2"), "a", "ugc nofollow")])))
    assert (plain.step, plain.admit, plain.reason) == (1, True, None)
    assert (barred.step, barred.admit, barred.reason) == (None, False, "nofollow")
    [closed] = edges(Extract(links=Links.of([Link(admit(SEED + "1"), "a")]), robots=frozenset({"nofollow"})))
    assert (closed.step, closed.admit, closed.reason) == (None, False, "nofollow")


def test_l7_nofollow_out_of_scope_is_scope() -> None:
    """A nofollow link that leaves the scope is refused for the scope: no better edge will change that."""
    [edge] = edges(Extract(links=Links.of([Link(admit("https://else.test/"), "a", "nofollow")])))
    assert (edge.reason, edge.step) == ("scope", None)


@pytest.mark.parametrize(("rel", "robots"), [("nofollow", ()), (None, ("nofollow",)), (None, ())])
def test_t2_a_trap_is_a_trap_whatever_the_edge(rel: str | None, robots: tuple[str, ...]) -> None:
    """T2: a path that repeats is refused as a trap also where nobody would follow the edge; a seed's path is none."""
    trap = Link(admit("https://example.org/b/b/b/b/b/"), "a", rel)
    [edge] = edges(Extract(links=Links.of([trap]), robots=frozenset(robots)))
    assert (edge.admit, edge.reason) == (False, "trap")
    scope, followed = Scope(CrawlSpec(), [admit(SEED), trap.place]), Links.of([trap._replace(rel=None)])
    [edge] = settle(visit(), Outcome(SEED, 200), Extract(links=followed), scope, at=AT, block=None).links
    assert (edge.admit, edge.reason) == (True, None)


def test_hosts_that_nobody_follows_an_edge_to_are_no_news() -> None:
    """Of what an honest page holds: a host that only nofollow edges lead to is not asked for in the store."""
    page = b"<a href=http://a.test/>t</a><a href=http://b.test/ rel=nofollow>t</a><img src=http://c.test/>"
    found = settled(Outcome(SEED, 200), extract(page, SEED, "text/html"), scope="any").links
    assert [edge.reason for edge in found] == [None, "nofollow", None]
    assert admitted_hosts(found) == {"a.test"}


@pytest.mark.parametrize(
    ("kind", "step", "admitted"),
    [
        ("a", 1, True),
        ("area", 1, True),
        ("frame", 1, True),
        ("iframe", 1, True),
        ("next", 1, True),
        ("prev", 1, True),
        ("alternate", 1, True),
        ("canonical", 1, True),
        ("refresh", 0, True),
        ("img", None, False),
        ("script", None, False),
        ("stylesheet", None, False),
    ],
)
def test_followed_kinds(kind: str, step: int | None, admitted: bool) -> None:
    """CONTRACT §2: these kinds are followed, a refresh like a redirect; the others are edges only, without a reason."""
    [edge] = edges(Extract(links=Links.of([Link(admit(SEED + "x"), kind)])))
    assert (edge.step, edge.admit, edge.reason) == (step, admitted, None)


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_u5_a_redirect_is_an_edge_of_no_length(status: int) -> None:
    """The target is admitted by the same gate as a link, at the same depth; nothing is followed here."""
    found = redirected("../b?x#y", status=status)
    assert (found.outcome, found.due_at) == ("redirect", None)
    [edge] = found.links
    assert (edge.target.url, edge.kind, edge.step, edge.admit, edge.seed) == (
        "https://example.org/b?x",
        "redirect",
        0,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://else.test/", "scope"),
        ("file:///etc/passwd", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("ftp://example.org/", "scheme"),
        ("data:text/html,x", "scheme"),
        ("https://www.example.org/", "scope"),
    ],
)
def test_u2_u5_a_redirect_out_of_scope_is_refused_with_a_reason(location: str, reason: str) -> None:
    """An ordinary page's redirect out of the scope, or to no http(s) URL, is a redirect whose target is skipped."""
    [edge] = redirected(location).links
    assert (edge.admit, edge.reason) == (False, reason)


@pytest.mark.parametrize(
    ("location", "seed"),
    [
        ("https://www.example.org/", True),
        ("http://example.org/", True),
        ("https://a.b.example.org/x", True),
        ("https://example.com/", False),
        ("https://example.org.evil.test/", False),
    ],
)
def test_a_seeds_redirect_within_its_registrable_domain_becomes_a_seed(location: str, seed: bool) -> None:
    """CONTRACT §1: example.org → www.example.org goes on there; to another domain the scope decides."""
    [edge] = redirected(location, of=visit(seed=True)).links
    assert (edge.seed, edge.admit) == (seed, seed)
    assert edge.seed or edge.reason == "scope"


def test_a_seeds_redirect_widens_the_scope() -> None:
    """After example.org → www.example.org a link to www.example.org belongs to the crawl."""
    scope = Scope(CrawlSpec(), [admit("https://example.org/")])
    home = Visit("https://example.org/", admit("https://example.org/"), id=1, seed=True)
    assert not scope.judge(admit("https://www.example.org/x")).admit
    settle(home, Outcome(home.url, 301, location="https://www.example.org/"), Extract(), scope, at=AT, block=None)
    assert scope.judge(admit("https://www.example.org/x")).admit


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, None),
        (302, ""),
        (302, "http://"),
        (302, "https://[::1/"),
        (301, SEED),
        (301, "./#part"),
        (300, "/x"),
        (304, None),
        (305, "/x"),
        (399, "/x"),
    ],
)
def test_an_unusable_3xx_is_a_bad_redirect(status: int, location: str | None) -> None:
    """CONTRACT §2: no Location, no URL, to itself, or a 3xx that is no redirect: a failure, final at once."""
    found = redirected(location, status=status)
    assert (found.outcome, found.reason, found.due_at, found.links) == ("failure", "bad_redirect", None, ())


# --- failures


@pytest.mark.parametrize("reason", sorted(r for r in RETRY if r.startswith("http_")))
def test_error_statuses_follow_the_retry_table(reason: str) -> None:
    """The n-th failure waits as the table says, the last is final; attempts are counted."""
    rule = RETRY[reason]
    for n in range(rule.tries):
        found = settled(Outcome(SEED, int(reason[5:]), reason), of=visit(attempts=n))
        wait = rule.waits[min(n, len(rule.waits) - 1)] if n + 1 < rule.tries else None
        assert (found.outcome, found.reason, found.attempts) == ("failure", reason, n + 1)
        assert found.due_at == (None if wait is None else AT + wait * 1000)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501, 505, 999])
def test_other_error_statuses_are_final(status: int) -> None:
    """A status that is not in the table is not asked again."""
    found = settled(Outcome(SEED, status, f"http_{status}"))
    assert (found.outcome, found.due_at) == ("failure", None)


@pytest.mark.parametrize("fault", [f for f in Fault if f.value not in ("local", "offline", "proxy")])
def test_faults_are_failures_with_their_reason(fault: Fault) -> None:
    """A fault without an answer: the reason is its value, the detail what follows the colon, status none."""
    found = settled(Outcome(SEED, fault=fault, reason=f"{fault.value}: in words"))
    assert (found.outcome, found.reason, found.detail, found.attempts) == ("failure", fault.value, "in words", 1)
    assert found.fetch is not None
    assert (found.fetch.outcome, found.fetch.status, found.fetch.reason) == ("failure", None, fault.value)


@pytest.mark.parametrize("fault", [Fault.LOCAL, Fault.OFFLINE, Fault.PROXY])
def test_x1_our_own_fault_is_charged_to_nobody(fault: Fault) -> None:
    """No outcome, no attempt, no fetch row; just a later time."""
    found = settled(Outcome(SEED, fault=fault, reason=fault.value), of=visit(attempts=2))
    assert (found.outcome, found.attempts, found.fetch) == (None, 2, None)
    assert found.due_at is not None
    assert found.due_at > AT


def test_n4_a_retry_waits_for_the_hosts_block() -> None:
    """Where the host asked for more patience than the table, the URL waits for that."""
    assert settled(Outcome(SEED, 503, "http_503"), block=120.0).due_at == AT + 120_000
    assert settled(Outcome(SEED, 503, "http_503"), block=7.0).due_at == AT + 30_000


# --- what is stored of the headers


def test_v4_only_listed_headers_are_stored() -> None:
    """Set-Cookie and whatever is not on the allow-list is dropped, whatever its case; repeated ones are all kept."""
    sent = (
        ("Set-Cookie", "id=1"),
        ("SET-COOKIE2", "x"),
        ("X-Api-Key", "k"),
        ("Authorization", "b"),
        ("Server", "s"),
        ("server", "t"),
        ("ETag", '"e"'),
    )
    found = settled(Outcome(SEED, 200, headers=sent))
    assert found.fetch is not None
    assert json.loads(found.fetch.headers or "") == [["Server", "s"], ["server", "t"], ["ETag", '"e"']]
    assert settled(Outcome(SEED, 200, headers=sent[:4])).fetch.headers is None  # type: ignore[union-attr]


def test_h5_the_stored_headers_have_a_size() -> None:
    """At most 16 KiB are stored of them, as whole headers, and what comes first is kept."""
    found = settled(Outcome(SEED, 200, headers=(("Server", "s"), *(("Link", "x" * 3000),) * 10)))
    assert found.fetch is not None
    kept = found.fetch.headers or ""
    assert len(kept) <= HEADERS_MOST
    assert [k for k, _ in json.loads(kept)] == ["Server", *["Link"] * 5]
