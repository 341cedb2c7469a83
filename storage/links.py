"""The links of a page: what comes sixty times a page is no object until somebody looks at it.

Edges fall into groups, few a page, that share site, kind and rel, and stand together; what each has of its own, path and
text, is a line of one string. They travel so from the parse worker to the commit, for a second or so: hundreds of small
objects a page that nobody touches meanwhile would have left every cache, and cost more to look at than to make anew
(decision 0038). Whoever wants to see one edge takes the sequences for what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple, overload

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
OF_THE_EDGE = ("nofollow", "sitemaps")  # reasons that refuse an edge, not the URL it leads to


class Group(NamedTuple):
    """What edges of a page have in common; ``site``: the number of the site they lead to; ``size``: how many they are."""

    site: int
    kind: str
    rel: str | None
    size: int


class Links(Sequence[Link]):
    """Edges, those of a group in the order of the page. ``sites`` are (origin, host) pairs, each once; ``paths`` and ``texts``:
    one line for each edge, group after group (an empty text is none). Texts are kept as UTF-8: a single emoji would
    quadruple them."""

    __slots__ = ("_texts", "groups", "paths", "sites")

    def __init__(
        self,
        sites: Sequence[tuple[str, str]] = (),
        groups: Sequence[Group] = (),
        paths: str = "",
        texts: str = "",
    ) -> None:
        self.sites, self.groups, self.paths = sites, groups, paths
        self._texts = texts.encode("utf-8", "surrogatepass")

    @classmethod
    def of(cls, links: Iterable[Link]) -> Links:
        """Of links one by one."""
        sites: dict[tuple[str, str], int] = {}
        lines: dict[tuple[int, str, str | None], list[tuple[str, str]]] = {}
        for (origin, host, path), kind, rel, text in links:
            site = sites.setdefault((origin, host), len(sites))
            lines.setdefault((site, kind, rel), []).append((path, (text or "").replace("\n", " ")))
        groups = [Group(*what, len(its)) for what, its in lines.items()]
        paths, texts = ("\n".join([line[n] for its in lines.values() for line in its]) for n in (0, 1))
        return cls(list(sites), groups, paths, texts)

    @property
    def texts(self) -> str:
        return self._texts.decode("utf-8", "surrogatepass")

    @property
    def weight(self) -> int:
        """About how many bytes of memory they take."""
        groups = sum([250 + len(kind) + len(rel or "") for _, kind, rel, _ in self.groups])
        sites = sum([250 + len(origin) + len(host) for origin, host in self.sites])
        return groups + sites + len(self.paths) + len(self._texts)

    def parts(self) -> Iterator[tuple[Group, list[str], list[str]]]:
        """Each group with the paths and the texts of its edges."""
        paths, texts, start = self.paths.split("\n"), self.texts.split("\n"), 0
        for group in self.groups:
            end = start + group.size
            yield group, paths[start:end], texts[start:end]
            start = end

    def of_groups(self) -> Iterator[int]:
        """The number of each edge's group."""
        return chain.from_iterable(repeat(number, group.size) for number, group in enumerate(self.groups))

    def __len__(self) -> int:
        return sum([size for _, _, _, size in self.groups])

    def __iter__(self) -> Iterator[Link]:
        for (site, kind, rel, _), paths, texts in self.parts():
            for path, text in zip(paths, texts, strict=True):
                yield Link(self.place(site, path), kind, rel, text or None)

    def place(self, site: int, path: str) -> Place:
        origin, host = self.sites[site]
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
    """A page's links, and of each group what following its edges adds to the depth (None: nobody does) and the verdict on their
    targets. ``own``: the verdict on each edge, where the edges of a group may differ; then those of the groups say nothing.

    ``closer``: what has the last word on a target that may be admitted, and may be asked by any thread: a store need ask it
    only of targets that are news. ``leads``: numbers of the sites where a target may belong to the crawl."""

    __slots__ = ("_own", "_verdicts", "closer", "leads", "links", "steps", "weight")

    def __init__(
        self,
        links: Links,
        steps: Sequence[int | None],
        verdicts: Sequence[Verdict],
        closer: Callable[[Place], Verdict] = lambda _: Verdict(True),
        own: Sequence[Verdict] = (),
    ) -> None:
        self.links, self.steps, self._verdicts, self.closer, self._own = links, steps, verdicts, closer, own
        self.weight = links.weight + sum([100 + len(verdict.detail or "") for verdict in own])  # bytes of memory
        told = zip(links.of_groups(), own, strict=True) if own else enumerate(verdicts)
        self.leads = {links.groups[number].site for number, verdict in told if verdict.admit}

    def last_word(self, place: Place, verdict: Verdict) -> Verdict:
        """A refusal of the URL beats one of the edge."""
        if not verdict.admit and verdict.reason not in OF_THE_EDGE:
            return verdict
        word = self.closer(place)
        return verdict if word.admit else word

    def parts(self) -> Iterator[tuple[Group, int | None, Iterator[tuple[str, str, Verdict]]]]:
        """Each group, its step, and path, text and verdict of its edges."""
        own = iter(self._own)
        for (group, paths, texts), step, verdict in zip(self.links.parts(), self.steps, self._verdicts, strict=True):
            yield group, step, zip(paths, texts, own if self._own else repeat(verdict))  # noqa: B905 - the others go on

    def __len__(self) -> int:
        return len(self.links)

    def __iter__(self) -> Iterator[LinkRow]:
        for (site, kind, rel, _), step, edges in self.parts():
            for path, text, verdict in edges:
                place = self.links.place(site, path)
                yield LinkRow(place, kind, rel, text or None, step, *self.last_word(place, verdict))

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
