"""crawler.frontier.politeness: how long a host rests, what blocks it, when a failure is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.frontier import politeness
from crawler.frontier.politeness import (
    DAY,
    block_of,
    charged,
    connect_failed,
    delay_of,
    retry_after,
    retry_in,
    robots_retry,
)
from crawler.spec import CrawlSpec
from crawler.visit import RETRY, Charge, Fault, Outcome

WALL = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("setting", "asked", "delay"),
    [
        (1.0, None, 1.0),
        (1.0, 0.25, 1.0),
        (1.0, 1.5, 1.5),
        (0.0, 0.1, 0.1),
        (0.0, 0.0, 0.0),
        (2.0, 2.0, 2.0),
        (1.0, 60.0, 60.0),
        (1.0, 300.0, 300.0),
        (1.0, 86_400.0, 300.0),
        (600.0, 86_400.0, 600.0),
    ],
)
def test_l3_the_longer_of_delay_and_crawl_delay_holds(setting: float, asked: float | None, delay: float) -> None:
    """Fractions are kept, a Crawl-delay beyond 300 s counts as 300 s, and it never shortens our own delay."""
    assert delay_of(CrawlSpec(delay=setting), asked) == delay


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 1.0),
        ("-5", 1.0),
        ("99999999", DAY),
        ("Fri, 15 Jan 2027 08:02:00 GMT", 120.0),
        ("Fri, 15 Jan 2027 08:02:00 -0000", 120.0),
        ("Friday, 15-Jan-27 08:02:00 GMT", 120.0),
        ("Fri Jan 15 08:02:00 2027", 120.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 1.0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Fri, 15 Foo 2027 08:02:00 GMT", None),
        ("9" * 5000, DAY),
        ("120, 120", None),
    ],
)
def test_n4_retry_after_in_both_forms(value: str | None, wait: float | None) -> None:
    """RFC 9110 §10.2.3: seconds or any HTTP date; clamped to 1 s .. 24 h; nonsense counts as no header."""
    assert retry_after(value, WALL) == wait


@pytest.mark.parametrize(
    "value", ["9" * 400, "Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2030 00:00:00 +9999999999999999"]
)
def test_n4_retry_after_never_raises(value: str) -> None:
    """A number too large for a float, a year or an offset too large for C: a wait within bounds, or no header."""
    assert retry_after(value, WALL) in (None, DAY)


@given(st.text(max_size=40) | st.integers().map(str))
def test_n4_retry_after_is_within_bounds(value: str) -> None:
    """Whatever it says: None, or between a second and a day."""
    wait = retry_after(value, WALL)
    assert wait is None or 1.0 <= wait <= DAY


@pytest.mark.parametrize("status", [429, 503])
def test_n4_429_and_503_block_the_host(status: int) -> None:
    """Both rest the whole host as long as Retry-After says, in both forms; 30 s without one."""
    for value, wait in (("120", 120.0), ("Fri, 15 Jan 2027 08:00:07 GMT", 7.0), ("nonsense", 30.0), (None, 30.0)):
        headers = (("Retry-After", value),) if value else ()
        assert block_of(Outcome("", status, f"http_{status}", headers), 0, WALL) == wait


@pytest.mark.parametrize("status", [200, 301, 404, 500, 502])
def test_other_answers_block_nobody(status: int) -> None:
    """An answer other than 429 and 503 leaves only the delay."""
    assert block_of(Outcome("", status), 99, WALL) is None


def test_n3_five_failures_to_connect_open_the_breaker() -> None:
    """The fifth in a row rests the host 60 s; more rest it longer, up to an hour, never less than before."""
    refused = Outcome("", fault=Fault.CONNECT_REFUSED, reason="connect_refused")
    waits = [block_of(refused, n, WALL) for n in range(1, 201)]
    assert waits[:5] == [None] * 4 + [60.0]
    rest = [w for w in waits[4:] if w is not None]
    assert rest == sorted(rest)
    assert (len(rest), rest[-1]) == (196, 3600.0)


def test_connect_failed_is_the_hosts_doing_only() -> None:
    """Faults charged to the host count; an answer, our own faults and the URL's do not."""
    assert {f for f in Fault if connect_failed(Outcome("", fault=f, reason=f.value))} == {
        f for f in Fault if RETRY[f.value].charge is Charge.HOST
    }
    assert not connect_failed(Outcome("", 503, "http_503"))


@pytest.mark.parametrize(
    ("reason", "waits"),
    [
        ("http_404", [None]),
        ("address_refused", [None]),
        ("tls", [None]),
        ("tls: certificate has expired", [None]),
        ("bad_redirect", [None]),
        ("dns_nxdomain", [3600.0, None]),
        ("http_500", [5.0, 30.0, None]),
        ("timeout", [30.0, 300.0, None]),
        ("cut", [5.0, 30.0, None]),
        ("slow", [300.0, None]),
        ("http_503", [30.0, 60.0, 120.0, 240.0, None]),
    ],
)
def test_retry_table(reason: str, waits: list[float | None]) -> None:
    """After the n-th try: the n-th wait of the table, None when the tries are used up or the reason is not in it."""
    assert [retry_in(reason, n + 1) for n in range(len(waits))] == waits


def test_every_fault_has_a_rule() -> None:
    """Each Fault says how often it is tried and who is charged; only its own tries end it, and all waits are positive."""
    assert {f.value for f in Fault} <= set(RETRY)
    assert all(
        rule.tries >= 1 and all(w > 0 for w in rule.waits) and (rule.tries == 1 or rule.waits)
        for rule in RETRY.values()
    )


def test_n1_our_own_faults_are_charged_to_nobody() -> None:
    """local, offline and proxy faults count against no URL; everything else does."""
    assert {r for r in RETRY if not charged(r)} == {"local", "offline", "proxy"}
    assert charged("http_404")
    assert charged("tls: expired")


def test_r3_an_unreachable_robots_is_asked_again_later_and_later() -> None:
    """Five minutes, doubling, at most a day."""
    assert [robots_retry(n) for n in (1, 2, 3, 4)] == [300.0, 600.0, 1200.0, 2400.0]
    assert max(robots_retry(n) for n in range(1, 100)) == DAY
    assert politeness.ROBOTS_FRESH <= DAY
