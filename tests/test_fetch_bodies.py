"""What a hostile server can do with headers and bodies (FAULTS H)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from crawler.fetch.http import Deadlines
from crawler.fetch.many import fetch_all
from crawler.spec import CrawlSpec
from crawler.visit import Fault
from tests import conftest, hostile
from tests.fetching import SHORT, outcome_of, pool_of, visit_of
from tests.hostile import OK, Hostile, response


async def test_bodies_are_decoded() -> None:
    """The body is what the site meant; wire_size is what it sent."""
    packed = gzip.compress(b"page" * 1000)
    outcome = await outcome_of(hostile.raw(response(packed, "Content-Encoding: gzip")))
    assert (outcome.body, outcome.wire_size, outcome.truncated) == (b"page" * 1000, len(packed), None)


async def test_h1_bombs_and_large_bodies_are_cut_at_the_cap() -> None:
    """max-body holds for the decoded body and for the wire; a body of exactly that size is whole."""
    spec = CrawlSpec(max_body=100_000)
    bomb = await outcome_of(hostile.raw(response(gzip.compress(bytes(50 << 20)), "Content-Encoding: gzip")), spec)
    assert (len(bomb.body), bomb.truncated) == (100_000, "size")
    large = await outcome_of(hostile.raw(response(b"x" * 100_001)), spec)
    assert (len(large.body), large.truncated) == (100_000, "size")
    whole = await outcome_of(hostile.raw(response(b"x" * 100_000)), spec)
    assert (len(whole.body), whole.truncated) == (100_000, None)


@pytest.mark.parametrize("coding", ["gzip, gzip", "compress", "gzip"])
async def test_h3_what_is_not_undone_is_stored_raw(coding: str) -> None:
    """Several codings, an unknown one and a false one leave the body as it came, and say so."""
    outcome = await outcome_of(hostile.raw(response(b"<p>no code</p>", f"Content-Encoding: {coding}")))
    assert (outcome.status, outcome.body, outcome.undecoded) == (200, b"<p>no code</p>", coding)


async def test_a_cut_coding_is_seen_though_the_length_is_right() -> None:
    """A gzip stream that lacks its end is not whole, whatever Content-Length says."""
    outcome = await outcome_of(hostile.raw(response(gzip.compress(b"page" * 9999)[:-9], "Content-Encoding: gzip")))
    assert outcome.truncated == "cut"
    assert (b"page" * 9999).startswith(outcome.body)


async def test_h5_header_floods() -> None:
    """128 headers are kept, a header of 60 KiB passes, one beyond 64 KiB or a thousand of them are a protocol fault."""
    many = await outcome_of(hostile.raw(response(b"x", *(f"X-{n}: 1" for n in range(200)))))
    assert (many.status, len(many.headers)) == (200, 128)
    long = await outcome_of(hostile.raw(response(b"x", "X: " + "y" * 60_000)))
    assert len(long.header("x") or "") == 60_000
    for flood in (["X: " + "y" * 200_000], [f"X-{n}: 1" for n in range(1000)]):
        assert (await outcome_of(hostile.raw(response(b"x", *flood)))).fault is Fault.PROTOCOL


@pytest.mark.parametrize("fault", [hostile.endless_1xx, hostile.drip_header, hostile.silent])
async def test_h6_an_answer_that_never_begins_is_a_timeout(fault: hostile.Fault) -> None:
    """Endless 1xx, a header by the byte, silence: the first-byte deadline ends them all."""
    outcome = await outcome_of(fault, deadlines=SHORT)
    assert (outcome.status, outcome.fault) == (None, Fault.TIMEOUT)
    assert outcome.reason == "timeout: first byte deadline passed"


async def test_h7_a_dripping_body_is_cut_off() -> None:
    """Below the minimum rate the fetch ends; what came is kept and flagged."""
    outcome = await outcome_of(hostile.drip_body, deadlines=SHORT)
    assert (outcome.status, outcome.truncated) == (200, "time")
    assert set(outcome.body) == set(b"b")
    assert outcome.elapsed_ms < 1000


async def test_h7_a_body_that_never_begins_is_slow() -> None:
    """Headers without a byte of the body behind them are a fault."""
    outcome = await outcome_of(hostile.held(OK + b"Content-Length: 5\r\n\r\n"), deadlines=SHORT)
    assert (outcome.status, outcome.fault) == (None, Fault.SLOW)


async def test_the_total_deadline_ends_a_body_that_keeps_its_rate() -> None:
    """A body that never ends, fast enough, is stopped by the total deadline or the cap, and kept."""
    spec = CrawlSpec(max_body=1 << 40)
    steady = Deadlines(total=0.3, rate=1)
    outcome = await outcome_of(hostile.drip_body, spec, deadlines=steady)
    assert (outcome.status, outcome.truncated) == (200, "time")


async def test_h8_endless_chunks_end_at_the_cap() -> None:
    """A chunked body without end is cut at max-body."""
    outcome = await outcome_of(hostile.endless_chunks, CrawlSpec(max_body=300_000))
    assert (outcome.body, outcome.truncated) == (b"c" * 300_000, "size")


CUT = [
    hostile.raw(OK + b"Content-Length: 100\r\n\r\npartial"),
    hostile.raw(OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n"),
    hostile.raw(OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\npartial"),
    hostile.resets(OK + b"Content-Length: 100\r\n\r\npartial"),
    hostile.resets(OK + b"\r\npartial"),
]


def _on_both_loops(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())
    pytest.importorskip("uvloop").run(main())


@pytest.mark.parametrize("number", range(len(CUT)))
def test_h9_a_cut_body_is_kept_and_flagged(number: int) -> None:
    """Short Content-Length, cut chunks, RST in the body: what came is kept and never looks complete, on both loops."""

    async def main() -> None:
        outcome = await outcome_of(CUT[number])
        assert (outcome.status, outcome.body, outcome.truncated) == (200, b"partial", "cut")

    _on_both_loops(main)


def test_n6_a_cut_at_any_byte_neither_hangs_nor_looks_whole() -> None:
    """Cut after each byte of an answer: a fault before the header's end, then 'cut'; only the whole is whole."""
    whole = response(b"body of eighteen b", "Content-Type: text/html")
    head = whole.index(b"\r\n\r\n") + 4

    async def main() -> None:
        for end in range(len(whole) + 1):
            outcome = await outcome_of(hostile.raw(whole[:end]))
            if end < head:
                assert outcome.fault in (Fault.RESET, Fault.PROTOCOL), end
            else:
                assert (outcome.status, outcome.body) == (200, whole[head:end]), end
                assert outcome.truncated == (None if end == len(whole) else "cut"), end

    _on_both_loops(main)


async def test_h10_ambiguous_lengths_are_protocol_faults() -> None:
    """Content-Length beside Transfer-Encoding, or two of them that differ: refused, the connection is not reused."""
    for lines in (b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 3\r\nContent-Length: 4"):
        outcome = await outcome_of(hostile.raw(OK + lines + b"\r\n\r\nabc"))
        assert outcome.fault is Fault.PROTOCOL


@pytest.mark.parametrize("fault", [hostile.glued, hostile.glued_late])
async def test_h11_an_unasked_answer_never_answers_another_request(fault: hostile.Fault) -> None:
    """An answer glued behind another, at once or later, is dropped with its connection."""
    async with Hostile(fault) as server, pool_of(server) as pool:
        for n in range(20):
            outcome = await pool.fetch(visit_of(server.url(f"/{n}")))
            assert outcome.body == f"/{n}".encode()
            while fault is hostile.glued_late and server.poisoned <= n:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)  # the loop reads what loopback has delivered


async def test_h11_many_mixed_requests_get_their_own_answers() -> None:
    """2,000 keep-alive requests over ten connections (10,000 in the long form): each body carries its own URL."""
    many = 10_000 if conftest.LONG else 2_000
    async with Hostile(hostile.echo) as server:
        urls = [server.url(f"/{n}") for n in range(many)]
        outcomes = await fetch_all(urls, limit=10)
    assert [outcome.body.decode() for outcome in outcomes] == [f"/{n}" for n in range(many)]


async def test_h12_header_values_are_text_that_sqlite_takes() -> None:
    """Invalid UTF-8 in a header becomes ISO 8859-1; no lone surrogates, no NUL."""
    outcome = await outcome_of(hostile.raw(OK + b"X: \xff\xe9\r\nY: \xc3\xa9\r\nContent-Length: 0\r\n\r\n"))
    assert (outcome.header("x"), outcome.header("y")) == ("ÿé", "é")
    nul = await outcome_of(hostile.raw(OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"))
    assert nul.fault is Fault.PROTOCOL or nul.header("x") == "a\ufffdb"


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"HTTP/1.1 999 No", "http_999"), (b"HTTP/1.0 404", "http_404"), (b"HTTP/1.1 2 OK", "protocol"),
     (b"no headers at all", "protocol"), (b"SSH-2.0-OpenSSH_9.2", "protocol"), (b"HTTP/1.1 OK", "protocol")],
)
async def test_h13_status_lines(line: bytes, reason: str) -> None:
    """Any three digits are a status; what is not HTTP/1 is a protocol fault."""
    outcome = await outcome_of(hostile.raw(line + b"\r\nContent-Length: 0\r\n\r\n"))
    assert outcome.reason.split(":")[0] == reason
