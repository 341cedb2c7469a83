"""The least that a crawl in Python costs: fetch, parse, links, joins, a set of what was seen. One process, nothing stored.

    python -m benchmarks.floor SEED [AT_ONCE]

A bare aiohttp session on uvloop, 64 requests at once, tuned as anybody would (no cookies, no timeouts, no limits of the
pool); selectolax; a page's hrefs without repeats joined by ada-url. No robots.txt, no delay, no care. `benchmarks.peers`
and `benchmarks.latency` run it.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from ada_url import join_url
from selectolax.lexbor import LexborHTMLParser
from yarl import URL

AT_ONCE = 64


class Floor:
    """What is seen and what waits."""

    def __init__(self, session: aiohttp.ClientSession, seed: str) -> None:
        self.session = session
        self.seen = {seed}
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.waiting.put_nowait(seed)

    async def work(self) -> None:
        while True:
            url = await self.waiting.get()
            async with self.session.get(URL(url, encoded=True)) as response:
                body = await response.read()
                if response.content_type == "text/html":
                    self.follow(str(response.url), body)
            self.waiting.task_done()

    def follow(self, base: str, body: bytes) -> None:
        hrefs = {node.attributes["href"] for node in LexborHTMLParser(body).css("a[href]")}
        for href in {(href or "").partition("#")[0] for href in hrefs}:
            url = join_url(base, href)
            if url.startswith("http://127.") and url not in self.seen:
                self.seen.add(url)
                self.waiting.put_nowait(url)


async def crawl(seed: str, at_once: int) -> int:
    """URLs seen."""
    connector = aiohttp.TCPConnector(limit=0)
    jar, patience = aiohttp.DummyCookieJar(), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar, timeout=patience) as session:
        floor = Floor(session, seed)
        workers = [asyncio.create_task(floor.work()) for _ in range(at_once)]
        await floor.waiting.join()
        for worker in workers:
            worker.cancel()
        return len(floor.seen)


if __name__ == "__main__":
    print(uvloop.run(crawl(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else AT_ONCE)))
