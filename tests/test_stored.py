"""What hosts and addresses were left with holds in the next run, whatever the wall clock says (FAULTS D21, N4, X4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crawler.frontier.frontier import Frontier
from crawler.frontier.politeness import DAY, Standing
from crawler.frontier.scope import Scope
from crawler.frontier.stored import Times, host_of, row_of
from crawler.frontier.workbench import Host
from crawler.spec import CrawlSpec
from crawler.visit import Fault, Outcome, Visit
from storage.model import Begun, Counts, HostRow, OriginRow
from tests.benches import ALLOWED, WALL, row


class FakeClock:
    def __init__(self, wall: int = WALL) -> None:
        self.mono, self.unix = 5000.0, wall

    def now(self) -> float:
        return self.mono

    def wall(self) -> int:
        return self.unix


def frontier(clock: FakeClock, resumed: bool = True, **options: Any) -> Frontier:
    spec = CrawlSpec(contact="a@b.test", **options)
    begun = Begun(2, resumed, Counts(), (), {"ip": WALL + 7000})
    return Frontier(spec, None, Scope(spec, []), None, clock, begun)  # type: ignore[arg-type]


def host_from(row: HostRow, clock: FakeClock | None = None, resumed: bool = True, **options: Any) -> Host:
    clock = clock or FakeClock()
    rested_at = clock.now() if resumed else None
    return host_of(row, CrawlSpec(contact="a@b.test", **options), Times(clock), rested_at=rested_at)


def test_d21_on_resume_everybody_is_left_alone_for_a_delay() -> None:
    """What was in flight is not known: each host waits its delay from the start, or until its stored time if later."""
    assert host_from(HostRow(1, "a", WALL - 9000), delay=2.0).next_at == 5002.0
    assert host_from(HostRow(1, "a", WALL - 9000, crawl_delay=7000), delay=2.0).next_at == 5007.0
    assert host_from(HostRow(1, "a", WALL + 9000), delay=2.0).next_at == 5009.0
    assert host_from(HostRow(1, "a"), resumed=False, delay=2.0).next_at <= 5000.0


def test_d21_on_resume_addresses_wait_too() -> None:
    """An address waits address_delay, or until its stored clock."""
    bench = frontier(FakeClock(), delay=2.0).bench
    assert bench._address("new").next_at == 5001.0
    assert bench._address("ip").next_at == 5007.0


def test_n4_a_stored_block_holds_in_the_next_run() -> None:
    """Retry-After survives the process."""
    assert host_from(HostRow(1, "a", blocked_until=WALL + 60_000)).blocked_until == 5060.0


def test_d21_a_hosts_standing_holds_in_the_next_run() -> None:
    """Answer time, storm, failures and 429s in a row are stored, and with them the delay; so is what is said of it."""
    before = host_from(HostRow(1, "a"), delay=1.0)
    before.standing = Standing(latency=0.25, slowed=8.0, failures=6, throttled=2)
    row = row_of(before, Times(FakeClock()))
    assert row.trouble is not None
    assert row.trouble.startswith("no answer to 6 requests")
    again = host_from(row, delay=1.0)
    assert (again.standing, again.delay, again.next_at) == (before.standing, 8.0, 5008.0)


def test_r7_stored_robots_hold_in_the_next_run() -> None:
    """Rules, their age and their Crawl-delay come back from the file; nothing is asked again before it is due."""
    origin = OriginRow("http://a", "ok", b"User-agent: *\nDisallow: /x", WALL + 60_000)
    host = host_from(HostRow(1, "a", crawl_delay=1500, origins=(origin, OriginRow("https://a"))), delay=0.5)
    assert (host.delay, host.robots["http://a"].until, "https://a" in host.robots) == (1.5, 5060.0, False)
    assert not host.robots["http://a"].robots.verdict("poolcrawl", "http://a/x").allowed  # type: ignore[union-attr]


@pytest.mark.parametrize("jump", [365, 40_000])
def test_x4_a_stored_time_is_never_further_than_a_day(jump: int) -> None:
    """The wall clock was years ahead when the file was written: no delay is longer than 300 s, nothing else than a day."""
    far = WALL + jump * 86_400_000
    host = host_from(HostRow(1, "a", far, far, origins=(OriginRow("http://a", "unreachable", None, far),)))
    assert host.next_at == 5000.0 + 300
    assert host.blocked_until == host.robots["http://a"].until == 5000.0 + DAY


def test_x4_a_clock_that_jumps_while_the_crawl_runs_moves_no_turn() -> None:
    """Turns are on the monotonic clock: a year forward or back on the wall changes no host's next turn."""
    clock = FakeClock()
    host = host_from(HostRow(1, "a", WALL + 3000), clock, resumed=False)
    clock.unix += 365 * 86_400_000
    assert host.next_at == 5003.0
    assert row_of(host, Times(clock)).next_fetch_at == clock.unix + 3000


async def test_n1_our_own_fault_pauses_the_crawl_and_charges_no_host() -> None:
    """A local fault: one second without a new visit; the host's failures stay."""
    made = frontier(FakeClock(), resumed=False, delay=1.0)
    host = host_from(HostRow(1, "a"), resumed=False)
    host.robots["http://a"] = ALLOWED
    made.bench.add(host)
    made.bench.feed(host, [(0.0, row(n, "a")) for n in (1, 2)])
    made.bench.resolved(host, "ip9", ("192.0.2.1",), 5000.0)
    made.bench.unresolved.clear()
    turn = await asyncio.wait_for(made.acquire(), 1)
    assert isinstance(turn, Visit)
    made.release(turn, Outcome(turn.url, fault=Fault.LOCAL, reason="local"))
    assert (made.paused_until, host.standing.failures) == (5001.0, 0)
