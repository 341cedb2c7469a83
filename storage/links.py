"""The links of a page in columns: what comes sixty times a page is no object until somebody looks at it.

They travel so from the parse worker to the commit; both classes are sequences for whoever wants to see one edge. While
they wait for their commit they are one piece of text: hundreds of small objects a page that nobody touches for a second
have left every cache when it comes, and cost more to look at than to make anew (decision 0037).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import orjson

from storage.model import LinkRow, Place


class Link(NamedTuple):
    """One edge of a page. ``place.url`` is canonical (``mailto:`` and other non-web schemes as written)."""

    place: Place
    kind: str
    rel: str | None = None
    text: str | None = None

    @property
    def url(self) -> str:
        return self.place.url


class Verdict(NamedTuple):
    """Whether a URL belongs to the crawl. ``reason``: 'scheme', 'length', 'invalid', 'scope', 'include', 'exclude',
    'trap', and of an edge also 'nofollow' or 'sitemaps'."""

    admit: bool
    reason: str | None = None
    detail: str | None = None


NOTED = Verdict(False)  # on an edge that nobody would follow anyway: it is only recorded


class Columns(NamedTuple):
    """What there is to know of each edge: ``at`` says to which site it leads."""

    at: Sequence[int] = ()
    paths: Sequence[str] = ()
    kinds: Sequence[str] = ()
    rels: Sequence[str | None] = ()
    texts: Sequence[str | None] = ()


NO_COLUMNS = Columns()


class Links(Sequence[Link]):
    """Edges: ``sites`` are (origin, host) pairs, each once. ``text``: a JSON object whose "links" are the columns."""

    __slots__ = ("_columns", "_count", "_text", "sites")

    def __init__(
        self, sites: Sequence[tuple[str, str]] = (), columns: Columns = NO_COLUMNS, text: bytes | None = None
    ) -> None:
        self.sites, self._text, self._count = sites, text, len(columns.at)
        self._columns: Columns | None = columns

    @classmethod
    def of(cls, links: Iterable[Link]) -> Links:
        rows = list(links)
        sites: dict[tuple[str, str], int] = {}
        at = [sites.setdefault((place.origin, place.host), len(sites)) for place, _, _, _ in rows]
        paths, kinds, rels, texts = ([row[0].path for row in rows], *([row[i] for row in rows] for i in (1, 2, 3)))
        return cls(list(sites), Columns(at, paths, kinds, rels, texts))  # type: ignore[arg-type]  # of a tuple's fields

    def columns(self) -> Columns:
        """All edges; made anew at each call where they are folded."""
        if self._columns is not None:
            return self._columns
        assert self._text is not None
        return Columns(*orjson.loads(self._text)["links"])

    def fold(self) -> None:
        """Keep the text alone, if there is one."""
        if self._text is not None:
            self._columns = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Link]:
        for at, path, kind, rel, text in zip(*self.columns(), strict=True):
            yield Link(self.place(at, path), kind, rel, text)

    def place(self, at: int, path: str) -> Place:
        origin, host = self.sites[at]
        return Place(origin, host, path)

    @overload
    def __getitem__(self, at: int) -> Link: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Link, ...]: ...
    def __getitem__(self, at: int | slice) -> Link | tuple[Link, ...]:
        return tuple(self)[at]

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Links.of({list(self)})"


NO_LINKS = Links()


class Judged(Sequence[LinkRow]):
    """A page's links, each with what following it adds to the depth (None: nobody does) and the verdict on its target.

    ``closer``: what has the last word on a target that may be admitted, and may be asked by any thread: a store need ask it
    only of targets that are news. ``leads``: numbers of the sites where a target may belong to the crawl. The links are folded:
    they wait for their commit."""

    __slots__ = ("closer", "leads", "links", "steps", "verdicts")

    def __init__(
        self,
        links: Links,
        steps: Sequence[int | None],
        verdicts: Sequence[Verdict],
        closer: Callable[[Place], Verdict] = lambda _: Verdict(True),
    ) -> None:
        self.links, self.steps, self.verdicts, self.closer = links, steps, verdicts, closer
        self.leads = {at for at, verdict in zip(links.columns().at, verdicts, strict=True) if verdict[0]}
        links.fold()

    def last_word(self, place: Place, verdict: Verdict) -> Verdict:
        return self.closer(place) if verdict.admit else verdict

    def edges(self) -> Iterator[tuple[int, str, str, str | None, str | None, int | None, Verdict]]:
        """Site, path, kind, rel, text, step and verdict of each."""
        return zip(*self.links.columns(), self.steps, self.verdicts, strict=True)

    def __len__(self) -> int:
        return len(self.links)

    def __iter__(self) -> Iterator[LinkRow]:
        for (place, kind, rel, text), step, verdict in zip(self.links, self.steps, self.verdicts, strict=True):
            yield LinkRow(place, kind, rel, text, step, *self.last_word(place, verdict))

    @overload
    def __getitem__(self, at: int) -> LinkRow: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[LinkRow, ...]: ...
    def __getitem__(self, at: int | slice) -> LinkRow | tuple[LinkRow, ...]:
        return tuple(self)[at]


def admitted_hosts(links: Sequence[LinkRow]) -> set[str]:
    """The hosts that an edge leads to whose target may belong to the crawl."""
    if isinstance(links, Judged):
        sites = links.links.sites
        return {sites[number][1] for number in links.leads}
    return {link.target.host for link in links if link.admit}


def origins_of(links: Sequence[LinkRow]) -> Iterable[tuple[str, str]]:
    """(origin, host) of all targets."""
    if isinstance(links, Judged):
        return ((origin, host) for origin, host in links.links.sites)
    return ((link.target.origin, link.target.host) for link in links)
