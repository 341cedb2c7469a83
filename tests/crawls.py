"""Whole crawls of known webs for tests, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crawler import visit
from crawler.api import run_async
from crawler.engine import Ending
from crawler.spec import CrawlSpec
from crawler.visit import Retry
from storage import open_reader
from tests.web import Site, Web, page

QUICK: Mapping[str, Any] = {"delay": 0.0, "patience": 3.0, "parse_workers": 0, "allow_private": ("127.0.1.0/24",)}


def spec_of(web: Web, *seeds: str, **options: Any) -> CrawlSpec:
    return CrawlSpec(seeds=tuple(s if ":" in s else web.url(s) for s in seeds or ("/",)), **{**QUICK, **options})


async def run(web: Web, file: Path, *seeds: str, **options: Any) -> Ending:
    """Crawl to the end; a crawl that does not end within 20 s fails."""
    async with asyncio.timeout(20):
        return await run_async(spec_of(web, *seeds, **options), file)


def ask(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(file) as reader:
        return list(reader.query(sql)[1])


def paths(web: Web, file: Path, view: str = "pages", column: str = "url") -> list[str]:
    """Paths of a view's URLs on the first host, sorted; other hosts' URLs whole."""
    return sorted(u.removeprefix(web.url()[:-1]) for (u,) in ask(file, f"SELECT {column} FROM {view}"))


def asked(web: Web, robots: bool = False) -> list[str]:
    """What the server was asked for, in order."""
    return [r.path for r in web.requests if robots or r.path != "/robots.txt"]


TREE = Site(
    {
        "/": page("/a", "/b", "http://out.test/", "mailto:x@out.test"),
        "/a": page("/a/1", "/a/2", "/"),
        "/b": page("/b/1"),
        "/a/1": page("/a/1/x"),
        "/a/2": page(),
        "/b/1": 404,
        "/a/1/x": page(),
    }
)


def shorten(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
    """Every wait of the retry table, as if time went faster."""
    monkeypatch.setattr(
        "crawler.frontier.politeness.RETRY",
        {
            reason: Retry(rule.tries, tuple(seconds for _ in rule.waits), rule.charge)
            for reason, rule in visit.RETRY.items()
        },
    )
