"""`python -m tests.poisoned URL FILE`: a crawl whose process dies as soon as it has a URL with "poison" in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import crawler
from crawler.spec import CrawlSpec
from crawler.visits import Visits

_extract = Visits._extract


async def _deadly(self: Visits, visit: Any, outcome: Any) -> Any:
    if "poison" in visit.url:
        os._exit(99)
    return await _extract(self, visit, outcome)


if __name__ == "__main__":
    Visits._extract = _deadly  # type: ignore[method-assign]
    spec = CrawlSpec(seeds=(sys.argv[1],), delay=0.0, patience=1.0, parse_workers=0)
    crawler.run(spec, Path(sys.argv[2]), note=lambda text: print(text, file=sys.stderr))
