"""crawler.frontier.scope: which URLs belong to the crawl (CONTRACT §1)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.frontier.exclusions import Exclusions, parse
from crawler.frontier.scope import Scope, registrable, same_site
from crawler.frontier.settling import settle
from crawler.spec import SCOPES, CrawlSpec
from crawler.url import MAX_LENGTH, admit, split
from crawler.visit import Extract, Outcome, Visit
from storage.links import NOTED, Link, Links, Verdict, admitted_hosts
from storage.model import LinkRow, Place

SEED = "https://www.example.co.uk/docs/index.html?from=/x/"


def judge(scope: str, url: str, *seeds: str, **options: tuple[str, ...]) -> str:
    """'in', or the reason of the refusal."""
    verdict = Scope(CrawlSpec(scope=scope, **options), [admit(s) for s in seeds or (SEED,)]).judge(admit(url))
    assert verdict.admit == (verdict.reason is None) == (verdict.detail is None)
    return verdict.reason or "in"


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        (SEED, "page prefix host domain any"),
        ("https://www.example.co.uk/docs/", "prefix host domain any"),
        ("https://www.example.co.uk/docs/a/b", "prefix host domain any"),
        ("http://www.example.co.uk:8080/docs/a", "prefix host domain any"),
        ("https://www.example.co.uk/docs", "host domain any"),
        ("https://www.example.co.uk/other", "host domain any"),
        ("https://example.co.uk/", "domain any"),
        ("https://a.b.example.co.uk/", "domain any"),
        ("https://other.co.uk/", "any"),
        ("https://notexample.co.uk/", "any"),
    ],
)
def test_scopes(url: str, inside: str) -> None:
    """page: the seed; prefix: its folder; host: any scheme and port; domain: the registrable domain; any: all."""
    assert [s for s in SCOPES if judge(s, url) == "in"] == inside.split()


@pytest.mark.parametrize("scope", ["host", "prefix", "domain"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.7", "[fd00::1]", "169.254.1.1"])
def test_private_seed_is_in_scope_at_its_port_only(scope: str, host: str) -> None:
    """CONTRACT: for a literal private seed the same port is required; other services of this machine stay untouched."""
    seed = f"http://{host}:8000/"
    assert judge(scope, f"http://{host}:8000/a", seed) == "in"
    assert judge(scope, f"https://{host}:8000/a", seed) == "in"
    assert judge(scope, f"http://{host}:8001/a", seed) == "scope"
    assert judge(scope, f"http://{host}/a", seed) == "scope"
    assert judge(scope, f"http://{host}/a", f"http://{host}:80/") == "in"
    assert judge(scope, f"https://{host}/a", f"http://{host}/") == "scope"


def test_public_address_ignores_the_port() -> None:
    """A literal public address is a host like any other."""
    assert judge("host", "http://93.184.215.14:81/", "http://93.184.215.14/") == "in"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("example.org", "www.example.org", True),
        ("example.org", "example.com", False),
        ("a.co.uk", "b.co.uk", False),
        ("me.github.io", "you.github.io", False),  # the private section
        ("github.io", "you.github.io", False),
        ("a.b.compute.amazonaws.com", "c.d.compute.amazonaws.com", False),
        ("localhost", "localhost", True),
        ("localhost", "other", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", False),  # the list alone would call both '0.1'
        ("[::1]", "[::1]", True),
        ("[::1]", "[::2]", False),
    ],
)
def test_same_site(a: str, b: str, same: bool) -> None:
    """Equal registrable domains by the list with its private section; addresses only equal themselves."""
    assert same_site(admit(f"http://{a}/"), admit(f"https://{b}:8443/x")) is same
    assert (judge("domain", f"http://{b}/", f"http://{a}/") == "in") is same


def test_places_without_a_host_share_no_site() -> None:
    """mailto: and its like belong to no site."""
    assert not same_site(split("mailto:a@b"), split("mailto:a@b"))


def test_registrable_of_a_suffix_is_itself() -> None:
    """Where the list knows no registrable domain the host stands for itself."""
    assert [registrable(h) for h in ("co.uk", "localhost", "a.example.org")] == ["co.uk", "localhost", "example.org"]


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("https://www.example.co.uk/a.pdf", {"exclude": (r"\.pdf$",)}, "exclude"),
        ("https://www.example.co.uk/a.html", {"exclude": (r"\.pdf$",)}, "in"),
        ("https://www.example.co.uk/a.html", {"include": ("/docs/", "/api/")}, "include"),
        ("https://www.example.co.uk/api/a", {"include": ("/docs/", "/api/")}, "in"),
        ("https://www.example.co.uk/api/a.pdf", {"include": ("/api/",), "exclude": ("pdf",)}, "exclude"),
        ("https://other.org/api/a", {"include": ("/api/",)}, "scope"),
        (SEED, {"include": ("nothing",), "exclude": ("example",)}, "in"),
    ],
)
def test_include_and_exclude(url: str, options: dict[str, tuple[str, ...]], reason: str) -> None:
    """re.search on the canonical URL: any include, no exclude; seeds are exempt."""
    assert judge("host", url, **options) == reason


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (split("mailto:a@example.org"), "scheme"),
        (split("javascript:void(0)"), "scheme"),
        (Place("https://a..b", "a..b", "/"), "invalid"),
        (Place("https://www.example.co.uk", "www.example.co.uk", "/" + "a" * MAX_LENGTH), "length"),
        (Place("https://other.org", "other.org", "/" + "a" * MAX_LENGTH), "length"),
    ],
)
def test_what_admit_refuses_is_refused_with_its_reason(place: Place, reason: str) -> None:
    """U2, U8, P7 hold here too: a place that came from elsewhere meets the same gate, in every scope."""
    for scope in SCOPES:
        assert Scope(CrawlSpec(scope=scope), [admit(SEED)]).judge(place).reason == reason


def test_redirected_seed_becomes_a_seed() -> None:
    """example.org → www.example.org: the new seed opens its host, even where a refusal had been remembered."""
    scope = Scope(CrawlSpec(), [admit("https://example.org/")])
    there = admit("https://www.example.org/page")
    assert scope.judge(there).reason == "scope"
    scope.add_seed(admit("https://www.example.org/"))
    assert scope.judge(there).admit


@pytest.mark.parametrize(
    ("scope", "url", "words"),
    [
        ("host", "https://other.org/", "host other.org is not a seed's host"),
        ("prefix", "https://www.example.co.uk/x", "not below a seed's folder"),
        ("domain", "https://other.org/", "other.org is not in a seed's domain"),
        ("page", "https://other.org/", "only the seeds themselves"),
    ],
)
def test_details_help_a_person(scope: str, url: str, words: str) -> None:
    """Each refusal says in a sentence what it is about."""
    assert words in (Scope(CrawlSpec(scope=scope), [admit(SEED)]).judge(admit(url)).detail or "")


NAMES = st.sampled_from(
    ["example.org", "www.example.org", "a.co.uk", "127.0.0.1", "localhost", "me.github.io", "[::1]"]
)
PLACES = st.builds(
    lambda scheme, host, port, path: admit(f"{scheme}://{host}{port}/{path}"),
    st.sampled_from(["http", "https"]),
    NAMES,
    st.sampled_from(["", ":8000", ":80"]),
    st.text("ab/?", max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=3), PLACES)
def test_scopes_nest(seeds: list[Place], place: Place) -> None:
    """page ⊆ prefix ⊆ host ⊆ domain ⊆ any, and seeds are in all of them; asking twice changes nothing."""
    scopes = [Scope(CrawlSpec(scope=kind), seeds) for kind in SCOPES]
    verdicts = [s.judge(place).admit for s in scopes]
    assert verdicts == sorted(verdicts)
    assert verdicts == [s.judge(place).admit for s in scopes]
    assert all(s.judge(seed).admit for s in scopes for seed in seeds)


ANYWHERE = st.one_of(
    PLACES,
    st.sampled_from(("mailto:a@b", "ftp://example.org/", "http://no_such..host/", f"http://{'a' * 300}.org/")).map(split),
    st.builds(
        lambda place, path: place._replace(path=path),
        PLACES,
        st.one_of(
            st.integers(-3, 3).map(lambda n: "/" + "x" * (MAX_LENGTH - len("https://www.example.org") + n)),
            st.sampled_from(("/a" * 3, "/a" * 4, "/a/b" * 5, "/a/b" * 5 + "?b", "/?" + "/a" * 30, "/a/" * 12)),
        ),
    ),
)
BARRED = st.sampled_from(("", "example.org", "*.example.org", "127.0.0.0/8\n*.co.uk"))


LINKS = st.builds(
    Link,
    ANYWHERE,
    st.sampled_from(("a", "a", "refresh", "img")),
    st.sampled_from((None, None, "nofollow", "ugc nofollow", "me")),
    st.none(),
)


def each_by_itself(scope: Scope, link: Link, closed: str | None) -> LinkRow:
    """What is said of one edge by asking for its URL alone."""
    step, word = {"a": 1, "refresh": 0}.get(link.kind), scope.judge(link.place)
    if step is None:
        return LinkRow(*link, None, *NOTED)
    if closed or "nofollow" in (link.rel or "").split():
        step, refused = 1 if closed == "sitemaps" else None, Verdict(False, closed or "nofollow")
        word = refused if word.admit else word
    return LinkRow(*link, step, *word)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SCOPES),
    st.lists(ANYWHERE.filter(lambda place: place.host != ""), max_size=3),
    st.lists(LINKS, max_size=8),
    st.lists(BARRED, min_size=1, max_size=2),
    st.sampled_from(((), ("b",), ("/a/a", "8000"))),
    st.sampled_from(((), ("b", "a.a"))),
    st.sampled_from((None, None, "nofollow", "sitemaps")),
)
def test_a_pages_links_are_judged_as_each_by_itself(
    kind: str, seeds: list[Place], links: list[Link], barred: list[str], include: tuple[str, ...], exclude: tuple[str, ...],
    closed: str | None,
) -> None:  # fmt: skip
    """Whatever scope, seeds, filters, exclusions, lengths and traps; nofollow of an edge or of the page, sitemaps alone. And
    hosts that no edge is followed to are not news."""
    spec = CrawlSpec(scope=kind, include=include, exclude=exclude, sitemaps="only" if closed == "sitemaps" else "follow")
    one, all_ = (Scope(spec, seeds) for _ in range(2))
    links += [Link(seed, "a") for seed in seeds]
    at, robots = admit("http://example.org/"), frozenset({"nofollow"} if closed == "nofollow" else ())
    for text in barred:
        exclusions = Exclusions(parse(text, "list"))
        one.exclude(exclusions)
        all_.exclude(exclusions)
        found = Extract(links=Links.of(links), robots=robots)
        rows = settle(Visit(at.url, at, id=1), Outcome(at.url, 200), found, all_, at=1, block=None).links
        assert list(rows) == [each_by_itself(one, link, closed) for link in found.links]
        followed = {row.target.host for row in rows if row.step is not None and row.reason != "sitemaps"}
        assert {row.target.host for row in rows if row.admit} <= admitted_hosts(rows) <= followed


def test_judge_is_quick() -> None:
    """The origin's part is remembered: less than 1 µs without a regex (held to 5 here, for slow and busy machines)."""
    scope = Scope(CrawlSpec(), [admit(SEED)])
    place = admit("https://www.example.co.uk/page")
    took = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(20_000):
            scope.judge(place)
        took.append(time.process_time() - began)
    assert min(took) / 20_000 < 5e-6
