"""crawler.frontier.politeness: how long a host rests, what blocks it, when a failure is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.frontier import politeness
from crawler.frontier.politeness import (
    DAY,
    UNKNOWN,
    Standing,
    block_of,
    charged,
    closed,
    connect_failed,
    delay_of,
    retry_after,
    retry_in,
    robots_retry,
)
from crawler.spec import CrawlSpec
from crawler.visit import RETRY, Charge, Fault, Outcome

WALL = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
OK = Outcome("", 200, latency=0.1)
REFUSED = Outcome("", fault=Fault.CONNECT_REFUSED, reason="connect_refused")


def standing_after(*outcomes: Outcome, base: float = 1.0, before: Standing = UNKNOWN) -> Standing:
    for outcome in outcomes:
        before = before.after(outcome, base, blocked=False)
    return before


def blocks(*outcomes: Outcome) -> list[float | None]:
    """What each of these in turn blocks the host for."""
    return [block_of(o, standing_after(*outcomes[: n + 1]), WALL) for n, o in enumerate(outcomes)]


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
    ],
)
def test_l3_the_longer_of_delay_and_crawl_delay_holds(setting: float, asked: float | None, delay: float) -> None:
    """Fractions are kept, a Crawl-delay is honoured up to 300 s, and it never shortens our own delay."""
    assert delay_of(CrawlSpec(delay=setting), asked) == delay
    assert closed(CrawlSpec(delay=setting), asked) == ""


def test_l3_a_crawl_delay_beyond_300_s_closes_the_host() -> None:
    """Its URLs are refused, and the refusal names the Crawl-delay; who waits as long anyway, or ignores robots, goes on."""
    assert closed(CrawlSpec(delay=1.0), 300.5).startswith("Crawl-delay: 300.5 s")
    assert closed(CrawlSpec(delay=600.0), 500.0) == closed(CrawlSpec(robots="ignore"), 500.0) == ""
    assert closed(CrawlSpec(delay=600.0), 601.0) != ""


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
        assert blocks(Outcome("", status, f"http_{status}", headers))[0] == wait


@pytest.mark.parametrize("status", [429, 503])
def test_n4_without_retry_after_the_block_doubles(status: int) -> None:
    """30 s, twice as long for each further one in a row, an hour at most; an ordinary answer begins anew."""
    busy = Outcome("", status, f"http_{status}")
    assert blocks(*[busy] * 10) == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0]
    assert blocks(busy, busy, OK, busy) == [30.0, 60.0, None, 30.0]
    assert blocks(busy, REFUSED, Outcome("", 500), busy)[-1] == 60.0


def test_n4_what_was_in_flight_when_the_block_began_doubles_nothing() -> None:
    """Four answers 429 to four open requests are one piece of news."""
    first = UNKNOWN.after(Outcome("", 429), 1.0, blocked=False)
    assert first.after(Outcome("", 429), 1.0, blocked=True) == first


@pytest.mark.parametrize("status", [200, 301, 404, 500, 502])
def test_other_answers_block_nobody(status: int) -> None:
    """An answer other than 429 and 503 leaves only the delay."""
    assert block_of(Outcome("", status), Standing(failures=99, throttled=99), WALL) is None


def test_n3_five_failures_to_connect_open_the_breaker() -> None:
    """The fifth in a row rests the host 60 s, each probe that fails twice as long as before, up to an hour."""
    assert blocks(*[REFUSED] * 13) == [None] * 4 + [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0]
    assert blocks(*[REFUSED] * 7, OK, REFUSED)[-2:] == [None, None]


def test_n3_what_was_in_flight_when_the_breaker_opened_doubles_nothing() -> None:
    """Only probes count; a host on probation says so."""
    host = standing_after(*[REFUSED] * 5)
    assert host.after(REFUSED, 1.0, blocked=True) == host
    assert (host.probation, host.trouble) == (True, "no answer to 5 requests in a row")


def test_connect_failed_is_the_hosts_doing_only() -> None:
    """Faults charged to the host count; an answer, our own faults and the URL's do not."""
    failing = {f for f in Fault if connect_failed(Outcome("", fault=f, reason=f.value))}
    assert failing == {f for f in Fault if RETRY[f.value].charge is Charge.HOST} - {Fault.DNS_NXDOMAIN}
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


# --- adaptive delay


@pytest.mark.parametrize(
    ("latency", "adaptive", "delay", "expected"),
    [
        (0.1, 2.0, 1.0, 1.0),
        (0.8, 2.0, 1.0, 1.6),
        (0.8, 0.0, 1.0, 1.0),
        (20.0, 2.0, 1.0, 30.0),
        (20.0, 2.0, 40.0, 40.0),
        (20.0, 2.0, 0.0, 0.0),
    ],
)
def test_l1_the_delay_is_a_multiple_of_the_answer_time(
    latency: float, adaptive: float, delay: float, expected: float
) -> None:
    """Twice the usual time to answer where that is longer than the delay, at most 30 s; not at delay 0, nor when off."""
    assert delay_of(CrawlSpec(delay=delay, adaptive=adaptive), None, Standing(latency=latency)) == expected


def test_l1_errors_never_speed_it_up() -> None:
    """A quick 404, 500 or refusal does not lower the answer time; a slow one, or a timeout, raises it."""
    usual = Standing(latency=2.0)
    for status in (404, 429, 500):
        assert standing_after(Outcome("", status, latency=0.001), before=usual).latency == 2.0
        assert standing_after(Outcome("", status, latency=6.0), before=usual).latency == 4.0
    late = Outcome("", fault=Fault.TIMEOUT, reason="timeout", elapsed_ms=30_000)
    assert [standing_after(o, before=usual).latency for o in (REFUSED, late, OK)] == [2.0, 16.0, 1.05]


# --- storms


def test_n5_most_answers_server_errors_double_the_delay() -> None:
    """More than half of the last 20 answers 5xx: twice the delay each time, up to 60 s; x 0.9 for each good answer."""
    bad, spec = Outcome("", 500, "http_500"), CrawlSpec(delay=1.0)
    host, delays = UNKNOWN, []
    for outcome in [bad] * 18:
        host = host.after(outcome, 1.0, blocked=False)
        delays.append(delay_of(spec, None, host))
    assert delays == [1.0] * 10 + [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert host.trouble == "server errors: a request each 60.0 s"
    for _ in range(5):
        host = host.after(OK, 1.0, blocked=False)
    assert delay_of(spec, None, host) == pytest.approx(60 * 0.9**5)
    assert delay_of(spec, None, standing_after(*[OK] * 40, before=host)) == 1.0


def test_n5_half_is_not_more_than_half() -> None:
    """Every second answer an error leaves the delay alone."""
    assert standing_after(*[Outcome("", 500), OK] * 50).slowed == 0.0


def test_n5_with_a_delay_of_0_a_second_is_doubled() -> None:
    """Who asked for no delay is slowed all the same where a server breaks down."""
    assert delay_of(CrawlSpec(delay=0.0), None, standing_after(*[Outcome("", 500)] * 11, base=0.0)) == 2.0


def test_u4_most_answers_redirects_slow_the_host_four_times() -> None:
    """More than half of the last 200 answers: four times the delay while it lasts, 60 s at most, and it is said."""
    moved, spec = Outcome("", 301), CrawlSpec(delay=1.0)
    host = standing_after(*[OK] * 100, *[moved] * 100)
    assert (delay_of(spec, None, host), host.trouble) == (1.0, "")
    host = standing_after(moved, before=host)
    assert (delay_of(spec, None, host), host.trouble) == (4.0, "most answers are redirects: 4 times the delay")
    assert delay_of(CrawlSpec(delay=50.0), None, host) == 60.0
    assert delay_of(CrawlSpec(delay=90.0), None, host) == 90.0
    assert delay_of(spec, None, standing_after(*[OK] * 2, before=host)) == 4.0
    assert delay_of(spec, None, standing_after(*[OK] * 150, before=host)) == 1.0


def test_n1_an_excused_host_is_no_witness_until_it_answers() -> None:
    """A failure our network is blamed for counts one at the host, so that hosts which are dead cannot excuse each other for
    ever; an answer takes it back."""
    excused = standing_after(Outcome("", fault=Fault.OFFLINE, reason="offline"))
    assert excused.failures == 1
    assert standing_after(Outcome("", fault=Fault.OFFLINE, reason="offline"), before=excused).failures == 1
    assert standing_after(OK, before=excused).failures == 0
