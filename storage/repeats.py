"""Bodies that a host gives for many URLs: soft 404s, mirrors of one page without end (FAULTS T3). Part of a commit's
transaction.

The links of such a page are stored, but nobody follows them on its word. Only bodies that are known already when they come
are counted, so that a web of different pages writes nothing here.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from storage.model import LinkRow, Settlement
from storage.text import to_json

MOST = 100  # pages of a host with one body, after which the links of the next are not followed
SAME = f"the page that links here has the same body as {MOST} others"

KNOWN = """SELECT e.key, coalesce(r.n, 0) FROM json_each(:hosts) e
JOIN body b ON b.digest = substr(:digests, 32 * e.key + 1, 32)
LEFT JOIN repeat r ON r.host = e.value AND r.body = b.id"""
NOTE = """INSERT INTO repeat (host, body, n)
SELECT e.value->>0, b.id, e.value->>2 FROM json_each(:rows) e
JOIN body b ON b.digest = substr(:digests, 32 * (e.value->>1) + 1, 32) WHERE true
ON CONFLICT DO UPDATE SET n = n + excluded.n"""


@dataclass(slots=True)
class Repeats:
    """What `closed` found, to be noted once the bodies are written."""

    digests: bytes = b""
    rows: list[list[int]] = field(default_factory=list)  # host, number of the digest, how often more

    def note(self, db: sqlite3.Connection) -> None:
        if self.rows:
            db.execute(NOTE, {"rows": to_json(self.rows), "digests": self.digests})


def closed(
    db: sqlite3.Connection, batch: Sequence[Settlement], hosts: Mapping[str, int]
) -> tuple[Sequence[Settlement], Repeats]:
    """The batch, in which pages with the body of `MOST` others lead nowhere. To be asked before its bodies are written.
    ``hosts``: ids by name."""
    said = [(i, s) for i, s in enumerate(batch) if s.body and s.outcome == "page"]
    pages = [(i, hosts[s.place.host], s.body.digest) for i, s in said if s.body]
    if not pages:
        return batch, Repeats()
    digests = b"".join(digest for _, _, digest in pages)
    known = dict(db.execute(KNOWN, {"hosts": to_json([host for _, host, _ in pages]), "digests": digests}))
    first: dict[bytes, int] = {}
    more: Counter[tuple[int, int]] = Counter()
    found = list(batch)
    for n, (i, host, digest) in enumerate(pages):
        new = digest not in first and n not in known
        one = first.setdefault(digest, n)
        if new:
            continue
        more[host, one] += batch[i].before is None  # a revisit was counted when it came
        if known.get(n, 0) + more[host, one] >= MOST:
            found[i] = replace(batch[i], links=tuple(_unfollowed(link) for link in batch[i].links))
    return found, Repeats(digests, [[host, one, count] for (host, one), count in more.items() if count])


def _unfollowed(link: LinkRow) -> LinkRow:
    if link.step is None:
        return link
    why = (link.reason, link.detail) if link.reason else ("trap", SAME)
    return link._replace(step=None, admit=False, seed=False, reason=why[0], detail=why[1])
