"""poolcrawl: a polite, crash-proof web crawler with a pooled fetch core and a queryable SQLite file.

    async for page in crawler.crawl(["https://example.org/"], store="crawl.db", contact="me@example.org"):
        print(page.url, page.status, page.title)

Names are loaded when first used: importing this package costs nothing, which the parse workers and `--help` rely on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crawler.api import Ending, crawl, run
    from crawler.fetch.many import fetch_all
    from crawler.spec import CrawlSpec
    from crawler.stop import Stop
    from crawler.visit import Fault, Outcome, Page
    from storage.links import Link

_HOME = {
    "crawl": "crawler.api",
    "run": "crawler.api",
    "fetch_all": "crawler.fetch.many",
    "Ending": "crawler.api",
    "CrawlSpec": "crawler.spec",
    "Fault": "crawler.visit",
    "Link": "storage.links",
    "Outcome": "crawler.visit",
    "Page": "crawler.visit",
    "Stop": "crawler.stop",
}

__all__ = [
    "CrawlSpec",
    "Ending",
    "Fault",
    "Link",
    "Outcome",
    "Page",
    "Stop",
    "__version__",
    "crawl",
    "fetch_all",
    "run",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'crawler' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
