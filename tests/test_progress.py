"""Progress: what bounds a crawl, and how long it will take, in words that are true."""

from __future__ import annotations

import pytest

from crawler.frontier.load import Load, Slow, load_of
from crawler.frontier.politeness import Standing
from crawler.progress import Meter, bound_by, estimate
from crawler.spec import CrawlSpec
from storage.model import Counts
from tests.benches import ask, bench_of, row

BUSY = Load(fetching=3, hosts=3)


@pytest.mark.parametrize(
    ("load", "spec", "rate", "words"),
    [
        (Load(paused="the disk is full"), {}, 0.0, "a pause: the disk is full"),
        (Load(fetching=100, hosts=200), {}, 50.0, "connections: all 100 are in use"),
        (BUSY, {"max_rate": 20.0}, 19.5, "--max-rate: 20 pages/s"),
        (BUSY, {"max_rate": 20.0}, 3.0, "the network: answers are awaited"),
        (Load(0, 3, 3, 1.0, 1.0), {"max_rate": 20.0}, 3.0, "politeness: 3 hosts × 1 s; more workers will not help"),
        (Load(0, 3, 3, 0.3, 2.0), {}, 3.0, "politeness: 3 hosts × 0.3 to 2 s; more workers will not help"),
        (Load(), {}, 0.0, "the frontier: nothing known is due"),
    ],
)
def test_what_bounds_the_crawl(load: Load, spec: dict[str, float], rate: float, words: str) -> None:
    """The first of its limits that is really met is named; a limit that is set and not met is not."""
    assert bound_by(load, CrawlSpec(**spec), rate=rate, parsing=0, backlog=0) == words


def test_the_estimate_knows_its_reason() -> None:
    """What is queued at the present rate, or the longest queue of one host where that takes longer."""
    assert estimate(Counts(), 0.0) == (0.0, "nothing is queued")
    assert estimate(Counts(queued=5), 0.0) == (None, "no rate yet")
    assert estimate(Counts(queued=100), 10.0)[0] == 10.0
    seconds, why = estimate(Counts(queued=100, slowest_ms=60_000), 10.0)
    assert seconds == 60.0
    assert why.startswith("the longest queue of one host")


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """A burst a minute ago does not count."""
    meter = Meter()
    meter.add(0.0, 0)
    assert meter.add(10.0, 1000) == 100.0
    assert meter.add(70.0, 1060) == 1.0


def test_each_host_is_in_one_place() -> None:
    """Ready, waiting for its clock, or busy; the slowest are those that are asked least often, blocked ones included."""
    bench, hosts = bench_of(ready=1, waiting=2, busy=2, blocked=1, idle=0)
    hosts["waiting"].delay, hosts["busy"].standing = 5.0, Standing(latency=0.4)
    ask(bench, 0.0)  # of 'ready', which has nothing more to ask then
    bench.feed(hosts["ready"], [(0.0, row(99, hosts["ready"]))])
    hosts["ready"].busy, hosts["waiting"].next_at, hosts["busy"].busy = 0, 9.0, 1
    bench.block(hosts["blocked"], 30.0)
    found = load_of(bench, 1.0, fetching=1, paused="")
    assert (found.hosts, found.ready, found.waiting, found.busy) == (4, 1, 2, 1)
    assert (found.resting, found.shortest, found.longest) == (2, 1.0, 5.0)
    assert found.slowest == (Slow("blocked", 1.0, 0.0, 29.0), Slow("waiting", 5.0, 0.0, 0.0), Slow("busy", 1.0, 0.4, 0.0),
                             Slow("ready", 1.0, 0.0, 0.0))
