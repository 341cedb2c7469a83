"""A crawler that dies again and again, and is started again at once, is no burden to anybody (FAULTS L10)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.conftest import Serve
from tests.killing import Crawl, least_gap
from tests.web import Request, Site, page

DELAY = 0.7
LIVES = (1, 1, 2, 1)  # requests until a kill; one is fewer than any commit


class Mortal(Site):
    """Every page has links to more; the crawler is killed once it has got the answer to its last request."""

    def __init__(self) -> None:
        super().__init__({"/robots.txt": 404})
        self.left = 0

    def __call__(self, request: Request) -> str | int:  # type: ignore[override]
        self.left -= 1
        if self.left == 0:
            asyncio.get_running_loop().call_soon(os.kill, self.crawl.pid, signal.SIGKILL)
        return 404 if request.path == "/robots.txt" else page(*(f"{request.path}{n}" for n in range(5)))

    crawl: Crawl


async def test_l10_a_crash_loop_sends_no_more_than_a_crawl_would(serve: Serve, tmp_path: Path) -> None:
    """Killed after every request or two and started again at once: two requests are at least 0.99 × delay apart at the
    server, so in all they are no more than one uninterrupted crawl could have sent in that time."""
    site = Mortal()
    web = await serve(site)
    site.crawl = Crawl(tmp_path / "crawl.db", [web.url()], ("--delay", str(DELAY), "--progress", "none"), tmp_path / "said.txt")
    for site.left in LIVES:
        site.crawl.start()
        assert site.crawl.process
        assert await asyncio.to_thread(site.crawl.process.wait, 60) == -signal.SIGKILL, site.crawl.output.read_text()
    assert len(web.requests) == sum(LIVES)
    assert least_gap(web.requests) >= 0.99 * DELAY
    assert len(web.requests) <= 1 + (web.requests[-1].at - web.requests[0].at) / (0.99 * DELAY)
