"""Many endpoints over one pool: `crawler.fetch_all`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from crawler.descriptors import fitted
from crawler.fetch.budget import Budget
from crawler.fetch.pool import FetchPool
from crawler.spec import CrawlSpec
from crawler.url import InvalidUrl, admit
from crawler.visit import Outcome, Visit


async def fetch_all(
    urls: Iterable[str], *, limit: int = 100, limit_per_host: int = 10, spec: CrawlSpec | None = None
) -> list[Outcome]:
    """Fetches all URLs over one pool and gives their outcomes in the order of the URLs, nothing followed.

    ``limit`` requests run at once, ``limit_per_host`` to one host and port; ``spec`` brings the other settings
    (timeout, max-body, header, ...). The address guard holds; a literal private or loopback URL opens its own address.
    A text that is no URL gives an Outcome with status None, no fault and the reason ``invalid: …``. Raises only for our
    own bugs.
    """
    found = [_visit(url) for url in urls]
    limits = fitted(replace(spec or CrawlSpec(), connections=limit, per_host=limit_per_host))
    results: list[Outcome | None] = [one if isinstance(one, Outcome) else None for one in found]
    visits = [(at, one) for at, one in enumerate(found) if isinstance(one, Visit)]
    kept = Budget(math.inf)  # all bodies are wanted at once
    async with FetchPool(limits, (visit.place for _, visit in visits), budget=kept) as pool, asyncio.TaskGroup() as tasks:
        waiting = iter(visits)  # shared: each worker takes the next, so a million URLs need no million tasks
        for _ in range(min(limits.connections, len(visits))):
            tasks.create_task(_work(pool, waiting, results))
    return [outcome for outcome in results if outcome is not None]


async def _work(pool: FetchPool, waiting: Iterator[tuple[int, Visit]], results: list[Outcome | None]) -> None:
    for at, visit in waiting:
        results[at] = await pool.fetch(visit)


def _visit(url: str) -> Visit | Outcome:
    try:
        place = admit(url)
    except InvalidUrl as error:
        return Outcome(url=url, reason=f"invalid: {error}")
    return Visit(place.url, place, seed=True)
