"""Our own network: gone, back, walled in by a portal, or slept through (FAULTS N1, N8, X4, X5)."""

from __future__ import annotations

import pytest

from crawler.clock import SystemClock
from crawler.frontier import network
from crawler.frontier.network import Network, Whose
from crawler.url import admit
from crawler.visit import Fault, Outcome
from tests.simulation import WALL, World, page, robots, status


def web(hosts: int, pages: int, **options: object) -> tuple[World, list[str]]:
    """Hosts at addresses of their own, each a chain of so many pages."""
    def answer(host: str, path: str, now: float) -> Outcome:
        if path == "/robots.txt":
            return robots()
        number = int(path[1:] or 0)
        return page(f"http://{host}/{number + 1}") if number + 1 < pages else page()

    names = [f"h{n}.test" for n in range(hosts)]
    world = World({name: f"192.0.2.{n}" for n, name in enumerate(names)}, answer, **options)  # type: ignore[arg-type]
    return world, [f"http://{name}/" for name in names]


@pytest.mark.parametrize("lost", [Fault.OFFLINE, Fault.CONNECT_TIMEOUT, Fault.DNS_FAILED])
@pytest.mark.parametrize("hosts", [2, 5, 40])
def test_n1_an_outage_of_five_minutes_costs_nothing(hosts: int, lost: Fault) -> None:
    """Gone from 20 s to 320 s: nobody is charged, 0 URLs fail, a probe each 5 s, every host asked within 30 s after."""
    world, seeds = web(hosts, 40, gone=lambda now: 20 <= now < 320, lost=lost)
    ending = world.crawl(*seeds)
    assert (ending.state, ending.counts.pages, ending.counts.failures) == ("complete", hosts * 40, 0)
    assert all(s.attempts == 1 for s in world.store.settlements if s.outcome == "page")
    probes = [at for at, _ in world.faults if 60 <= at < 320]
    assert 30 <= len(probes) <= 53
    assert {s.host for s in world.sent if 320 <= s.at < 350} == {f"h{n}.test" for n in range(hosts)}
    assert any("our own network" in s.bound_by for s in world.snapshots)
    assert "our own network" not in world.snapshots[-1].bound_by


def test_n1_a_single_host_waits_for_the_kernels_word_only() -> None:
    """"Network unreachable" pauses a crawl of one host, and charges nobody."""
    world, seeds = web(1, 40, gone=lambda now: 20 <= now < 320)
    assert world.crawl(*seeds).counts.failures == 0
    assert all(s.attempts == 1 for s in world.store.settlements if s.outcome == "page")


def test_n1_a_single_dead_host_is_no_dead_network() -> None:
    """Where only one host is asked and does not answer, it is charged, and the run ends."""
    world, seeds = web(1, 40, gone=lambda now: now >= 20, lost=Fault.CONNECT_TIMEOUT)
    ending = world.crawl(*seeds, limit=900)
    assert ending.state == "complete" or ending.counts.queued == 1
    assert max(s.attempts for s in world.store.settlements) > 1
    assert world.store.rows["h0.test"].failures >= 1


@pytest.mark.parametrize("hosts", [1, 3, 30])
def test_n1_a_network_that_never_was_there_ends_the_run(hosts: int) -> None:
    """Nobody has answered in this run: after a minute of probes the hosts are charged, and the run ends within five."""
    world, seeds = web(hosts, 3, gone=lambda _: True)
    ending = world.crawl(*seeds, limit=300)
    assert (ending.state, ending.answered, ending.counts.failures) == ("deferred", False, 0)


def test_n1_an_outage_without_end_ends_the_run() -> None:
    """After half an hour the run ends; nobody is charged, all URLs are queued."""
    world, seeds = web(3, 40, gone=lambda now: now >= 20)
    ending = world.crawl(*seeds, limit=4000)
    assert (ending.state, ending.counts.failures, ending.counts.queued) == ("deferred", 0, 3)
    assert all(row.failures <= 1 for row in world.store.rows.values())  # excused: no witness until it answers


def test_n1_dead_hosts_among_live_ones_are_charged() -> None:
    """Ten dead hosts and two live ones: no pause, the dead are on record, the live lose nothing."""
    world, seeds = web(12, 30)
    answer = world.answer
    world.answer = lambda host, path, now: answer(host, path, now) if host in ("h0.test", "h1.test") else None
    world.crawl(*seeds)
    assert all("our own network" not in s.bound_by for s in world.snapshots)
    assert all(world.store.rows[f"h{n}.test"].failures for n in range(2, 12))
    assert max(s.at for s in world.sent if s.host == "h0.test") < 40


def test_n1_unreachable_is_the_hosts_while_others_answer() -> None:
    """One host always "network unreachable": after the next answer of another it is charged like one that is dead."""
    outcome = Outcome("", fault=Fault.OFFLINE, reason="offline: Network is unreachable", elapsed_ms=5)
    judge, a, b = Network(), admit("http://a.test/"), admit("http://b.test/")
    assert judge.judge(a, outcome, 100.0, known=False, others=["b.test"]) is Whose.OPEN
    assert judge.judge(b, Outcome("", 404), 100.1, known=False, others=[]) is Whose.HOST
    assert not judge.suspicious
    late = Outcome("", fault=Fault.CONNECT_TIMEOUT, reason="connect_timeout", elapsed_ms=10_000)
    assert judge.judge(a, late, 130.0, known=True, others=["b.test"]) is Whose.HOST


def portal(path: str) -> Outcome:
    return status(302, location="http://login.portal.test/")


def test_n8_a_captive_portal_pauses_and_stores_nothing() -> None:
    """30 hosts, all redirected to one from 20 s to 200 s: 0 redirects stored, a probe each 5 s, then all pages."""
    world, seeds = web(30, 30)
    answer = world.answer
    world.answer = lambda host, path, now: portal(path) if 20 <= now < 200 else answer(host, path, now)
    ending = world.crawl(*seeds)
    assert (ending.state, ending.counts.pages, ending.counts.redirects) == ("complete", 30 * 30, 0)
    assert sum(60 <= s.at < 200 for s in world.sent) <= 29
    assert any("captive portal" in s.bound_by for s in world.snapshots)


def test_n8_hosts_that_have_moved_are_no_portal() -> None:
    """Of 30 hosts 25 redirect to one other while five answer: the redirects are stored, nothing pauses."""
    world, seeds = web(30, 5)
    answer = world.answer
    moved = {f"h{n}.test" for n in range(25)}
    world.answer = lambda host, path, now: (
        portal(path) if host in moved and path != "/robots.txt" else answer(host, path, now)
    )
    ending = world.crawl(*seeds)
    assert (ending.counts.redirects, ending.counts.pages) == (25, 25)
    assert all("portal" not in s.bound_by for s in world.snapshots)


# --- time in which we were not there


def test_x5_what_was_in_flight_while_we_were_stopped_is_nobodys_fault() -> None:
    """Ten minutes unaccounted for: a timeout, a reset, a body cut by its deadline are not charged; a whole answer counts."""
    stopped, place = Network(), admit("http://a.test/")
    assert [stopped.seen(at) for at in (0.0, 1.0, 2.0, 602.0)] == [False, False, False, True]
    for outcome in (
        Outcome("", fault=Fault.TIMEOUT, reason="timeout", elapsed_ms=601_000),
        Outcome("", fault=Fault.RESET, reason="reset", elapsed_ms=600_500),
        Outcome("", 200, truncated="time", elapsed_ms=601_000),
    ):
        assert stopped.judge(place, outcome, 602.0, known=False, others=["b"]) is Whose.MACHINE
    assert stopped.judge(place, Outcome("", 200, elapsed_ms=601_000), 602.1, known=False, others=[]) is Whose.HOST
    late = Outcome("", fault=Fault.RESET, reason="reset", elapsed_ms=10)
    assert stopped.judge(place, late, 603.0, known=False, others=["b"]) is Whose.HOST


def test_x5_after_a_stop_every_host_is_left_alone_for_a_delay() -> None:
    """The loop comes back ten minutes later: in the 10 s after, no more requests than in any other 10 s."""
    world, seeds = web(20, 40)
    answer, stopped = world.answer, []

    def sleepy(host: str, path: str, now: float) -> Outcome | None:
        if now > 20 and not stopped:
            import asyncio

            stopped.append(now)
            asyncio.get_running_loop().clock.now += 600.0  # type: ignore[attr-defined]
        return answer(host, path, now)

    world.answer = sleepy
    ending = world.crawl(*seeds)
    woke = stopped[0] + 600
    after = sum(woke <= s.at < woke + 10 for s in world.sent)
    before = sum(5 <= s.at < 15 for s in world.sent)
    assert ending.counts.pages == 20 * 40
    assert after <= before
    assert sum(woke < s.at < woke + 0.9 for s in world.sent) <= 3  # already handed out when it was stopped


# --- the wall clock


@pytest.mark.parametrize("jump", [365 * 86_400, -365 * 86_400, 3600, -3600])
def test_x4_a_jump_of_the_wall_clock_is_not_believed_while_a_run_lasts(jump: int) -> None:
    """A year or an hour, forward or back: the run's wall time goes on; NTP's small corrections are followed."""
    unix, running = [10**18], [5 * 10**12]
    clock = SystemClock(lambda: unix[0], lambda: running[0])
    before = clock.wall()
    running[0] += 1_000_000_000
    unix[0] += (1 + jump) * 1_000_000_000
    assert clock.wall() == before + 1000
    unix[0] -= jump * 1_000_000_000
    unix[0] += 5_000_000_000
    assert clock.wall() == before + 6000


def test_figures_are_those_that_are_documented() -> None:
    """docs/politeness.md and decision 0009 name them."""
    assert (network.SILENCE, network.ENOUGH, network.PROBE, network.OUTAGE_MOST) == (10.0, 20, 5.0, 1800.0)


def test_many_hosts_with_nothing_due_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four benches full of hosts whose URLs are all due in an hour: looked at once each, deferred, and over."""
    monkeypatch.setattr("crawler.frontier.supply.HOSTS_IN_HAND", 16)
    world, _ = web(0, 0)
    for n in range(70):
        world.addresses[f"h{n}.test"] = f"192.0.2.{n}"
        world.store._add(admit(f"http://h{n}.test/"), 0, WALL + 3_600_000)
    world.store.runs = 1
    ending = world.crawl(limit=250.0)
    assert (ending.state, len(world.sent)) == ("deferred", 0)
