"""Budgets: how many URLs a host may bring into a crawl, and how many one path with the same query keys (FAULTS T1, T5), or
all below a path.

An endless calendar or a flood of links costs disk and politeness that honest pages need. What exceeds a budget is a row in
`url` all the same, refused, with the setting that would admit it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from storage.model import Budgets, HostBudget
from storage.text import to_json

ADMITTED = """SELECT id, name, pages + redirects + failed + queued FROM host WHERE id IN (SELECT value FROM json_each(?))"""
SEEDED = "SELECT DISTINCT host FROM url WHERE seed = 1"
BELOW = """SELECT count(*) FROM origin o JOIN url u ON u.origin = o.id AND u.path >= :low AND u.path < :high
WHERE o.host = :host AND (u.due_at IS NOT NULL OR u.outcome IN ('page', 'redirect', 'failure'))"""
SHAPES = "SELECT id, n FROM shape WHERE id IN (SELECT value FROM json_each(?))"
CHARGE = """INSERT INTO shape (id, host, n) SELECT value->>0, value->>1, value->>2 FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET n = n + excluded.n"""

UNLIMITED = 1 << 60
OWN_NOTHING = HostBudget("")

Refusal = tuple[str, str]  # reason, detail


class Ledger:
    """What hosts may still bring in. It holds a lower bound of what the file says, so it may be forgotten at any time."""

    HOSTS = 100_000  # remembered

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self._room: dict[int, int] = {}
        self._seeded: set[int] | None = None  # hosts of seeds; None: to be asked for
        self._own: dict[int, HostBudget] = {}
        self._below: dict[tuple[int, str], int] = {}  # host, path: the room below it

    def forget(self) -> None:
        self._room.clear()
        self._below.clear()
        self._seeded = None

    def tight(self, db: sqlite3.Connection, wanted: Counter[int]) -> set[int]:
        """Of hosts with so many URLs that may be new: those whose room may not do. The others are charged."""
        if not wanted:
            return set()
        if len(self._room) > self.HOSTS:
            self.forget()
        self._look(db, [host for host, n in wanted.items() if self._room.get(host, 0) < n])
        short = {host for host, n in wanted.items() if self._room[host] < n}
        short |= {host for host in wanted.keys() & self._own.keys() if self._own[host].paths}
        for host in wanted.keys() - short:
            self._room[host] -= wanted[host]
        return short

    def admit(
        self, db: sqlite3.Connection, newcomers: Sequence[tuple[int, str]], tight: set[int]
    ) -> list[Refusal | None]:
        """For each (host, path) that is new to the crawl, in turn: None, or why it stays out. ``tight``: hosts that have
        not been charged for them."""
        self._look(db, list(tight))
        keys = [_shape(host, path) for host, path in newcomers]
        used = Counter(dict(db.execute(SHAPES, (to_json([key for key in keys if key]),))))
        charged: Counter[tuple[int, int]] = Counter()
        verdicts: list[Refusal | None] = []
        for (host, path), key in zip(newcomers, keys, strict=True):
            own = self._own.get(host, OWN_NOTHING)
            verdict = self._verdict(host, host in tight, used[key] if key else 0) or self._full(host, own, path)
            verdicts.append(verdict)
            if verdict is None:
                self._room[host] -= host in tight
                for prefix, _ in own.paths:
                    self._below[host, prefix] -= path.startswith(prefix)
                if key:
                    used[key] += 1
                    charged[key, host] += 1
        if charged:
            db.execute(CHARGE, (to_json([[key, host, n] for (key, host), n in charged.items()]),))
        return verdicts

    def _verdict(self, host: int, tight: bool, used: int) -> Refusal | None:
        budgets, other = self.budgets, "" if host in (self._seeded or ()) else "other-"
        own = self._own.get(host, OWN_NOTHING)
        if tight and self._room[host] <= 0 and own.urls:
            return "limit", f"over {own.where}.budget {own.urls}"
        if tight and self._room[host] <= 0:
            return "limit", f"over --{other}host-budget {budgets.other_host if other else budgets.host}"
        most = budgets.other_query if other else budgets.query
        if most and used >= most:
            return "trap", f"over --{other}query-budget {most}: one path, the same query keys"
        return None

    def _full(self, host: int, own: HostBudget, path: str) -> Refusal | None:
        for prefix, most in own.paths:
            if most and path.startswith(prefix) and self._below[host, prefix] <= 0:
                return "limit", f'over {own.where}.path."{prefix}".budget {most}'
        return None

    def _look(self, db: sqlite3.Connection, hosts: Sequence[int]) -> None:
        """Read what these hosts have brought in. A retry that waits counts twice: once as failed, once as queued."""
        if self._seeded is None:
            self._seeded = {row[0] for row in db.execute(SEEDED)}
        special = self.budgets.special or _nobody
        for host, name, admitted in db.execute(ADMITTED, (to_json(hosts),)).fetchall() if hosts else ():
            most = self.budgets.host if host in self._seeded else self.budgets.other_host
            if own := special(name):
                self._own[host] = own
                most = most if own.urls is None else own.urls
                self._look_below(db, host, own)
            self._room[host] = (most or UNLIMITED) - admitted

    def _look_below(self, db: sqlite3.Connection, host: int, own: HostBudget) -> None:
        """Count once what is below a host's paths; from there on `admit` does."""
        for prefix, most in own.paths:
            if (host, prefix) not in self._below:
                span = {"host": host, "low": prefix, "high": prefix + "\x7f"}  # paths are printable ASCII
                self._below[host, prefix] = (most or UNLIMITED) - db.execute(BELOW, span).fetchone()[0]


def _nobody(_: str) -> None:
    return None


def _shape(host: int, path: str) -> int:
    """A number for the host, the path and the set of query keys; 0 without a query. Equal for two shapes: 1 in 10¹⁸."""
    stem, mark, query = path.partition("?")
    if not mark:
        return 0
    keys = sorted({pair.partition("=")[0] for pair in query.split("&")})
    return (
        int.from_bytes(blake2b(f"{host} {stem}?{'&'.join(keys)}".encode("utf-8", "replace"), digest_size=8).digest())
        >> 1
        or 1
    )
