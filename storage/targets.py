"""What a batch of settlements mentions: URLs that have to be looked up, and edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.known import Known, moved
from storage.links import NOTED, Judged, Verdict
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
            not self.verdict.admit and verdict.reason and self.verdict.reason in (None, "nofollow", "sitemaps")
        ):
            self.verdict = verdict
        self.seed |= seed

    @property
    def redirects(self) -> int | None:
        """Least number of redirects in a row that lead here; None as depth."""
        return self.hops if self.hops or self.depth is not None else None


@dataclass(slots=True)
class Targets:
    """All of them, by number, and all edges."""

    names: Names
    rows: list[Target] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)
    edges: list[list[Any]] = field(default_factory=list)  # src, dst, kind, rel, text, step
    open: list[list[Any]] = field(default_factory=list)  # of these, whose ends are ~numbers of targets
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
        row = [src, ~n, kind, rel, text, step]
        self.edges.append(row)
        self.open.append(row)

    def rows_of_edges(self, ids: Mapping[int, int]) -> list[list[Any]]:
        """The edges, now that the targets' ids are known by their numbers."""
        for row in self.open:
            row[1] = ids[~row[1]]
            if row[0] < 0:
                row[0] = ids[~row[0]]
        return self.edges


def collect(batch: Sequence[Settlement], memory: Memory, redirects: int) -> tuple[Targets, dict[int, int]]:
    """All targets and edges, and for our own visits (robots) which target is theirs. ``redirects``: in a row, at most."""
    targets = Targets(memory.names)
    owns: dict[int, int] = {}
    for i, s in enumerate(batch):
        if s.url_id is None:
            owns[i] = targets.add(s.place, None, None)
        if isinstance(s.links, Judged):
            _page(s, s.links, memory.known, targets, redirects)
            continue
        for link in s.links:
            role = link.role if s.hops < redirects else None  # else its redirects have become too many
            if role is not None:  # a name is no link: it gives no depth, nor does it admit a page
                n = targets.add(link.target, s.url_id, None, s.hops + 1, Verdict(False, link.reason, link.detail))
                targets.roles.append((n, owns.get(i), role))
            else:
                n = _mention(targets, s, link.target, link.step, _verdict(link), redirects, seed=link.seed)
            src = s.url_id if s.url_id is not None else ~owns[i]
            targets.edge(src, n, link.kind, link.rel, link.text, link.step if link.role is None else None)
    return targets, owns


def _verdict(link: LinkRow) -> Verdict:
    return Verdict(link.admit, link.reason, link.detail)


def _page(s: Settlement, found: Judged, known: Known, targets: Targets, redirects: int) -> None:
    """The edges of a page. What is done here is done forty times a page: a known target becomes no object but its row."""
    assert s.url_id is not None
    links, src, edges, young = found.links, s.url_id, targets.edges, known.young
    origins = [targets.names.origins[origin] for origin, _ in links.sites]
    columns = zip(links.at, links.paths, links.kinds, links.rels, links.texts, found.steps, found.verdicts, strict=True)
    for at, path, kind, rel, text, step, verdict in columns:
        key = origins[at], path
        target = young.get(key) or known.get(key)
        depth = None if step is None else s.depth + step
        if target is not None and step != 0 and not moved(target[1], target[2], depth, verdict):
            edges.append([src, target[0], kind, rel, text, step])
        else:
            n = _mention(targets, s, links.place(at, path), step, verdict, redirects)
            targets.edge(src, n, kind, rel, text, step)


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
