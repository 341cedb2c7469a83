"""Progress: rates, what bounds the crawl now, and an ETA with its reason. Read by the live view, the log and `status`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from crawler.fetch import Stats
from crawler.frontier.load import Load
from crawler.spec import CrawlSpec
from crawler.visit import Kind, Outcome, Visit
from storage.model import Counts, record

CROWDED = 300  # settlements waiting for their commit
WINDOW = 30.0  # seconds over which the rate is measured
ERRORS = 20  # of the latest that are kept to be shown


class Seen:
    """What a run was answered: how many answers of each class (0: none came), and the last errors as (reason, URL)."""

    def __init__(self) -> None:
        self.answers = [0] * 10
        self.errors: deque[tuple[str, str]] = deque(maxlen=ERRORS)

    def add(self, visit: Visit, outcome: Outcome) -> None:
        """Note an outcome. A site without a robots.txt is no error."""
        self.answers[(outcome.status or 0) // 100] += 1
        if outcome.reason and not (visit.kind is Kind.ROBOTS and 400 <= (outcome.status or 0) < 500):
            self.errors.append((outcome.reason, visit.url))


@record
class Snapshot:
    """The crawl at an instant. ``rate``: visits settled a second, ``byte_rate``: bytes of bodies on the wire a second;
    ``eta``: seconds for what is known now, or None; ``seconds``: since the run began."""

    counts: Counts
    stats: Stats
    rate: float
    byte_rate: float
    bound_by: str
    eta: float | None
    eta_reason: str
    load: Load
    answers: Mapping[str, int]  # by class: '2xx', ..., and 'none' where no answer came
    errors: tuple[tuple[str, str], ...]  # (reason, URL), the last one first
    visits: int  # made in this run, and stored
    seconds: float
    parsing: int  # pages that wait for a parse worker
    backlog: int  # settlements that wait for their commit
    tasks: int = 0  # of the event loop: a number that must not grow (FAULTS X3)

    @property
    def reuse(self) -> float:
        """The share of requests that went over a connection already open."""
        return self.stats.reused / max(1, self.stats.requests)

    def to_json(self) -> dict[str, Any]:
        return {
            "rate": round(self.rate, 2),
            "byte_rate": round(self.byte_rate),
            "bound_by": self.bound_by,
            "paused": self.load.paused,
            "eta": None if self.eta is None else round(self.eta),
            "eta_reason": self.eta_reason,
            "fetching": self.load.fetching,
            "ready": self.load.ready,
            "waiting": self.load.waiting,
            "busy": self.load.busy,
            "hosts_in_hand": self.load.hosts,
            "answers": self.answers,
            "tasks": self.tasks,
        }


def classes(answers: Sequence[int]) -> dict[str, int]:
    """Counts by class of status as they are named, as far as there are any: ``2xx``, ``none``."""
    return {f"{n}xx" if n else "none": answers[n] for n in (*range(1, 10), 0) if answers[n]}


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
    resting = load.longest > 0 and load.resting * 2 >= load.hosts
    delays = f"{load.longest:g} s" if load.shortest == load.longest else f"{load.shortest:.3g} to {load.longest:.3g} s"
    cases = (
        (load.paused, f"a pause: {load.paused}"),
        (backlog >= CROWDED, "the disk: settlements wait for their commit"),
        (load.fetching >= spec.connections, f"connections: all {spec.connections} are in use"),
        (parsing > 4 * max(1, spec.parsers), f"parsing: {parsing} pages wait for {spec.parsers} workers"),
        (spec.max_rate and rate >= 0.9 * spec.max_rate, f"--max-rate: {spec.max_rate or 0:g} pages/s"),
        (resting, f"politeness: {plural(load.hosts, 'host')} × {delays}; more workers will not help"),
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
