"""The frontier, recomputed: what table `url` must say, from nothing but the stored bodies (FAULTS I1).

A plain function of what was fetched, knowing nothing of how the crawl went: breadth first from the seeds along the
links of the bodies themselves. It must equal the file after every kill, not only at the end.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from crawler.fetch.robots import Robots
from crawler.parse.html import extract
from crawler.url import canonical
from crawler.visit import FOLLOWED
from storage.codec import unpack

FETCHED = """SELECT o.name || u.path, f.outcome, f.mime, f.headers, b.codec, b.data, b.digest, u.id
FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last LEFT JOIN body b ON b.id = f.body"""
URLS = """SELECT o.name || u.path, u.outcome, u.reason, u.due_at IS NOT NULL, u.depth, u.seed
FROM url u JOIN origin o ON o.id = u.origin"""
ROBOTS = """SELECT o.name, b.codec, b.data FROM origin o JOIN fetch f ON f.id = o.robots_fetch JOIN body b ON b.id = f.body"""
EDGES = """SELECT so.name || s.path, xo.name || x.path, l.kind FROM link l
JOIN url s ON s.id = l.src JOIN origin so ON so.id = s.origin JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin"""
Edges = frozenset[tuple[str, str]]
States = frozenset[tuple[str | None, str | None, bool]]
"""(outcome, reason where it is a refusal, queued): each of these is right."""


@dataclass(frozen=True)
class Fetched:
    """What came of a URL's latest attempt: 'page', 'redirect' or 'failure', and its edges (target, kind)."""

    outcome: str
    edges: Edges = frozenset()


def frontier(
    seeds: set[str], fetched: Mapping[str, Fetched], allowed: Callable[[str], bool]
) -> dict[str, tuple[int | None, States]]:
    """Every URL the crawl must know, its least depth, and the states it may be in. Scope `host`, no other limits."""
    hosts = {urlsplit(seed).hostname for seed in seeds}
    found: dict[str, tuple[int | None, States]] = {}
    line = deque((0, seed) for seed in seeds)
    plain: set[str] = set()
    while line:
        depth, url = line.popleft()
        if url in found:
            continue
        known = fetched.get(url)
        inside = url in seeds or urlsplit(url).hostname in hosts
        found[url] = depth, _states(url, known, inside, allowed)
        for target, kind in known.edges if known else ():
            if kind not in FOLLOWED:
                plain.add(target)
            elif kind in ("redirect", "refresh"):
                line.appendleft((depth, target))
            else:
                line.append((depth + 1, target))
    nothing: States = frozenset({(None, None, False)})
    return dict.fromkeys(plain, (None, nothing)) | found


def _states(url: str, known: Fetched | None, inside: bool, allowed: Callable[[str], bool]) -> States:
    if known is not None:
        return frozenset({(known.outcome, None, queued) for queued in {False, known.outcome == "failure"}})
    if not inside:
        return frozenset({("skipped", "scope", False)})
    queued: States = frozenset({(None, None, True)})
    return queued if allowed(url) else queued | {("skipped", "robots", False)}


@dataclass
class Oracle:
    """Judges crawl files; what a body links to is worked out once."""

    _edges: dict[tuple[str, bytes], Edges] = field(default_factory=dict)

    def disagreements(self, db: sqlite3.Connection) -> list[str]:
        """Each URL of which the file and the recomputed frontier say different things, and each link that differs."""
        fetched = {url: Fetched(outcome, self._links(url, outcome, *rest)) for url, outcome, *rest, _ in db.execute(FETCHED)}
        rules = {name: Robots.parse(unpack(codec, data)) for name, codec, data in db.execute(ROBOTS)}
        rows = {url: row for url, *row in db.execute(URLS)}
        wanted = frontier(
            {url for url, row in rows.items() if row[4]}, fetched,
            lambda url: _allows(rules.get("{0.scheme}://{0.netloc}".format(urlsplit(url))), url),
        )
        bad = [f"missing: {url}" for url in wanted.keys() - rows.keys()]
        for url, (outcome, reason, queued, depth, _) in rows.items():
            if url not in wanted:
                if not url.endswith("/robots.txt"):
                    bad.append(f"nobody links to {url}")
                continue
            least, states = wanted[url]
            state = outcome, reason if outcome == "skipped" else None, bool(queued)
            if reason == "quarantined":  # two kills met it alone in flight: that is P11's answer, and counted apart
                continue
            if state not in states or depth != least:
                bad.append(f"{url} is {state} at depth {depth}, must be one of {sorted(states, key=repr)} at {least}")
        stored = set(db.execute(EDGES))
        held = {(url, *edge) for url, known in fetched.items() for edge in known.edges}
        return bad + [f"link {edge}" for edge in stored ^ held]

    def _links(self, url: str, outcome: str, mime: str | None, headers: str, codec: str, data: bytes, digest: bytes) -> Edges:
        if outcome == "redirect":
            return frozenset({(canonical(dict(json.loads(headers))["Location"], url), "redirect")})
        if outcome != "page" or data is None:
            return frozenset()
        if (url, digest) not in self._edges:
            found = extract(unpack(codec, data), url, mime).links
            self._edges[url, digest] = frozenset((link.url, link.kind) for link in found)
        return self._edges[url, digest]


def _allows(rules: Robots | None, url: str) -> bool:
    return rules is None or rules.verdict("poolcrawl", url).allowed
