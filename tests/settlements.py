"""What is handed to a store, made short for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from storage.links import Group, Judged, Links, Verdict
from storage.model import (
    BUDGETS,
    BodyRow,
    Budgets,
    FetchRow,
    LinkRow,
    Place,
    Queued,
    Settlement,
)

NOW = 1_800_000_000_000
FAR = NOW + 86_400_000


class Fact(NamedTuple):
    """What a store holds of a URL."""

    depth: int | None
    outcome: str | None
    reason: str | None
    queued: bool
    hops: int | None = 0


def place(path: str = "/", host: str = "a.test") -> Place:
    return Place(f"http://{host}", host, path)


def link(path: str, *, host: str = "a.test", kind: str = "a", **more: Any) -> LinkRow:
    """A followed link into the crawl, unless ``more`` says otherwise."""
    return LinkRow(place(path, host), kind, **{"step": 1, "admit": True, **more})


def nofollow(path: str, host: str = "a.test") -> LinkRow:
    return LinkRow(place(path, host), "a", "nofollow", reason="nofollow")


def body(content: bytes) -> BodyRow:
    return BodyRow(hashlib.sha256(content).digest(), len(content), "raw", content)


def page(row: Queued, *links: LinkRow, content: bytes | None = None, **more: Any) -> Settlement:
    """The visit of ``row`` ended with a page."""
    fetch = more.pop("fetch", FetchRow(NOW, "page", status=200))
    more.setdefault("hops", row.hops)
    return Settlement(
        row.place,
        row.id,
        row.depth,
        "page",
        None,
        None,
        None,
        row.attempts + 1,
        fetch,
        body(content) if content is not None else None,
        judged(links),
        **more,
    )


def judged(rows: Iterable[LinkRow]) -> Judged:
    """The links of a page as the crawl hands them over; rows with another step or verdict are groups of their own."""
    sites: dict[tuple[str, str], int] = {}
    lines: dict[tuple[int, str, str | None, int | None, Verdict], list[tuple[str, str]]] = {}
    for row in rows:
        site = sites.setdefault((row.target.origin, row.target.host), len(sites))
        group = site, row.kind, row.rel, row.step, Verdict(row.admit, row.reason, row.detail)
        lines.setdefault(group, []).append((row.target.path, row.text or ""))
    groups = [Group(*what[:3], len(its)) for what, its in lines.items()]
    paths, texts = ("\n".join(line[n] for its in lines.values() for line in its) for n in (0, 1))
    return Judged(Links(list(sites), groups, paths, texts), [what[3] for what in lines], [what[4] for what in lines])


def failure(row: Queued, reason: str = "http_500", due_at: int | None = None) -> Settlement:
    return Settlement(
        row.place,
        row.id,
        row.depth,
        "failure",
        reason,
        None,
        due_at,
        row.attempts + 1,
        FetchRow(NOW, "failure", reason, 500),
    )


def redirect(row: Queued, target: LinkRow) -> Settlement:
    return Settlement(
        row.place,
        row.id,
        row.depth,
        "redirect",
        None,
        None,
        None,
        row.attempts + 1,
        FetchRow(NOW, "redirect", status=301),
        links=(target,),
        hops=row.hops,
    )


async def start(
    store: Any,
    *seeds: Place,
    max_depth: int | None = None,
    now: int = NOW,
    budgets: Budgets = BUDGETS,
    rescope: bool = False,
    **spec: Any,
) -> Any:
    return await store.begin(
        now=now,
        version="test",
        spec=spec,
        seeds=seeds or (place(),),
        max_depth=max_depth,
        budgets=budgets,
        rescope=rescope,
    )


async def queue(store: Any, *, each: int = 1000, horizon: int = FAR, held: Iterable[int] = ()) -> list[Queued]:
    """What is due on all hosts."""
    hosts = await store.hosts(1000, horizon=horizon)
    return list(await store.due([h.id for h in hosts], each, horizon=horizon, held=list(held)))


async def first(store: Any, path: str = "/") -> Queued:
    return next(row for row in await queue(store) if row.place.path == path)


def judge(only: Sequence[str] | set[str] | None = None) -> Any:
    """A rule that admits these paths (None: every one)."""

    def verdict(where: Place) -> LinkRow:
        inside = only is None or where.path in only
        return LinkRow(
            where, "a", step=1, admit=inside, reason=None if inside else "exclude", detail=None if inside else "test"
        )

    return verdict
