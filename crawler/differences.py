"""Which links pages have gained and lost between two visits: both bodies are stored, and are parsed again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from crawler.parse.again import Stored, parsed
from crawler.parse.pool import ParsePool
from storage.diff import STORED, Change
from storage.reader import Reader

AT_ONCE = 32  # pages whose two bodies are in memory


class Links(NamedTuple):
    """URLs a page links to now and did not, and the other way round."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def links_of(reader: Reader, changed: Sequence[Change], workers: int) -> dict[str, Links]:
    """By URL, for pages that could be parsed at both visits."""
    return asyncio.run(_links(reader, changed, workers)) if changed else {}


async def _links(reader: Reader, changed: Sequence[Change], workers: int) -> dict[str, Links]:
    found: dict[str, Links] = {}
    async with ParsePool(workers) as pool:
        for at in range(0, len(changed), AT_ONCE):
            some = changed[at : at + AT_ONCE]
            pairs = await asyncio.gather(*(_pair(pool, reader, change) for change in some))
            found |= {change.url: links for change, links in zip(some, pairs, strict=True) if links is not None}
    return found


async def _pair(pool: ParsePool, reader: Reader, change: Change) -> Links | None:
    stored = [Stored(*row) for row in map(reader.one, (STORED, STORED), ((change.before,), (change.after,))) if row]
    before, after = await asyncio.gather(*(parsed(pool, page) for page in stored))
    if before.parse is not None or after.parse is not None:
        return None
    old, new = ({link.place.url for link in extract.links} for extract in (before, after))
    return Links(tuple(sorted(new - old)), tuple(sorted(old - new)))
