"""The view of a crawl file as a browser asks for it, over a real socket; webs to look at, and what a page says."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from selectolax.lexbor import LexborHTMLParser

from crawler.api import run_async
from crawler.spec import CrawlSpec
from crawler.web.app import serving
from tests.web import Site, Web, page

MANY = Site({"/": page(*(f"/p/{n}" for n in range(130)), title="Many"),
             **{f"/p/{n}": page("/", title=f"Title-{n % 7}") for n in range(130)}})  # fmt: skip
"""131 pages; of the titles 1, 130 in seven groups: Title-3 is on 19."""


def crawled(site: Site, file: Path) -> str:
    """A crawl of the site into the file; its root."""

    async def crawl() -> str:
        async with Web(site) as web:
            await run_async(CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.5, parse_workers=0), file)
            return web.url()

    return asyncio.run(crawl())


class View:
    """The view of a file, as a browser asks for it."""

    def __init__(self, root: str, session: aiohttp.ClientSession) -> None:
        self.root, self._session = root, session

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
        """Status, text and headers; a redirect is not followed."""
        async with self._session.request(method, self.root + path[1:], headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers

    async def get(self, path: str, **values: object) -> LexborHTMLParser:
        """The page, which is there."""
        status, text, _ = await self.ask(f"{path}?{urlencode(values)}" if values else path)
        assert status == 200, (path, values, text)
        return LexborHTMLParser(text)


@asynccontextmanager
async def view(file: Path) -> AsyncIterator[View]:
    async with serving(file, "127.0.0.1", 0) as root, aiohttp.ClientSession() as session:
        yield View(root, session)


def cells(html: LexborHTMLParser, within: str = "main") -> list[list[str]]:
    """The rows of the first table inside as text."""
    table = html.css_first(f"{within} table")
    return [[" ".join(td.text().split()) for td in tr.css("td")] for tr in table.css("tbody tr")] if table else []


def facts(html: LexborHTMLParser) -> dict[str, str]:
    """The names and values of a page."""
    return {dt.text(): dt.parent.css_first("dd").text() for dt in html.css(".facts dt") if dt.parent}


def counted(html: LexborHTMLParser) -> str:
    """The sentence over a list."""
    return html.css_first("[data-part=list] p").text()


def next_of(html: LexborHTMLParser, name: str = "Next") -> str:
    """The address of the next part of a list, or ""."""
    return next((a.attributes["href"] or "" for a in html.css(".pager a") if a.text() == name), "")


def another(db: sqlite3.Connection, path: str) -> None:
    """One more page, as a crawl would store it."""
    db.execute("BEGIN")
    db.execute("INSERT INTO url (host, origin, path, depth, outcome) SELECT host, id, ?, 1, 'page' FROM origin LIMIT 1", (path,))
    db.execute("INSERT INTO fetch (url, run, at, outcome, status, elapsed_ms, attempt, wire_size, mime, title) "
               "SELECT max(id), 1, 1790000000000, 'page', 200, 5, 1, 10, 'text/html', 'Another' FROM url")
    db.execute("UPDATE url SET last = (SELECT max(id) FROM fetch) WHERE id = (SELECT max(id) FROM url)")
    db.execute("COMMIT")
