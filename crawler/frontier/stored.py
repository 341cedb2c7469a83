"""Between what is stored and what is in hand: Unix milliseconds to monotonic seconds, host rows to hosts, and back."""

from __future__ import annotations

from collections.abc import Mapping

from crawler.clock import Clock, ms
from crawler.fetch.robots import Robots, read
from crawler.frontier import politeness
from crawler.frontier.workbench import Host, RobotsState
from crawler.spec import CrawlSpec
from storage.model import HostRow, OriginRow

FARTHEST = politeness.DAY  # seconds: a stored time further ahead is a clock that jumped (FAULTS X4)


class Times:
    """Stored times on this process's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mono(self, wall: int, farthest: float = FARTHEST) -> float:
        """A stored time as monotonic seconds, never further ahead than ``farthest`` seconds; 0 stays 0."""
        return self._clock.now() + min((wall - self._clock.wall()) / 1000, farthest) if wall > 0 else 0.0

    def wall(self, mono: float) -> int:
        """Monotonic seconds as a time to store; 0 stays 0."""
        return self.walls(mono)[0]

    def walls(self, *monos: float) -> list[int]:
        """The same of several at once."""
        wall, now = self._clock.wall(), self._clock.now()
        return [wall + ms(mono - now) if mono > 0 else 0 for mono in monos]


async def rules_of(row: HostRow, agent: str) -> dict[str, Robots]:
    """The stored robots.txt files of a host's origins, read without holding up the event loop."""
    return {o.origin: await read(o.body, agent) for o in row.origins if o.body is not None}


def host_of(
    row: HostRow, spec: CrawlSpec, times: Times, *, rested_at: float | None, rules: Mapping[str, Robots] | None = None
) -> Host:
    """A host in hand. ``rested_at``: when the run began, if the crawl is a resumed one: what was in flight when the last
    run ended is not known, so everybody is left alone for a delay from then on (FAULTS D21). ``rules``: as `rules_of` has
    read them; else they are read here."""
    crawl_delay = None if row.crawl_delay is None else row.crawl_delay / 1000
    standing = politeness.Standing(row.latency / 1000, row.slowed / 1000, row.failures, row.throttled)
    delay = politeness.delay_of(spec, crawl_delay, standing, row.name)
    return Host(
        id=row.id,
        name=row.name,
        delay=delay,
        next_at=max(
            times.mono(row.next_fetch_at, politeness.CRAWL_DELAY_MOST), 0.0 if rested_at is None else rested_at + delay
        ),
        blocked_until=times.mono(row.blocked_until),
        crawl_delay=crawl_delay,
        standing=standing,
        closed=politeness.closed(spec, crawl_delay, row.name),
        pages=row.pages,
        most=spec.max_pages_per_host,
        limit=spec.per_host,
        robots={o.origin: _robots(o, times, (rules or {}).get(o.origin)) for o in row.origins if o.status is not None},
    )


def _robots(row: OriginRow, times: Times, rules: Robots | None) -> RobotsState:
    if rules is None and row.body is not None:
        rules = Robots.parse(row.body)
    return RobotsState(row.status or "absent", times.mono(row.until), rules, row.failures)


def row_of(host: Host, times: Times) -> HostRow:
    """The host's clocks as they are now, to be stored with a visit."""
    next_fetch_at, blocked_until = times.walls(host.next_at, host.blocked_until)
    return HostRow(
        id=host.id,
        name=host.name,
        next_fetch_at=next_fetch_at,
        blocked_until=blocked_until,
        delay=ms(host.delay),
        crawl_delay=None if host.crawl_delay is None else ms(host.crawl_delay),
        failures=host.standing.failures,
        latency=ms(host.standing.latency),
        slowed=ms(host.standing.slowed),
        throttled=host.standing.throttled,
        trouble=host.closed or host.standing.trouble or None,
    )
