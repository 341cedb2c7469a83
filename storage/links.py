"""The links of a page: what comes sixty times a page is no object until somebody looks at it.

Edges fall into groups, few a page, that share site, kind and rel; what each has of its own, path and text, is a line of one
string. They travel so from the parse worker to the commit, for a second or so: hundreds of small objects a page that nobody
touches meanwhile would have left every cache, and cost more to look at than to make anew (decision 0038). Whoever wants to
see one edge takes the sequences for what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """What edges of a page have in common; ``site``: the number of the site they lead to."""

    site: int
    kind: str
    rel: str | None = None


class Links(Sequence[Link]):
    """Edges. ``sites`` are (origin, host) pairs, each once; ``at``: the number of each edge's group; ``paths`` and ``texts``: one
    line for each edge (an empty text is none). Texts are kept as UTF-8: a single emoji would quadruple them."""

    __slots__ = ("_texts", "at", "groups", "paths", "sites")

    def __init__(
        self,
        sites: Sequence[tuple[str, str]] = (),
        groups: Sequence[Group] = (),
        at: Sequence[int] = (),
        paths: str = "",
        texts: str = "",
    ) -> None:
        self.sites, self.groups, self.at, self.paths = sites, groups, at, paths
        self._texts = texts.encode("utf-8", "surrogatepass")

    @classmethod
    def of(cls, links: Iterable[Link]) -> Links:
        """Of links one by one."""
        sites: dict[tuple[str, str], int] = {}
        groups: dict[Group, int] = {}
        at, paths, texts = list[int](), list[str](), list[str]()
        for (origin, host, path), kind, rel, text in links:
            group = Group(sites.setdefault((origin, host), len(sites)), kind, rel)
            at.append(groups.setdefault(group, len(groups)))
            paths.append(path)
            texts.append((text or "").replace("\n", " "))
        return cls(list(sites), list(groups), at, "\n".join(paths), "\n".join(texts))

    @property
    def texts(self) -> str:
        return self._texts.decode("utf-8", "surrogatepass")

    @property
    def weight(self) -> int:
        """About how many bytes of memory they take."""
        groups = sum([250 + len(kind) + len(rel or "") for _, kind, rel in self.groups])
        sites = sum([250 + len(origin) + len(host) for origin, host in self.sites])
        return 48 * len(self.at) + groups + sites + len(self.paths) + len(self._texts)

    def lines(self) -> Iterator[tuple[int, str, str]]:
        """Group, path and text of each."""
        return zip(self.at, self.paths.split("\n"), self.texts.split("\n"), strict=False)  # of no edge: one empty line

    def __len__(self) -> int:
        return len(self.at)

    def __iter__(self) -> Iterator[Link]:
        for number, path, text in self.lines():
            site, kind, rel = self.groups[number]
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
        told = zip(links.at, own, strict=True) if own else enumerate(verdicts)
        self.leads = {links.groups[number].site for number, verdict in told if verdict.admit}

    def last_word(self, place: Place, verdict: Verdict) -> Verdict:
        """A refusal of the URL beats one of the edge."""
        if not verdict.admit and verdict.reason not in OF_THE_EDGE:
            return verdict
        word = self.closer(place)
        return verdict if word.admit else word

    def edges(self) -> Iterator[tuple[tuple[int, str, str], Verdict]]:
        """Group, path and text of each, and the verdict."""
        return zip(self.links.lines(), self._own or map(self._verdicts.__getitem__, self.links.at), strict=True)

    def __len__(self) -> int:
        return len(self.links)

    def __iter__(self) -> Iterator[LinkRow]:
        for link, (line, verdict) in zip(self.links, self.edges(), strict=True):
            yield LinkRow(*link, self.steps[line[0]], *self.last_word(link.place, verdict))

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
