"""crawler.url against web-platform-tests, Unicode's IdnaTestV2 and RFC 3986 (docs/conformance.md, "URLs")."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from crawler.url import InvalidUrl, canonical, split

DATA = Path(os.environ.get("CONFORMANCE") or Path(__file__).parents[2] / "shared" / "conformance")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no conformance data at {DATA} (set CONFORMANCE)")

# Policy: a trailing host dot is removed, and what is left must be a host.
WPT_DIFFERENT = {
    "wpt/317": "http://./ - nothing is left of the host",
    "wpt/318": "http://../ - nothing is left of the host",
    "wpt/782": "http://foo.09../ - 'foo.09' ends in a number and is no IPv4 address",
}
IDNA_DIFFERENT = {
    39: "the empty domain: in https:///x the parser takes 'x' for the host, so the case cannot be put as a URL",
    40: "'。' is the host '.', of which nothing is left",
    41: "'.', of which nothing is left",
    1615: "'..', of which nothing is left",
}
RFC3986_DIFFERENT = {
    "//g": "WHATWG gives an empty path as '/'",
    "http:g": "WHATWG reads the scheme of its base as relative (RFC 3986 §5.2.2 allows it for old parsers)",
}


def load(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((DATA / name).read_text("utf-8"))
    return cases


def ours(url: str, base: str | None = None) -> str | None:
    try:
        return canonical(url, base)
    except InvalidUrl:
        return None


def policy(case: dict[str, Any]) -> str | None:
    """The expected href under our policy, put together from the suite's own components, not by our code."""
    if case["failure"]:
        return None
    parts = case["components"]
    if case["http"]:
        port = ":" + parts["port"] if parts["port"] else ""
        return f"{parts['protocol']}//{parts['hostname'].rstrip('.')}{port}{parts['pathname']}{parts['search']}"
    href: str = case["href"].partition("#")[0]
    if href.endswith("?") and not parts["search"]:
        href = href[:-1]
    secret = parts["username"] + (":" + parts["password"] if parts["password"] else "")
    return href.replace(f"//{secret}@", "//", 1) if secret else href


@pytest.mark.parametrize("http", [True, False])
def test_u10_urltestdata(http: bool) -> None:
    """U10: every case of urltestdata, http(s) and other schemes, save the listed policy differences."""
    cases = [case for case in load("url_wpt_urltestdata.json") if case["http"] is http]
    different = {case["id"] for case in cases if ours(case["input"], case["base"]) != policy(case)}
    assert len(cases) == (445 if http else 446)
    assert different == (set(WPT_DIFFERENT) if http else set())


@pytest.mark.parametrize(
    ("name", "count", "known"),
    [("url_wpt_toascii.json", 87, {}), ("url_wpt_idnatestv2.json", 2671, IDNA_DIFFERENT)],
)
def test_u8_domains_to_ascii(name: str, count: int, known: dict[int, str]) -> None:
    """U8: international host names as WHATWG (UTS #46, non-transitional) has them, without the trailing dot."""
    cases = load(name)
    different = set()
    for number, case in enumerate(cases):
        found = ours(f"https://{case['input']}/x")
        expected = case["output"] if case["output"] is None else case["output"].rstrip(".")
        if (split(found).host if found else None) != expected:
            different.add(number)
    assert len(cases) == count
    assert different == set(known)


def test_u10_rfc3986_references() -> None:
    """U10: the examples of RFC 3986 §5.4, without fragments; the two differences are WHATWG's by design."""
    cases = load("url_join_rfc3986.json")
    different = {c["input"] for c in cases if ours(c["input"], c["base"]) != c["href"].partition("#")[0]}
    assert len(cases) == 42
    assert different == set(RFC3986_DIFFERENT)
    assert ours("//g", cases[0]["base"]) == "http://g/"
    assert ours("http:g", cases[0]["base"]) == "http://a/b/c/g"
