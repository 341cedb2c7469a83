"""The edges of one page: distinct, resolved, counted, capped. Knows no HTML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from crawler.url import Joiner
from storage.links import Group, Links
from storage.model import Place

MAX_LINKS = 10_000  # distinct (target, kind) kept of a page (P6)
MAX_URL = 4_096  # characters (P7)
MAX_REL = 500  # characters of a rel: there are some forty tokens in use, of a dozen characters

_Node = TypeVar("_Node")
_NO_EDGE = ("data:", "javascript:")


class Edges:
    """What has been found so far. ``dropped`` counts what was no URL or too long; ``full``: more than 10,000 came.

    An edge is a number, its row among the texts: half of a page's hrefs repeat, and an object for each edge and
    one for each place would cost more than finding them.
    """

    def __init__(self, url: str) -> None:
        self._joiner = Joiner(url)
        self._by_href: defaultdict[str, dict[str, int]] = defaultdict(dict)  # kind → href → row; -1: no edge
        self._rows: dict[tuple[str, str], dict[str, int]] = {}  # (origin, kind) → path → row, in order
        self._hosts: dict[str, str] = {}  # of origins
        self._texts: list[str] = []  # "": none
        self._rels: dict[int, str] = {}  # of the few that have one
        self.dropped = 0
        self.full = False

    def rebase(self, base: str) -> None:
        """Resolve from now on against a base element's URL."""
        self._joiner = Joiner(base)
        self._by_href.clear()

    def links(self) -> Links:
        sites = {origin: n for n, origin in enumerate(self._hosts)}
        groups, paths, texts = list[Group](), list[str](), list[str]()
        for (origin, kind), rows in self._rows.items():
            for rel, part in self._by_rel(rows).items():
                groups.append(Group(sites[origin], kind, rel, len(part)))
                paths += part
                texts += map(self._texts.__getitem__, part.values())
        return Links(list(self._hosts.items()), groups, "\n".join(paths), "\n".join(texts))

    def _by_rel(self, rows: dict[str, int]) -> dict[str | None, dict[str, int]]:
        if self._rels.keys().isdisjoint(rows.values()):
            return {None: rows}
        found: dict[str | None, dict[str, int]] = {}
        for path, row in rows.items():
            found.setdefault(self._rels.get(row), {})[path] = row
        return found

    def url(self, href: str) -> str | None:
        """Where an href leads."""
        place = self._joiner.place(href)
        return place and place.url

    def add(
        self, href: str, kind: str, rel: str | None, node: _Node, text: Callable[[_Node], str | None]
    ) -> bool:
        """Keep one edge; False if it is none. ``text(node)`` is asked only while the edge has no text: it is dear."""
        known = self._by_href[kind]
        row = known.get(href)
        if row is None:
            row = known[href] = self._row(href, kind)
        if row < 0:
            return False
        if row == len(self._texts):
            if rel and (said := _tokens(rel)):
                self._rels[row] = said
            self._texts.append(text(node) or "")
            return True
        if row in self._rels:
            self._again(row, _tokens(rel or ""))
        if not self._texts[row]:
            self._texts[row] = text(node) or ""
        return True

    def _row(self, href: str, kind: str) -> int:
        """The row of an earlier edge that leads there, or the next; -1: no edge, or one too many."""
        found = self._joiner.shortcut(href) or self._place(href)
        if found is None:
            return -1
        origin, host, path = found
        rows = self._rows.get((origin, kind))
        if (count := len(self._texts)) >= MAX_LINKS:
            row = -1 if rows is None else rows.get(path, -1)
            self.full |= row < 0
            return row
        if rows is None:
            rows = self._rows[origin, kind] = {}
            self._hosts[origin] = host
        return rows.setdefault(path, count)

    def _again(self, row: int, rel: str) -> None:
        """The first text wins, and the better rel: an edge without nofollow beats one with it."""
        if "nofollow" in self._rels[row].split() and "nofollow" not in rel.split():
            if rel:
                self._rels[row] = rel
            else:
                del self._rels[row]

    def _place(self, href: str) -> Place | None:
        """Where an odd href leads; None for what is no edge (data:, javascript:) or no URL of bearable length (counted)."""
        if href.startswith(_NO_EDGE):
            return None
        place = self._joiner.resolve(href) if len(href) <= MAX_URL else None
        if place is not None and place.host:  # a web URL; the Joiner has seen to its length
            return place
        if place is None and not href[:32].lstrip().lower().startswith(_NO_EDGE):
            self.dropped += 1
        return None if place is None or place.origin in _NO_EDGE else place  # to a browser "java\tscript:" is one


def _tokens(rel: str) -> str:
    """A rel's tokens, lower case; of one that is too long the first, and nofollow in any case."""
    said = " ".join(rel.lower().split())
    if len(said) <= MAX_REL:
        return said
    return " ".join([*["nofollow"] * ("nofollow" in said.split()), said[:MAX_REL].rpartition(" ")[0]]).strip()
