"""What a batch of settlements mentions: URLs that have to be looked up, and edges.

The edges of a page are looked at once, all of a page together, while they are warm: those to known targets, nine of ten, are
rows in the file before the next page is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.bulk import Rows
from storage.known import FAR, ID, NEVER, Key, moved, within
from storage.links import NOTED, OF_THE_EDGE, Judged, Verdict
from storage.memory import Memory, Names
from storage.model import LinkRow, Place, Role, Settlement


@dataclass(slots=True)
class Target:
    """A URL and the best word any edge of the batch has for it. ``hops`` and ``parent`` are those of the edge that is
    nearest; ``depth`` None: no edge is followed."""

    origin: int
    host: int
    path: str
    depth: int | None
    parent: int | None
    hops: int
    verdict: Verdict
    seed: bool

    def again(self, depth: int | None, parent: int | None, hops: int, verdict: Verdict, seed: bool) -> None:
        """One more mention. Admission beats refusal, a refusal of the URL beats one of the edge."""
        if depth is not None:
            first = self.depth is None
            if self.depth is None or depth < self.depth:
                self.depth, self.parent = depth, parent
            if first or hops < self.hops:
                self.hops = hops
        if verdict.admit or (
            not self.verdict.admit and verdict.reason and self.verdict.reason in (None, *OF_THE_EDGE)
        ):
            self.verdict = verdict
        self.seed |= seed

    @property
    def redirects(self) -> int | None:
        """Least number of redirects in a row that lead here; None as depth."""
        return self.hops if self.hops or self.depth is not None else None


@dataclass(slots=True)
class Targets:
    """All of them, by number, and the edges to them."""

    names: Names
    rows: list[Target] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)
    edges: list[tuple[Any, ...]] = field(default_factory=list)  # src, dst, kind, rel, text, step; ends are ~numbers of targets
    roles: list[tuple[int, int | None, Role]] = field(default_factory=list)  # target, the robots.txt that named it, role

    def add(
        self,
        place: Place,
        parent: int | None,
        depth: int | None,
        hops: int = 0,
        verdict: Verdict = NOTED,
        *,
        seed: bool = False,
    ) -> int:
        """Note one mention; its number."""
        key = (place.origin, place.path)
        n = self.index.get(key)
        if n is not None:
            self.rows[n].again(depth, parent, hops, verdict, seed)
            return n
        origin, host = self.names.origins[place.origin], self.names.hosts[place.host]
        self.index[key] = n = len(self.rows)
        self.rows.append(Target(origin, host, place.path, depth, parent, hops, verdict, seed))
        return n

    def edge(self, src: int, n: int, kind: str, rel: str | None, text: str | None, step: int | None) -> None:
        """Note an edge to a target. ``src``: an id, or ~number of a target."""
        self.edges.append((src, ~n, kind, rel, text, step))

    def link(self, ids: Mapping[int, int], links: Rows) -> None:
        """The edges, now that the targets' ids are known by their numbers."""
        for src, n, *more in self.edges:
            links.values += (src if src >= 0 else ids[~src], ids[~n], *more)


UNKNOWN = 0, NEVER + 1, None  # nothing is as deep as that
Edge = tuple[Settlement, Place, Key, str, str | None, str | None, int | None, Verdict]
"""Of a page: to where, and by which name its target is known; kind, rel, text, step and verdict."""


def known_edges(batch: Sequence[Settlement], memory: Memory, links: Rows, plain: Rows) -> list[Edge]:
    """Put the edges of pages whose targets memory knows, and about which they change nothing, among the rows of ``links``
    or, where they are anchors of which nothing but a text is to be said, of ``plain``. Gives the others."""
    left: list[Edge] = []
    for s in batch:
        if isinstance(s.links, Judged):
            _page(s, s.links, memory, links.values, plain.values, left)
            links.flush()
            plain.flush()
    return left


def _page(
    s: Settlement, found: Judged, memory: Memory, values: list[Any], plain: list[Any], left: list[Edge]
) -> None:
    """What is done in the inner loop is done sixty times a page."""
    assert s.url_id is not None
    links, src, known = found.links, s.url_id, memory.known
    origins = [memory.names.origins[origin] for origin, _ in links.sites]
    for (site, kind, rel, _), step, edges in found.parts():
        depth = NEVER if step is None else s.depth + step
        near, settled = known.at(origins[site]), 0 if step == 0 else within(depth)
        is_plain = step == 1 and rel is None and kind == "a"
        for path, text, verdict in edges:
            target = near.get(path, FAR)
            if target < settled:
                id_ = target & ID
            else:
                key = origins[site], path
                id_, nearest, state = known.get(key) or UNKNOWN
                if step == 0 or depth < nearest or moved(nearest, state, depth, verdict):
                    left.append((s, links.place(site, path), key, kind, rel, text or None, step, verdict))
                    continue
            if is_plain:
                plain += (src, id_, text or None)
            else:
                values += (src, id_, kind, rel, text or None, step)


def collect(
    batch: Sequence[Settlement], left: Sequence[Edge], memory: Memory, redirects: int, links: Rows
) -> tuple[Targets, dict[int, int]]:
    """All targets, with the edges to them, and for our own visits (robots) which target is theirs. ``left`` are edges of pages
    whose targets memory has learnt meanwhile, or nobody knows. ``redirects``: in a row, at most."""
    targets = Targets(memory.names)
    owns: dict[int, int] = {}
    for i, s in enumerate(batch):
        if s.url_id is None:
            owns[i] = targets.add(s.place, None, None)
        if not isinstance(s.links, Judged):
            _few(targets, s, owns.get(i), redirects)
    for s, place, key, kind, rel, text, step, judged in left:
        assert s.url_id is not None
        assert isinstance(s.links, Judged)
        verdict = s.links.last_word(place, judged)
        target, depth = memory.known.get(key), None if step is None else s.depth + step
        if target is not None and step != 0 and not moved(target[1], target[2], depth, verdict):
            links.values += (s.url_id, target[0], kind, rel, text, step)
        else:
            targets.edge(s.url_id, _mention(targets, s, place, step, verdict, redirects), kind, rel, text, step)
    return targets, owns


def _few(targets: Targets, s: Settlement, own: int | None, redirects: int) -> None:
    """The edges of what is no page."""
    for link in s.links:
        role = link.role if s.hops < redirects else None  # else its redirects have become too many
        if role is not None:  # a name is no link: it gives no depth, nor does it admit a page
            n = targets.add(link.target, s.url_id, None, s.hops + 1, Verdict(False, link.reason, link.detail))
            targets.roles.append((n, own, role))
        else:
            n = _mention(targets, s, link.target, link.step, _verdict(link), redirects, seed=link.seed)
        src = ~own if s.url_id is None and own is not None else s.url_id
        assert src is not None
        targets.edge(src, n, link.kind, link.rel, link.text, link.step if link.role is None else None)


def _verdict(link: LinkRow) -> Verdict:
    return Verdict(link.admit, link.reason, link.detail)


def _mention(
    targets: Targets,
    s: Settlement,
    place: Place,
    step: int | None,
    verdict: Verdict,
    redirects: int,
    *,
    seed: bool = False,
) -> int:
    """Note the target of an edge. One redirect too many in a row leads nowhere, until a shorter way to its page is found."""
    if step is None:
        return targets.add(place, s.url_id if verdict.reason else None, None, 0, verdict, seed=seed)
    if step > 0:
        return targets.add(place, s.url_id, s.depth + step, 0, verdict, seed=seed)
    if s.hops < redirects:
        return targets.add(place, s.url_id, s.depth, s.hops + 1, verdict, seed=seed)
    if verdict.admit:
        verdict = Verdict(False, "redirects", f"more than {redirects} redirects in a row")
    return targets.add(place, s.url_id, None, 0, verdict)
