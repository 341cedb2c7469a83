"""Redirect chains and loops: redirects that lead to redirects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.report.facts import place, rows

if TYPE_CHECKING:
    from storage.reader import Reader

MOST = 20_000  # redirects to redirects that are looked at: what is held in memory
KEPT = 20  # chains that are told in full
HOPS = """SELECT s.id, l.dst FROM main.url s JOIN main.link l ON l.src = s.id AND l.kind = 'redirect'
JOIN main.url x ON x.id = l.dst WHERE s.outcome = 'redirect' AND x.outcome = 'redirect' ORDER BY s.id LIMIT ?"""
LAST = """SELECT l.dst, x.outcome, x.reason, f.status FROM main.link l JOIN main.url x ON x.id = l.dst
LEFT JOIN main.fetch f ON f.id = x.last WHERE l.src = ? AND l.kind = 'redirect' LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Chain:
    """The way of a chain, its end included; a loop ends with the URL that came before. Beyond the first 20 only ids are known."""

    urls: tuple[str, ...]
    loop: bool
    outcome: str | None = None  # of the last URL, as in the table url
    reason: str | None = None
    status: int | None = None


def chains(reader: Reader) -> tuple[list[Chain], bool]:
    """The chains, loops first, then the longest; the first `KEPT` with their URLs, of the others only that they are. And
    whether these are all: no more than `MOST` redirects to redirects are looked at."""
    hops = rows(reader, HOPS, MOST)
    found = sorted(walks(dict(hops)), key=lambda way: (not _loops(way), -len(way)))
    return [_told(reader, way, i < KEPT) for i, way in enumerate(found)], len(hops) < MOST


def walks(after: Mapping[int, int]) -> Iterator[list[int]]:
    """Each way from a redirect that no other leads to; then each circle once. A way into a circle ends where it closes."""
    inner, seen = {*after.values()}, set[int]()
    for start in [*(s for s in after if s not in inner), *after]:
        if start in seen:
            continue
        way, here = [start], {start}
        while (at := after.get(way[-1])) is not None:
            way.append(at)
            if at in here:
                break
            here.add(at)
        seen |= here
        yield way


def _loops(way: list[int]) -> bool:
    return way[-1] in way[:-1]


def _told(reader: Reader, way: list[int], in_full: bool) -> Chain:
    loop = _loops(way)
    if not in_full:
        return Chain((), loop)
    end = None if loop else reader.one(LAST, (way[-1],))
    urls = tuple(place(reader, url) for url in [*way, *(end[:1] if end else ())])
    return Chain(urls, loop, *(end[1:] if end else ()))
