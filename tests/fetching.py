"""Fetches with a pool of one's own, for tests."""

from __future__ import annotations

from typing import Any

from crawler.fetch.http import Deadlines
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Outcome, Visit
from tests import hostile
from tests.hostile import Hostile

SHORT = Deadlines(total=0.6, connect=0.2, first_byte=0.2, grace=0.1, window=0.1, rate=20_480)
LONG = Deadlines(total=5)


def visit_of(url: str, **options: Any) -> Visit:
    return Visit(url, split(url), **options)


def pool_of(server: Hostile | None, spec: CrawlSpec | None = None, **options: Any) -> FetchPool:
    seeds = [split(server.url())] if server else []
    return FetchPool(spec or CrawlSpec(per_host=10), seeds, **{"deadlines": LONG, **options})


async def outcome_of(fault: hostile.Fault, spec: CrawlSpec | None = None, **options: Any) -> Outcome:
    async with Hostile(fault) as server, pool_of(server, spec, **options) as pool:
        return await pool.fetch(visit_of(server.url()))


def names_of(table: dict[str, list[str]]) -> Resolver:
    return Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", (ip, 0)) for ip in table[host]])
