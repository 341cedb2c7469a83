"""crawler.fetch.robots against Google's, crawler-commons', Protego's, reppy's and temoto's own tests
(docs/conformance.md, "robots.txt")."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from crawler.fetch.robots import Robots, availability

DATA = Path(os.environ.get("CONFORMANCE") or Path(__file__).parents[2] / "shared" / "conformance")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no conformance data at {DATA} (set CONFORMANCE)")

_ESCAPED = "RFC 9309 §2.2.2 escapes both sides before it compares; Google's matcher is handed URLs already escaped"
GOOGLE_DIFFERENT = {
    "google/ID_Encoding/2": _ESCAPED,
    "google/ID_Encoding/4": _ESCAPED,
    "google/ID_Encoding/5": _ESCAPED,
}
GOOGLE_ONLY_DIFFERENT = {
    "google/GoogleOnly_AcceptUserAgentUpToFirstSpace/1": "the agent 'Foo Bar' is no product token; we read 'Foo' of it",
    "google/GoogleOnly_LineTooLong/1": "Google cuts a line at 16,664 bytes; we keep it whole",
    "google/GoogleOnly_LineTooLong/4": "Google cuts a line at 16,664 bytes; we keep it whole",
}
STATUS_DIFFERENT = {
    (429, "crawler-commons"): "RFC 9309 leaves 429 open; as Google we wait (FAULTS R5)",
    (401, "reppy"): "older than RFC 9309 §2.3.1.3: unavailable means allowed",
    (403, "reppy"): "older than RFC 9309 §2.3.1.3: unavailable means allowed",
}


def load(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((DATA / name).read_text("utf-8"))
    return cases


def parse(case: dict[str, Any]) -> Robots:
    return Robots.parse(case["robots"].encode("utf-8", "surrogateescape"))


def differing(cases: list[dict[str, Any]]) -> set[str]:
    return {c["id"] for c in cases if parse(c).verdict(c["user_agent"], c["url"]).allowed is not c["allowed"]}


def test_r8_consensus() -> None:
    """R8: what five test suites agree on, all of it."""
    cases = load("robots_consensus_half.json")
    assert len(cases) == 328
    assert differing(cases) == set()


@pytest.mark.parametrize(("only", "count", "known"), [(False, 72, GOOGLE_DIFFERENT), (True, 73, GOOGLE_ONLY_DIFFERENT)])
def test_l6_google(only: bool, count: int, known: dict[str, str]) -> None:
    """L6: Google's own tests, save the listed policy differences; those that are Google's choice are run as well."""
    cases = [case for case in load("robots_google.json") if case["google_only"] is only]
    assert len(cases) == count
    assert differing(cases) == set(known)


@pytest.mark.parametrize("suite", ["reppy", "temoto"])
def test_l3_delays(suite: str) -> None:
    """L3: Crawl-delay as the two suites read it."""
    cases = load(f"robots_delay_{suite}.json")
    assert [parse(c).crawl_delay(c["user_agent"]) for c in cases] == [c["crawl_delay"] for c in cases]


@pytest.mark.parametrize("suite", ["reppy", "temoto"])
def test_sitemaps(suite: str) -> None:
    """Sitemap lines, wherever they stand."""
    cases = load(f"robots_sitemaps_{suite}.json")
    assert [parse(c).sitemaps for c in cases] == [tuple(c["sitemaps"]) for c in cases]


def test_r3_r4_r5_status_rules() -> None:
    """R3-R5: what a status allows, save the listed policy differences; four rows are prose for the fetching."""
    cases = [case for case in load("robots_status_rules.json") if "status" in case]
    different = set()
    for case in cases:
        if (availability(case["status"]) != "unreachable") is not case["allowed"]:
            different.add((case["status"], case["source"].split()[0].split("/")[0]))
    assert len(cases) == 31
    assert different == set(STATUS_DIFFERENT)
