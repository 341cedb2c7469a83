"""Responses of curl's test suite, served raw: nothing raises, nothing hangs, and what curl copes with we read the same.

The data is at $CONFORMANCE, by default in `shared/conformance` beside the repository. docs/conformance-http.md tells
the differences.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest

from crawler.fetch.decode import zstd
from crawler.fetch.http import Deadlines
from crawler.fetch.pool import FetchPool
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Outcome, Visit
from tests import hostile
from tests.hostile import Hostile

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(os.environ.get("CONFORMANCE", ROOT.parent / "shared" / "conformance")) / "http_curl_plain_get_half.json.gz"

BARE_LF = "chunk framing ends its lines with a bare LF, which llhttp refuses (RFC 9112 §7.1 asks for CRLF)"
BOTH = "Content-Length beside Transfer-Encoding: refused as a smuggling attempt (RFC 9112 §6.3; H10)"
DIFFERENT = {
    "curl/341": BARE_LF,
    "curl/1116": BARE_LF,
    "curl/1124": BARE_LF,
    "curl/1170": BARE_LF,
    "curl/365": BOTH,
    "curl/1122": BOTH,
    "curl/770": "a list of equal Content-Length values, which RFC 9110 §8.6 lets us refuse",
}
"""Where curl copes and we report a protocol fault, with the reason; docs/conformance-http.md says the same."""


def _cases() -> list[dict[str, Any]]:
    if not FILE.exists():
        return []
    found: list[dict[str, Any]] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


CASES = _cases()
needs_data = pytest.mark.skipif(not CASES, reason=f"no {FILE.name}; set CONFORMANCE to its folder")


def _sent(case: dict[str, Any]) -> bytes:
    return base64.b64decode(case["parts"]["0"])


async def _fetch(data: bytes) -> Outcome:
    async with Hostile(hostile.raw(data)) as server:
        place = split(server.url())
        async with FetchPool(CrawlSpec(), [place], deadlines=Deadlines(total=3, first_byte=2)) as pool:
            return await pool.fetch(Visit(place.url, place))


def _unchunked(data: bytes) -> bytes:
    out = b""
    while match := re.match(rb"\s*([0-9A-Fa-f]+)[^\n]*\n", data):
        size = int(match[1], 16)
        if not size:
            break
        out += data[match.end():match.end() + size]
        data = data[match.end() + size:]
    return out


def _expected(data: bytes) -> tuple[int, bytes, bool]:
    """Status, body and wholeness as a lenient reader sees them, written apart from the code under test."""
    head, _, body = re.split(rb"(\r?\n\r?\n)", data, maxsplit=1) if re.search(rb"\n\r?\n", data) else (data, b"", b"")
    status = int(head.split(None, 2)[1])
    if 100 <= status < 200 and status != 101:
        return _expected(body)
    found = {key.strip().lower(): value.strip() for key, _, value in
             (line.partition(b":") for line in head.splitlines()[1:])}
    whole = True
    if status in (204, 304) or status == 101:
        body = b""
    elif found.get(b"transfer-encoding", b"").lower().endswith(b"chunked"):
        body = _unchunked(body)
    elif b"content-length" in found:
        length = int(found[b"content-length"])
        whole, body = len(body) >= length, body[:length]
    return status, body, whole


def _plain(coding: str, body: bytes) -> bytes:
    if coding in ("gzip", "deflate"):
        return zlib.decompressobj(31 if coding == "gzip" else 15 if body[:1] == b"x" else -15).decompress(body)
    return {"br": brotli.decompress, "zstd": zstd.decompress}.get(coding, bytes)(body)


@needs_data
async def test_no_response_of_curls_suite_raises_or_hangs() -> None:
    """Each of the 210 responses gives an Outcome within its deadlines, with a status or a fault."""
    room = asyncio.Semaphore(20)

    async def one(case: dict[str, Any]) -> None:
        async with room:
            outcome = await asyncio.wait_for(_fetch(_sent(case)), 10)
        assert (outcome.status is None) is (outcome.fault is not None), case["id"]

    assert len(CASES) == 210
    await asyncio.gather(*(one(case) for case in CASES))


@needs_data
async def test_what_curl_copes_with_reads_the_same() -> None:
    """Where curl succeeds on an HTTP response, status and body are those on the wire; differences are known by id."""
    coped = [case for case in CASES if case["curl_errorcode"] == 0 and case["default_part_http"]]
    different = set()
    for case in coped:
        outcome = await _fetch(_sent(case))
        if outcome.fault is not None:
            assert outcome.fault is Fault.PROTOCOL, case["id"]
            different.add(case["id"])
            continue
        status, body, whole = _expected(_sent(case))
        assert outcome.status == status, case["id"]
        if outcome.undecoded is None and not 300 <= status < 400:
            body = _plain(outcome.header("content-encoding") or "", body)
        assert outcome.body == body, case["id"]
        assert (outcome.truncated is None) is whole, case["id"]
    assert different == set(DIFFERENT)


@needs_data
async def test_http_09_is_refused() -> None:
    """A response without a status line is a protocol fault, though curl can be told to take it (H13)."""
    for case in CASES:
        if not case["default_part_http"] and _sent(case):
            assert (await _fetch(_sent(case))).fault is Fault.PROTOCOL, case["id"]


def test_the_differences_are_documented() -> None:
    """docs/conformance-http.md names each difference."""
    text = (ROOT / "docs" / "conformance-http.md").read_text("utf-8")
    assert all(name in text for name in DIFFERENT)
