"""Sitemaps across kills: at each step of the way from robots.txt to the last listed page the crawler is killed, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path

from tests.conftest import Serve
from tests.killing import Crawl, copy_of, snapshot
from tests.test_sitemaps_crawl import listing, told
from tests.web import Plain, Request, Site, page

EACH = 24  # URLs of a sitemap
CHILDREN = ("/0.xml", "/1.xml")
LISTED = [f"/{child}/{n}" for child in range(2) for n in range(EACH)]
WAYS = ("--delay", "0", "--per-host", "1", "--progress", "none", "--parse-workers", "1")
MOMENTS = (  # path, when the process dies: asked and not answered, answered, or once what it was told before is in the file
    ("/robots.txt", "answered"), ("/i.xml", "asked"), (CHILDREN[0], "kept"), (CHILDREN[1], "answered"), (LISTED[30], "asked"))


class Deadly(Site):
    """A site that kills its crawler: at the first request to the next path of ``moments``, as it says there."""

    crawl: Crawl
    moments: tuple[tuple[str, str], ...] = ()

    def __call__(self, request: Request) -> Plain | asyncio.Future[Plain]:  # type: ignore[override]
        answer = self.get(request.path, 404)
        assert not callable(answer)
        if not self.moments or self.moments[0][0] != request.path:
            return answer
        (_, when), *left = self.moments
        self.moments = tuple(left)
        if when == "answered":
            asyncio.get_running_loop().call_soon(self.kill)  # by then all of it is in the socket
            return answer
        return asyncio.ensure_future(self._die(when, answer))

    async def _die(self, when: str, answer: Plain) -> Plain:
        while when == "kept" and not knows(self.crawl.db, "/i.xml"):
            await asyncio.sleep(0.01)
        self.kill()
        return answer

    def kill(self) -> None:
        os.kill(self.crawl.pid, signal.SIGKILL)


def knows(db: Path, path: str) -> bool:
    """Whether the file has what came of a URL."""
    with contextlib.closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as file:
        return bool(file.execute("SELECT 1 FROM fetches WHERE url LIKE '%' || ?", (path,)).fetchone())


def known(db: Path) -> Counter[str]:
    """How often the file has each path's fetch, as a kill left it."""
    with copy_of(db) as file:
        made = file.execute("SELECT 1 FROM sqlite_master WHERE name = 'fetches'").fetchone()
        return Counter("/" + url.split("/", 3)[3] for (url,) in file.execute("SELECT url FROM fetches")) if made else Counter()


async def test_r7_r13_d1_sitemaps_across_kills(serve: Serve, tmp_path: Path) -> None:
    """Killed after robots.txt, at the index, at and after its children and among the pages they list, and resumed each time: the
    views are an uninterrupted crawl's; nothing, no sitemap either, is asked for more often than 1 + its kills in flight; each
    page is one row."""
    site = Deadly({"/": page(), "/i.xml": listing(*CHILDREN, index=True), **dict.fromkeys(LISTED, page("/"))}, told("/i.xml"))
    site |= {child: listing(*LISTED[n * EACH : (n + 1) * EACH]) for n, child in enumerate(CHILDREN)}
    web = await serve(site)
    calm, killed = (Crawl(tmp_path / f"{name}.db", [web.url()], WAYS, tmp_path / f"{name}.txt") for name in ("calm", "killed"))
    calm.start()
    await asyncio.to_thread(calm.finish, 60)
    web.requests.clear()
    site.crawl, site.moments = killed, MOMENTS
    allowed = Counter(dict.fromkeys(["/robots.txt", "/", "/i.xml", *CHILDREN, *LISTED], 1))
    before: Counter[str] = Counter()
    for _ in MOMENTS:
        killed.start()
        assert killed.process
        assert await asyncio.to_thread(killed.process.wait, 60) == -signal.SIGKILL, killed.output.read_text()
        lost = Counter(r.path for r in web.requests) - known(killed.db) - before
        before += lost
        allowed.update(set(lost))
    killed.start()
    await asyncio.to_thread(killed.finish, 60)
    asked = Counter(r.path for r in web.requests)
    assert asked - allowed == Counter()
    assert len(before) >= 3  # the kills did hit what was in flight
    with copy_of(calm.db) as one, copy_of(killed.db) as other:
        found = snapshot(other)
        assert found == snapshot(one)
    assert sorted(str(url).removeprefix(web.url()[:-1]) for url, *_ in found["pages"]) == sorted(["/", *LISTED])
