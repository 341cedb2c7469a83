"""Workbenches for tests, and the turns they give."""

from __future__ import annotations

from itertools import count

from crawler.frontier.workbench import Host, Limits, RobotsState, Workbench
from crawler.visit import Visit
from storage.model import Place, Queued

ALLOWED = RobotsState("absent", float("inf"))
WALL = 1_800_000_000_000


def row(n: int, host: Host | str, path: str | None = None, depth: int = 0) -> Queued:
    name = host if isinstance(host, str) else host.name
    return Queued(n, 1, Place(f"http://{name}", name, path or f"/{n}"), depth, 0, 0, 0)


def bench_of(
    limits: Limits | None = None, address: str | None = None, **hosts: int
) -> tuple[Workbench, dict[str, Host]]:
    """A workbench with hosts of so many URLs each, all allowed, delay 1 s, at one address or one of its own each."""
    bench, made, n = Workbench(limits or Limits(address_delay=0.0)), {}, count(1)
    for name, urls in hosts.items():
        host = made[name] = Host(next(n), name, 1.0, robots={f"http://{name}": ALLOWED})
        bench.add(host)
        bench.feed(host, [(0.0, row(next(n), host)) for _ in range(urls)])
        bench.unresolved.clear()
        bench.resolved(host, address or f"address of {name}", ("192.0.2.1",), 0.0)
        host.resolve_at = 1e12
    return bench, made


def ask(bench: Workbench, now: float) -> Visit:
    """The next turn, which must be a visit, sent at once."""
    turn = bench.acquire(now)
    assert isinstance(turn, Visit)
    bench.sent(turn, now)
    return turn
