"""Progress: rates, what bounds the crawl now, and an ETA with its reason. Read by the live view, the log and `status`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from crawler.frontier.frontier import Load
from crawler.spec import CrawlSpec
from storage.model import Counts

CROWDED = 300  # settlements waiting for their commit
WINDOW = 30.0  # seconds over which the rate is measured


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The crawl at an instant. ``rate``: visits settled a second; ``eta``: seconds for what is known now, or None."""

    counts: Counts
    requests: int
    connections: int
    reused: int
    bytes: int
    rate: float
    bound_by: str
    eta: float | None
    eta_reason: str
    load: Load
    tasks: int = 0  # of the event loop: a number that must not grow (FAULTS X3)

    def to_json(self) -> dict[str, Any]:
        return {
            "rate": round(self.rate, 2),
            "bound_by": self.bound_by,
            "eta": None if self.eta is None else round(self.eta),
            "eta_reason": self.eta_reason,
            "fetching": self.load.fetching,
            "waiting": self.load.waiting,
            "hosts_in_hand": self.load.hosts,
            "tasks": self.tasks,
        }


class Meter:
    """A rate over the last `WINDOW` seconds, fed with a running total."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> float:
        """Note the total at ``now``; the rate per second since the oldest point in the window."""
        self._points.append((now, total))
        while len(self._points) > 2 and now - self._points[0][0] > WINDOW:
            self._points.popleft()
        (t0, n0), (t1, n1) = self._points[0], self._points[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0


def bound_by(load: Load, spec: CrawlSpec, *, rate: float, parsing: int, backlog: int) -> str:
    """What more of would make the crawl faster, in words a person can act on. ``rate``: visits settled a second."""
    resting = load.longest > 0 and load.waiting * 2 >= load.hosts
    cases = (
        (load.paused, f"a pause: {load.paused}"),
        (backlog >= CROWDED, "the disk: settlements wait for their commit"),
        (load.fetching >= spec.connections, f"connections: all {spec.connections} are in use"),
        (parsing > 4 * max(1, spec.parsers), f"parsing: {parsing} pages wait for {spec.parsers} workers"),
        (spec.max_rate and rate >= 0.9 * spec.max_rate, f"--max-rate: {spec.max_rate or 0:g} pages/s"),
        (resting, f"politeness: {plural(load.hosts, 'host')} × {load.longest:g} s; more workers will not help"),
        (load.fetching, "the network: answers are awaited"),
    )
    return next((words for holds, words in cases if holds), "the frontier: nothing known is due")


def plural(n: int, noun: str) -> str:
    """``1 page``, ``2,000 pages``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def estimate(counts: Counts, rate: float) -> tuple[float | None, str]:
    """Seconds until what is queued now is done, and why: the present rate, or the longest queue of one host."""
    if not counts.queued:
        return 0.0, "nothing is queued"
    if rate <= 0:
        return None, "no rate yet"
    by_rate, slowest = counts.queued / rate, counts.slowest_ms / 1000
    if slowest > by_rate:
        return slowest, "the longest queue of one host, at its delay; new links add to it"
    return by_rate, "what is queued at the present rate; new links add to it"
