"""The stored bodies of pages, batch by batch, and what was found in them anew."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from storage.model import JsonObject
from storage.text import to_json
from storage.transaction import transaction

PAGES, BYTES = 200, 16 << 20  # a batch: pages, and bytes of their packed bodies

TAKE = """SELECT u.id, f.id, o.name || u.path, f.headers, f.parse, b.codec, b.data
FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last JOIN body b ON b.id = f.body
WHERE u.id IN (SELECT value FROM json_each(?)) AND u.outcome = 'page' ORDER BY u.id"""
PUT = """UPDATE fetch SET title = e.value->>1, charset = e.value->>2, robots = e.value->>3, parse = e.value->>4,
  data = e.value->>5 FROM json_each(?) e WHERE fetch.id = e.value->>0"""
ALL = "SELECT id FROM url WHERE outcome = 'page' ORDER BY id"
RAN = """INSERT INTO run (started_at, ended_at, ending, pid, version, spec) VALUES (?, ?, ?, ?, ?, ?)"""


class Kept(NamedTuple):
    """A page as it is stored: ids of its URL and of the fetch that brought it; headers are JSON, the body is packed."""

    id: int
    fetch: int
    url: str
    headers: str | None
    parse: str | None
    codec: str
    packed: bytes


class Found(NamedTuple):
    """What parsing has found in a page; as the columns of `fetch`."""

    fetch: int
    title: str | None
    charset: str | None
    robots: str | None
    parse: str | None
    data: str | None


def everything(db: sqlite3.Connection) -> list[int]:
    """Ids of all pages, in their order."""
    return [id_ for (id_,) in db.execute(ALL)]


def take(db: sqlite3.Connection, ids: Sequence[int]) -> tuple[list[Kept], Sequence[int]]:
    """Of these pages (their ids in order) the first ones that have a body, as many as are held in memory at once; and the ids
    of those that are left."""
    found, size = [], 0
    with closing(db.execute(TAKE, (to_json(ids[:PAGES]),))) as rows:
        for page in map(Kept._make, rows):
            found.append(page)
            size += len(page.packed)
            if size > BYTES:
                return found, ids[bisect_right(ids, page.id) :]
    return found, ids[PAGES:]


def put(db: sqlite3.Connection, found: Sequence[Found]) -> None:
    """Store a batch anew, in one transaction. What a page was fetched with, and when, stays as it is."""
    if found:
        with transaction(db):
            db.execute(PUT, (to_json(found),))


def note_run(db: sqlite3.Connection, ending: str, began: int, now: int, pid: int, version: str, spec: JsonObject) -> None:
    """A run that sent nothing, with the settings that are in force from now on. The caller holds the transaction."""
    db.execute(RAN, (began, now, ending, pid, version, to_json(spec)))
