"""The edges of one page: distinct, resolved, counted, capped. Knows no HTML."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crawler.url import Joiner
from crawler.visit import Link
from storage.model import Place

MAX_LINKS = 10_000  # distinct (target, kind) kept of a page (P6)
MAX_URL = 4_096  # characters (P7)

_Node = TypeVar("_Node")
_NO_EDGE = ("data:", "javascript:")


class Edge:
    """A link in the making: the first text wins, and the better rel (an edge without nofollow beats one with it)."""

    __slots__ = ("kind", "place", "rel", "text")

    def __init__(self, place: Place, kind: str, rel: str | None) -> None:
        self.place, self.kind, self.rel = place, kind, rel
        self.text: str | None = None

    def again(self, rel: str | None) -> None:
        if self.rel is not None and "nofollow" in self.rel.split() and "nofollow" not in (rel or "").split():
            self.rel = rel


class Edges:
    """What has been found so far. ``dropped`` counts what was no URL or too long; ``full``: more than 10,000 came."""

    def __init__(self, url: str) -> None:
        self._joiner = Joiner(url)
        self._by_href: dict[tuple[str, str], Edge | None] = {}
        self._found: dict[tuple[str, str, str], Edge] = {}
        self.dropped = 0
        self.full = False

    def rebase(self, base: str) -> None:
        """Resolve from now on against a base element's URL."""
        self._joiner = Joiner(base)
        self._by_href.clear()

    def links(self) -> tuple[Link, ...]:
        return tuple([Link(e.place, e.kind, e.rel, e.text) for e in self._found.values()])

    def add(
        self, href: str, kind: str, rel: str | None, node: _Node, text: Callable[[_Node], str | None]
    ) -> Edge | None:
        """Keep one edge; None if it is none. ``text(node)`` is asked only while the edge has no text: it is dear."""
        if rel is not None:
            rel = " ".join(rel.lower().split()) or None
        try:
            edge = self._by_href[href, kind]
            if edge is not None and edge.rel is not None:
                edge.again(rel)
        except KeyError:
            edge = self._by_href[href, kind] = self._new(href, kind, rel)
        if edge is not None and edge.text is None:
            edge.text = text(node)
        return edge

    def _new(self, href: str, kind: str, rel: str | None) -> Edge | None:
        place = self._place(href)
        if place is None:
            return None
        key = (place.origin, place.path, kind)
        edge = self._found.get(key)
        if edge is not None:
            edge.again(rel)
        elif len(self._found) < MAX_LINKS:
            edge = self._found[key] = Edge(place, kind, rel)
        else:
            self.full = True
        return edge

    def _place(self, href: str) -> Place | None:
        """Where an href leads; None for what is no edge (data:, javascript:) or no URL of bearable length (counted)."""
        place = self._joiner.place(href) if len(href) <= MAX_URL else None
        if place is not None and place.host:  # an ordinary web URL; the Joiner has seen to its length
            return place
        if place is None and not href[:32].lstrip().lower().startswith(_NO_EDGE):
            self.dropped += 1
        return None if place is None or place.origin in _NO_EDGE else place  # to a browser "java\tscript:" is one
