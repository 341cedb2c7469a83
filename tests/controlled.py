"""Running crawls for tests, and orders to them as another process gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from crawler import channel
from crawler.api import run_async
from crawler.channel import socket_of
from crawler.engine import Ending
from crawler.stop import Stop
from tests.commands import until
from tests.crawls import spec_of
from tests.web import Web, page

LINKS = [f"/{n}" for n in range(40)]
WIDE = {"/": page(*LINKS), **dict.fromkeys(LINKS, page())}


@asynccontextmanager
async def crawling(web: Web, file: Path, **options: Any) -> AsyncIterator[asyncio.Task[Ending]]:
    """A crawl of this process that goes on during the block, and ends with it."""
    stop = Stop()
    task = asyncio.create_task(run_async(spec_of(web, **options), file, stop=stop))
    try:
        await until(lambda: socket_of(file).exists() or task.done())
        yield task
    finally:
        stop.ask()
        stop.ask()
        await asyncio.wait({task})


async def order(file: Path, do: str, **more: Any) -> dict[str, Any]:
    """Ask as another process would, and measure nothing else meanwhile."""
    return await asyncio.to_thread(channel.ask, file, {"do": do, **more})


def gaps(web: Web, since: float = 0.0) -> list[float]:
    """Seconds between the requests that a web was sent."""
    times = [r.at for r in web.requests if r.path != "/robots.txt" and r.at >= since]
    return [b - a for a, b in pairwise(times)]
