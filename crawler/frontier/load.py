"""What a workbench is doing, at a glance: how many hosts are where, and which of them hold the crawl up most."""

from __future__ import annotations

from heapq import nlargest
from typing import NamedTuple

from crawler.frontier.workbench import Host, Workbench
from storage.model import record

SLOWEST = 5  # hosts that are named


class Slow(NamedTuple):
    """A host that takes its time. ``delay`` between two requests and the usual ``latency`` of its answers, in s;
    ``blocked``: s for which it is left alone from now on, 0: it is not."""

    host: str
    delay: float
    latency: float
    blocked: float


@record
class Load:
    """What the frontier is doing, for `progress`. ``hosts`` have something to ask; ``resting`` of them have to wait for
    their clock, and their ``shortest`` and ``longest`` delays are given in s; ``paused``: why nobody is asked at all. Each
    host that is asked or might be is either ``ready``, ``waiting`` or ``busy``."""

    fetching: int = 0
    hosts: int = 0
    resting: int = 0
    shortest: float = 0.0
    longest: float = 0.0
    paused: str = ""
    ready: int = 0
    waiting: int = 0
    busy: int = 0
    slowest: tuple[Slow, ...] = ()


def load_of(bench: Workbench, now: float, *, fetching: int, paused: str) -> Load:
    """One pass over the hosts in hand, about 1 µs each."""
    asked = ready = waiting = busy = 0
    met, delays = [], []
    for host in bench.hosts.values():
        at = host.ready_at()
        rests = at is not None and at > now
        if at is not None:
            asked += 1
        elif not host.busy:
            continue
        met.append(host)
        if rests:
            delays.append(host.delay)
        if host.busy:
            busy += 1
        elif rests:
            waiting += 1
        else:
            ready += 1
    slowest = nlargest(SLOWEST, met, key=lambda h: (max(h.delay, h.blocked_until - now), h.standing.latency))
    return Load(
        fetching=fetching,
        hosts=asked,
        resting=len(delays),
        shortest=min(delays, default=0.0),
        longest=max(delays, default=0.0),
        paused=paused,
        ready=ready,
        waiting=waiting,
        busy=busy,
        slowest=tuple(_slow(host, now) for host in slowest),
    )


def _slow(host: Host, now: float) -> Slow:
    return Slow(host.name, host.delay, host.standing.latency, max(0.0, host.blocked_until - now))
