"""crawler.url: one parser, one canonical form, one gate."""

from __future__ import annotations

import os
import time

import ada_url
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from crawler.url import (
    MAX_LENGTH,
    MAX_RAW,
    InvalidUrl,
    Joiner,
    NotAdmitted,
    admit,
    canonical,
    objection,
    robots_url,
    split,
)
from storage.model import Place

MANY = int(os.environ.get("EXAMPLES", "400"))  # U8 asks for 10⁶ before a release; see docs/conformance.md
BASES = [
    "https://example.org/",
    "http://example.org:8080/a/b/c.html?q=/x/",
    "https://[2001:db8::1]/x//y/",
    "http://a/b",
    "mailto:someone@example.org",
    "foo://host/a/b",
    "file:///c:/x/y",
]
PIECES = st.one_of(
    st.sampled_from(list("aB7_-~./?#%:@\\'\"&=*^|[]{<éß \t\n\0\u3002\uff0e\ud800")),
    st.sampled_from(
        ["..", "//", "../", "./", "%2e", "%2E", "%41", "%zz", "://", ":80", ":443", "u:p@", "h.org", "//h.org"]
    ),
    st.sampled_from(["http:", "https://", "http://", "HTTPS://", "mailto:", "foo:"]),
    st.sampled_from(["1.2.3.4", "0x7f.1", "[::1]", "xn--", "xn--a"]),
)
HREFS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=30))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("http://example.org:80/", "http://example.org/"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("https://example.org:8443/a", "https://example.org:8443/a"),
        ("http://example.org/a/../b/./c", "http://example.org/b/c"),
        ("http://example.org/%7eA%2fb", "http://example.org/%7eA%2fb"),
        ("http://example.org/?", "http://example.org/"),
        ("http://example.org/??", "http://example.org/??"),
        ("http://example.org/a?#b", "http://example.org/a"),
        ("http://example.org/a#?", "http://example.org/a"),
        ("http://example.org./a", "http://example.org/a"),
        ("http://example.org.:8080/a", "http://example.org:8080/a"),
        ("http://example.org../a", "http://example.org/a"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://1.2.3.4../", "http://1.2.3.4/"),
        ("http://bücher.example/ü?ü", "http://xn--bcher-kva.example/%C3%BC?%C3%BC"),
        ("http://example.org/a\ud800b", "http://example.org/a%EF%BF%BDb"),
        ("mailto:Someone@Example.org", "mailto:Someone@Example.org"),
        ("ftp://u:p@example.org/x?#y", "ftp://example.org/x"),
        ("foo://u@host", "foo://host"),
    ],
)
def test_u10_same_page_has_one_url(url: str, expected: str) -> None:
    """U10: WHATWG href without fragment, userinfo, trailing host dot and empty '?'; the case of paths is kept."""
    assert canonical(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://exa%2fmple.com/", None),
        ("http://a\0b/", None),
        ("http://[x]/", None),
        ("http://./", None),
        ("http://user@/", None),
        ("http://good.example#@evil.example/", "good.example"),
        ("http://good.example\\@evil.example/", "good.example"),
        ("http://good.example@evil.example/", "evil.example"),
        ("http://good.example:80@evil.example/", "evil.example"),
        ("http://example.com./", "example.com"),
        ("http://\uff25xample.com/", "example.com"),
        ("http://example\u3002com/", "example.com"),
        ("http://faß.de/", "xn--fa-hia.de"),  # IDNA 2008, as browsers have it; 2003 would say fass.de
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
    ],
)
def test_u8_hosts_cannot_be_confused(url: str, expected: str | None) -> None:
    """U8: what browsers refuse is refused, and the host that is stored is the host that will be dialled."""
    if expected is None:
        with pytest.raises(NotAdmitted, match="invalid"):
            admit(url)
    else:
        assert admit(url).host == expected


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".org", ".".join(["a" * 50] * 6), "a$b", "a!b"])
def test_u8_strict_host_beyond_whatwg(host: str) -> None:
    """U8: WHATWG lets pass host names no DNS query can hold; they are not admitted."""
    assert canonical(f"http://{host}/")
    with pytest.raises(NotAdmitted) as refusal:
        admit(f"http://{host}/")
    assert refusal.value.reason == "invalid"


@pytest.mark.parametrize(
    "url", ["http://u:pw@h.org/", "https://u@h.org:444/x", "http://:@h.org/", "http://u%40x:p@h.org"]
)
def test_u9_userinfo_is_never_kept(url: str) -> None:
    """U9: userinfo is removed at the gate, so it can be neither stored, logged nor sent."""
    assert "@" not in admit(url).url
    assert admit(url).host == "h.org"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/x", "data:text/html,x", "javascript:alert(1)", "ws://h/"]
)
def test_u2_only_web_schemes_enter(url: str) -> None:
    """U2: the allow-list is {http, https}, at the one function through which every URL enters."""
    with pytest.raises(NotAdmitted) as refusal:
        admit(url, "https://example.org/")
    assert refusal.value.reason == "scheme"


def test_p7_long_urls_are_refused() -> None:
    """P7: a canonical URL of 4,096 characters enters, one more does not; the fragment does not count."""
    start = "https://example.org/"
    longest = start + "a" * (MAX_LENGTH - len(start))
    assert admit(longest + "#fragment").url == longest
    for url in (longest + "a", start + "a" * MAX_RAW):
        with pytest.raises(NotAdmitted) as refusal:
            admit(url)
        assert refusal.value.reason == "length"
        assert Joiner(start).place(url) is None


def test_p7_a_huge_attribute_costs_nothing() -> None:
    """P7: an href of 50 MB is refused before it is parsed."""
    huge = "a" * 50_000_000
    began = time.perf_counter()
    assert Joiner("https://example.org/").place(huge) is None
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://example.org/", Place("https://example.org", "example.org", "/")),
        ("http://example.org:8080/a?b", Place("http://example.org:8080", "example.org", "/a?b")),
        ("http://[::1]:8080/", Place("http://[::1]:8080", "[::1]", "/")),
        ("http://[::1]/", Place("http://[::1]", "[::1]", "/")),
        ("mailto:a@b", Place("mailto:", "", "a@b")),
        ("ftp://h/x", Place("ftp:", "", "//h/x")),
    ],
)
def test_split(url: str, place: Place) -> None:
    """A canonical URL comes apart into origin, host and path, and origin + path is the URL again."""
    assert split(url) == place
    assert place.url == url


@settings(max_examples=MANY, deadline=None)
@given(HREFS, st.sampled_from([None, *BASES]))
@example("http://1.2.3.4..", None)
@example("data:x  ?#y", None)
@example("http://u@a.:80?#", None)
def test_u8_canonical_is_a_fixpoint(url: str, base: str | None) -> None:
    """U8: c(c(u)) == c(u) for whatever text; nothing but InvalidUrl is ever raised; the split comes together again."""
    try:
        found = canonical(url, base)
    except InvalidUrl:
        return
    assert canonical(found) == found
    assert split(found).url == found
    assert "#" not in found


@settings(max_examples=MANY, deadline=None)
@given(HREFS, st.sampled_from(BASES))
def test_canonical_is_what_ada_says_component_by_component(url: str, base: str) -> None:
    """Differential: the canonical form equals ada's URL after its own setters removed the parts."""
    assume("\ud800" not in url)  # ada cannot be handed it
    try:
        parsed = ada_url.URL(url, base)
    except ValueError:
        with pytest.raises(InvalidUrl):
            canonical(url, base)
        return
    assume(parsed.protocol in ("http:", "https:") and not parsed.hostname.endswith("..") and parsed.hostname != ".")
    found = canonical(url, base)
    parsed.username, parsed.password, parsed.hash = "", "", ""
    if parsed.hostname.endswith("."):
        parsed.hostname = parsed.hostname[:-1]
    assert found == (parsed.href[:-1] if parsed.search == "" and parsed.href.endswith("?") else parsed.href)


@settings(max_examples=MANY, deadline=None)
@given(st.lists(HREFS, max_size=4), st.sampled_from(BASES))
@example(["/a/%2e%2e/b", "a/%2E./b", "x/..", "..", ".", "/..", "a:b", "//h", "/", "", "#", "?", "#x"], BASES[1])
@example(["./", "../", "..//x", ".//", "../?", "../?x", "./#y", "../.x", "./..", ".././"], BASES[1])
@example(["../../../../x", "../x", "../../y?z", "../..", "http://h", "http://h:80/x", "http://h:x/", "/%"], BASES[2])
def test_joiner_agrees_with_canonical(hrefs: list[str], base: str) -> None:
    """The fast way of a page's hrefs equals the slow one, plain hrefs and odd ones, the first time and the second."""
    joiner = Joiner(base)
    for href in hrefs * 2:
        assert joiner.place(href) == _slowly(href, base)


def _slowly(href: str, base: str) -> Place | None:
    try:
        place = split(canonical(href, base))
    except InvalidUrl:
        return None
    problem = objection(place)
    return place if problem is None or problem[0] == "scheme" else None


STARTS = ["", "/", "../", "../../", "./", "./../", ".././", "http://example.org:8080/", "https://o.org/", "http://o:80/"]
PLAIN = st.text("abcXYZ019/._~-?=&;:%20e@#+,!$'()*", max_size=40)


@settings(max_examples=MANY, deadline=None)
@given(st.sampled_from(STARTS), PLAIN)
def test_joiner_agrees_on_ordinary_hrefs(start: str, rest: str) -> None:
    """The same over the alphabet of the hrefs that skip the parser, where a wrong shortcut would show."""
    for base in BASES[:3]:
        assert Joiner(base).place(start + rest) == _slowly(start + rest, base)


@settings(max_examples=MANY, deadline=None)
@given(st.sampled_from([*STARTS[-3:], "https://H.org", "http://h.org:80", "http://a.b.", "http://"]), st.one_of(PLAIN, HREFS))
@example("http://h.org", "/?")
@example("http://h.org", "/a/%2e%2e/b")
@example("http://h.org", "/#x")
def test_joiner_names_its_base_canonically(start: str, rest: str) -> None:
    """A base that skips the parser because it looks canonical is so; no other is let through."""
    try:
        expected = canonical(start + rest)
    except InvalidUrl:
        with pytest.raises(InvalidUrl):
            Joiner(start + rest)
    else:
        assert Joiner(start + rest).base == expected


@pytest.mark.parametrize("href", [
    "/", "/a/b.html", "/a?b=c&d=%20/?", "/a%20b", "page", "a/b?c#d", "../x", "../../x/y#z", "./x", "./../x", "./", "../",
    "../?x", ".././#y", "#", "#top", "https://h.org/", "http://h.org:8080/a?b#c", "https://example.org/a",
])
def test_ordinary_hrefs_skip_the_parser(href: str) -> None:
    """An ordinary href has a shortcut, which is what the parser says; a third of the cost of a page was its hrefs."""
    joiner = Joiner("https://example.org/library/books/index.html?q")
    quick = joiner.shortcut(href)
    assert quick is not None
    assert quick == joiner.resolve(href)


def test_joiner_is_quick() -> None:
    """66 hrefs a page: an ordinary distinct href costs about 3 µs (held to 30 here, for slow and busy machines)."""
    hrefs = [f"{start}page{i}.html?q={i}#s" for i in range(5000) for start in ("/library/", "https://h.org/")]
    took = []
    for _ in range(3):
        joiner = Joiner("https://docs.example.org/library/index.html")
        began = time.process_time()
        for href in hrefs:
            joiner.place(href)
        took.append(time.process_time() - began)
    assert min(took) / len(hrefs) < 30e-6


def test_p9_shortcut_regex_takes_linear_time() -> None:
    """P9: no href makes the shortcut's pattern go back over itself."""
    joiner = Joiner("https://example.org/")
    for href in ("../" * 20_000, "https://" + "a." * 30_000, "/" + "a/" * 30_000 + "\\", "a" * 65_000 + "\n"):
        began = time.perf_counter()
        joiner.place(href)
        assert time.perf_counter() - began < 0.05


def test_robots_url() -> None:
    """RFC 9309 §2.3: robots.txt lies at the top of the origin."""
    assert robots_url("http://example.org:8080") == "http://example.org:8080/robots.txt"
