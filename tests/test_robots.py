"""crawler.fetch.robots: RFC 9309, by a matcher of our own."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protego import Protego

from crawler.fetch.robots import LIMIT, Robots, availability

SITE = "https://example.org"


def allowed(robots: str | bytes, path: str, agent: str = "poolcrawl") -> bool:
    body = robots.encode() if isinstance(robots, str) else robots
    return Robots.parse(body).verdict(agent, SITE + path).allowed


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ("", "/a", True),
        ("Disallow:", "/a", True),
        ("Disallow: /", "/a", False),
        ("Disallow: /", "/robots.txt", True),
        ("Disallow: /a", "/ab", False),
        ("Disallow: /a", "/A", True),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Allow: /a\nDisallow: /ab", "/abc", False),
        ("Disallow: /*.gif$", "/x/y.gif", False),
        ("Disallow: /*.gif$", "/x/y.gif?z", True),
        ("Disallow: /*.gif$", "/x.gif/y.gif", False),
        ("Disallow: /a*b*c", "/aXbXXc/", False),
        ("Disallow: /a*b*c", "/aXcXXb/", True),
        ("Disallow: /ab*b$", "/ab", True),
        ("Disallow: *", "/", False),
        ("Disallow: *$", "/a", False),
        ("Disallow: /a***", "/a", False),
        ("Disallow: /$", "/", False),
        ("Disallow: /$", "/a", True),
        ("Disallow: /a$b", "/a$b", False),
        ("Disallow: /a%24", "/a$", False),
        ("Disallow: /a%2Ab", "/a*b", False),
        ("Disallow: /a%2Ab", "/aXb", True),
        ("Disallow: /%7Euser", "/~user", False),
        ("Disallow: /~user", "/%7euser", False),
        ("Disallow: /a%2fb", "/a%2Fb", False),
        ("Disallow: /a/b", "/a%2Fb", True),
        ("Disallow: /é", "/%C3%A9", False),
        ("Disallow: /%c3%a9", "/é", False),
        ("Disallow: /b?u=https://c", "/b?u=https%3A%2F%2Fc", False),  # RFC 9309 §2.2.2, second row of its table
        ("Disallow: /b?u=https%3A%2F%2Fc", "/b?u=https://c", False),
        ("Disallow: /x # why", "/x", False),
        ("Allow: /x/index.html\nDisallow: /", "/x/", True),
        ("Allow: /x/index.html\nDisallow: /", "/x/y", False),
    ],
)
def test_matching(rules: str, path: str, expected: bool) -> None:
    """RFC 9309 §2.2.2-3: longest match, Allow wins ties, '*' and '$', escapes compared as one spelling."""
    assert allowed(f"User-agent: *\n{rules}\n", path) is expected


@pytest.mark.parametrize(
    ("robots", "agent", "expected"),
    [
        ("User-agent: PoolCrawl\nDisallow: /", "poolcrawl", False),
        ("User-agent: poolcrawl\nDisallow: /", "POOLCRAWL", False),
        ("User-agent: poolcrawl/1.0 (x)\nDisallow: /", "poolcrawl", False),
        ("User-agent: pool\nDisallow: /", "poolcrawl", True),
        ("User-agent: *\nDisallow: /\nUser-agent: poolcrawl\nAllow: /", "poolcrawl", True),
        ("User-agent: poolcrawl\nUser-agent: *\nDisallow: /", "poolcrawl", False),
        ("User-agent: a\nDisallow: /b\nUser-agent: x\nDisallow:\n\nUser-agent: a\nDisallow: /a", "a", False),
        ("User-agent: poolcrawl\n\n# a\nSitemap: /s\nFoo: bar\n\nUser-agent: x\nDisallow: /", "poolcrawl", False),
        ("User-agent: poolcrawl\n\nUser-agent: *\nDisallow: /", "poolcrawl", False),
        ("User-agent: poolcrawl\nDisallow:\n\nUser-agent: *\nDisallow: /", "poolcrawl", True),
        ("Disallow: /", "poolcrawl", True),
        ("User-agent: * bot\nDisallow: /", "poolcrawl", False),
        ("User-agent: *bot\nDisallow: /", "poolcrawl", True),
    ],
)
def test_l6_groups(robots: str, agent: str, expected: bool) -> None:
    """L6: the token in any case, the group that names it before that of '*', duplicates merged (RFC 9309 §2.2.1)."""
    assert allowed(robots, "/a", agent) is expected


def test_verdict_names_rule_and_line() -> None:
    """`explain` can say which line decided, as it was written."""
    robots = Robots.parse("# hello\r\nUser-agent: *\r\nDISALLOW:  /private/ü  # x\r\nAllow: /\r\n".encode())
    found = robots.verdict("poolcrawl", SITE + "/private/ü/x")
    assert (found.allowed, found.rule, found.line) == (False, "Disallow: /private/ü", 3)
    found = robots.verdict("poolcrawl", SITE + "/x")
    assert (found.allowed, found.rule, found.line) == (True, "Allow: /", 4)
    found = Robots.parse(b"").verdict("poolcrawl", SITE)
    assert (found.allowed, found.rule, found.line) == (True, None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfUser-agent: *\nDisallow: /a",
        b"User-agent: *\rDisallow: /a\r",
        b"User-agent: *\r\nDisallow: /a\r\n",
        b"\0\nUser-agent: *\n\0\0: \0\nDisallow: /a\n",
        b"# caf\xe9\nUser-agent: *\nDisallow: /caf\xe9\nDisallow: /a\n",
        b"user agent: *\ndissallow : /a\n",
        b"user-agent *\ndisallow /a\n",
        b"  User-Agent:*\n\tDisallow:/a\n",
        b"User-agent: *\nDisallow: /" + b"x" * 400_000 + b"\nDisallow: /a\n",
    ],
)
def test_r8_odd_bytes_do_not_hide_a_rule(body: bytes) -> None:
    """R8: BOM, CR alone, CRLF, NUL, Latin-1, misspellings, a missing colon, an endless line: the rule still holds."""
    assert not allowed(body, "/a")
    assert allowed(body, "/b")


def test_r8_latin1_rule_is_compared_octet_by_octet() -> None:
    """R8: a Latin-1 path means the URL with that octet, not its UTF-8 cousin."""
    assert not allowed(b"User-agent: *\nDisallow: /caf\xe9\n", "/caf%E9")
    assert allowed(b"User-agent: *\nDisallow: /caf\xe9\n", "/caf%C3%A9")


def test_r8_cut_rule_does_not_reopen_a_path() -> None:
    """R8: only 512,000 bytes are read, the cut line is dropped (HTTrack #1294 kept 'Allow: /'), the file flagged."""
    head = b"User-agent: *\nDisallow: /private\n#"
    tail = b"\nAllow: /private/open\n"
    body = head + b"x" * (LIMIT - len(head) - len(tail) + len("private/open\n")) + tail
    robots = Robots.parse(body)
    assert body[:LIMIT].endswith(b"\nAllow: /")
    assert robots.truncated
    assert not robots.verdict("poolcrawl", SITE + "/private/open").allowed
    assert robots.verdict("poolcrawl", SITE + "/elsewhere").allowed
    assert not Robots.parse(body[:LIMIT]).truncated


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_r8_line_that_just_fits_is_kept(end: bytes) -> None:
    """R8: a line whose end falls on the limit is whole."""
    line = b"User-agent: *\nDisallow: /a"
    body = b"#" * (LIMIT - len(line) - 1) + b"\n" + line
    assert not allowed(body + end, "/a")
    assert allowed(body + b"b" + end, "/a")


def test_r8_five_megabyte_line() -> None:
    """R8: a line of 5 MB is cut and dropped; what stood before it holds."""
    body = b"User-agent: *\nDisallow: /a\nDisallow: /" + b"b" * 5_000_000
    assert not allowed(body, "/a")
    assert allowed(body, "/b")


@pytest.mark.parametrize(
    ("body", "html"),
    [
        (b"<!DOCTYPE html><html><body>User-agent: *\nDisallow: /\n</body>", True),
        (b"\xef\xbb\xbf \r\n<HTML><head>", True),
        (b"# <html>\nUser-agent: *\n", False),
        (b"User-agent: *\nDisallow: /<html>\n", False),
        (b"", False),
    ],
)
def test_r9_html_is_flagged(body: bytes, html: bool) -> None:
    """R9: a page served as robots.txt is flagged, and parsed as text all the same."""
    assert Robots.parse(body).html is html


@pytest.mark.parametrize(
    ("lines", "delay"),
    [
        ("Crawl-delay: 0.5", 0.5),
        ("crawl-delay:10", 10.0),
        ("Crawl-delay: .25", 0.25),
        ("Crawl-delay: 1\nDisallow: /x\nCrawl-delay: 3", 3.0),
        ("Crawl-delay: 999999999", 86_400.0),
        ("Crawl-delay: 99999999999999999999", None),
        ("Crawl-delay: -1", None),
        ("Crawl-delay: nan", None),
        ("Crawl-delay: 1e3", None),
        ("Crawl-delay: 0.5s", None),
        ("Crawl-delay:", None),
        ("", None),
    ],
)
def test_l3_crawl_delay(lines: str, delay: float | None) -> None:
    """L3: fractions are kept, nonsense is none, more than a day is a day, the longest of several holds."""
    assert Robots.parse(f"User-agent: *\n{lines}\n".encode()).crawl_delay("poolcrawl") == delay


def test_l3_crawl_delay_belongs_to_its_own_agents() -> None:
    """A Crawl-delay ends no group of rules (RFC 9309 §2.2.4) but is for the agents named just before it."""
    robots = Robots.parse(
        b"User-agent: a\nCrawl-delay: 1\nUser-agent: b\nCrawl-delay: 2\nUser-agent: *\nDisallow: /x\n"
    )
    assert [robots.crawl_delay(agent) for agent in ("a", "b", "c")] == [1.0, 2.0, None]
    assert not any(robots.verdict(agent, SITE + "/x").allowed for agent in "abc")


def test_sitemaps() -> None:
    """Sitemaps belong to the file, not to a group; each once, in order."""
    body = b"Sitemap: https://e.org/1\nUser-agent: x\nSite-map: https://e.org/2#x\nsitemap: https://e.org/1\nSitemap:\n"
    assert Robots.parse(body).sitemaps == ("https://e.org/1", "https://e.org/2")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        *[
            (200, "ok"),
            (206, "ok"),
            (400, "absent"),
            (401, "absent"),
            (403, "absent"),
            (404, "absent"),
            (410, "absent"),
        ],
        *[(status, "unreachable") for status in (0, 100, 301, 304, 429, 500, 503, 999)],
    ],
)
def test_r3_r4_r5_availability(status: int, word: str) -> None:
    """R3-R5: 2xx is read, 4xx allows all, everything else forbids all until it can be read."""
    assert availability(status) == word


TOKENS = [
    b"User-agent:",
    b"Disallow:",
    b"Allow:",
    b"Crawl-delay:",
    b"*",
    b"/",
    b"a",
    b"$",
    b"\n",
    b"\r",
    b"%4",
    b"\xff",
]
BODIES = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4)).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(BODIES, st.text(max_size=30), st.text(max_size=10))
@example(b"user-agent:\ndisallow:*$", "http://[", "")
def test_r8_nothing_raises(body: bytes, url: str, agent: str) -> None:
    """R8: whatever the bytes, the URL and the agent, there is an answer."""
    robots = Robots.parse(body)
    robots.verdict(agent, url)
    robots.crawl_delay(agent)


PATTERN = st.text("ab/*$", min_size=1, max_size=8).map(lambda text: "/" + text)
RULE = st.tuples(st.sampled_from(["Allow", "Disallow"]), PATTERN)


PLAIN_PARTS = st.lists(st.text("ab/", min_size=1, max_size=3), min_size=1, max_size=4).map("*".join)
PLAIN_RULE = st.tuples(
    st.sampled_from(["Allow", "Disallow"]),
    st.tuples(st.just("/"), PLAIN_PARTS, st.sampled_from(["", "*", "$"])).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PLAIN_RULE, min_size=1, max_size=6), st.text("ab/", max_size=12))
def test_l6_verdicts_are_protegos(rules: list[tuple[str, str]], path: str) -> None:
    """Differential against Protego, where both mean the same: no '$' inside a pattern, no '**', no '*$'."""
    text = "User-agent: *\n" + "".join(f"{kind}: {pattern}\n" for kind, pattern in rules)
    assert allowed(text, "/" + path) is Protego.parse(text).can_fetch(f"{SITE}/{path}", "poolcrawl")


@settings(max_examples=100, deadline=None)
@given(st.lists(RULE, min_size=30, max_size=60), st.text("ab/$", max_size=40))
def test_index_of_globs_changes_nothing(rules: list[tuple[str, str]], path: str) -> None:
    """With many wildcards only the likely ones are looked at: the rule that decides is the one a plain search finds."""
    body = "User-agent: *\n" + "".join(f"{kind}: {pattern}\n" for kind, pattern in rules)
    alone = [Robots.parse(f"User-agent: *\n{kind}: {pattern}\n".encode()) for kind, pattern in rules]
    matching = [rule for rule, robots in zip(rules, alone, strict=True) if robots.verdict("x", SITE + "/" + path).rule]
    found = Robots.parse(body.encode()).verdict("x", SITE + "/" + path)
    assert (found.rule is None) == (not matching)
    if found.rule is not None:
        assert tuple(found.rule.split(": ")) in matching


def hostile() -> dict[str, str]:
    """Files of some 20,000 rules, each made against one way of matching them."""
    rnd = random.Random(9309)
    words = ["".join(rnd.choices("abcdefghij", k=6)) for _ in range(20_000)]
    return {
        "wildcards": "".join(f"Disallow: /*{word}*.html\n" for word in words),
        "stars": "".join(f"Disallow: {'*a' * 10}{n}\n" for n in range(16_000)),
        "prefixes": "".join(f"Disallow: /{word}\n" for word in words),
        "short": "".join(f"Disallow: /*{w[0]}*{w[1]}*{w[2]}*{w[3]}*Z\n" for w in words),
        "one star run": "Disallow: /" + "*a" * 240_000 + "\n",
        "agents": "".join(f"User-agent: {word}\n" for word in words) + "Disallow: /x\n" * 10_000,
        "agent again": "User-agent: poolcrawl\n" * 10_000 + "Disallow: /x\n" * 20_000,
    }


@pytest.mark.parametrize("shape", list(hostile()))
def test_r2_hostile_files_cost_little(shape: str) -> None:
    """R2, P9: 500 KiB of rules parse in 0.5 s, and a verdict on a 2 KB URL takes 5 ms (thrice that passes here)."""
    body = ("User-agent: *\n" + hostile()[shape]).encode()[:LIMIT]
    began = time.process_time()
    robots = Robots.parse(body)
    assert time.process_time() - began < 1.5
    robots.verdict("poolcrawl", SITE)
    urls = [
        SITE + "/" + "a" * 2000,
        SITE + "/" + "abcdefghij" * 200,
        SITE + "/Z" + "jihgfedcba/" * 180,
        SITE + "/a/b?c",
    ]
    for url in urls:
        took = []
        for _ in range(5):
            began = time.process_time()
            robots.verdict("poolcrawl", url)
            took.append(time.process_time() - began)
        assert min(took) < 0.015


def test_r2_undecided_is_no() -> None:
    """R2: a file that would take too long to decide is obeyed as a refusal that says so."""
    robots = Robots.parse(("User-agent: *\n" + hostile()["short"]).encode()[:LIMIT])
    found = robots.verdict("poolcrawl", SITE + "/Z" + "abcdefghij/" * 180)
    assert not found.allowed
    assert "wildcards to try" in (found.rule or "")


def test_r2_what_counts_are_parts_and_not_rules() -> None:
    """R2: rules of a hundred stars each, whose parts are all in the URL, take no longer than others, in all forms of it."""
    rules = "".join(f"Disallow: /*aaaaaa{'*a' * 100}*{n}$\n" for n in range(2_300))
    robots = Robots.parse(("User-agent: *\n" + rules).encode())
    url = SITE + "/" + "a" * 1_900 + "?a:/"
    robots.verdict("poolcrawl", SITE)
    took = []
    for _ in range(5):
        began = time.process_time()
        assert not robots.verdict("poolcrawl", url).allowed
        took.append(time.process_time() - began)
    assert min(took) < 0.015


def test_r2_pattern_of_many_stars() -> None:
    """R2: `*a` ten times on a URL of 2 KB is decided in less than 10 ms, however it ends."""
    robots = Robots.parse(("User-agent: *\nDisallow: /" + "*a" * 10 + "b$\n").encode())
    began = time.process_time()
    assert robots.verdict("poolcrawl", SITE + "/" + "a" * 2000).allowed
    assert time.process_time() - began < 0.01
