"""What commits remember of the file, so as not to ask it again: ids of names, known targets, room in budgets."""

from __future__ import annotations

import sqlite3

from storage.budget import Ledger
from storage.known import Known
from storage.model import BUDGETS
from storage.text import to_json


class Names:
    """Ids of hosts and origins by name, remembered (bounded); names not seen before are added to the file."""

    LIMIT = 200_000

    def __init__(self) -> None:
        self.hosts: dict[str, int] = {}
        self.origins: dict[str, int] = {}

    def learn(self, db: sqlite3.Connection, places: dict[str, str], hosts: set[str]) -> None:
        """``places``: origin name to host name; ``hosts``: more host names. Afterwards all of them have ids."""
        if len(self.origins) > self.LIMIT:
            self.forget()
        new = sorted((hosts | set(places.values())) - self.hosts.keys())
        if new:
            db.execute("INSERT OR IGNORE INTO host (name) SELECT value FROM json_each(?)", (to_json(new),))
            rows = db.execute(
                "SELECT h.name, h.id FROM json_each(?) e JOIN host h ON h.name = e.value", (to_json(new),)
            )
            self.hosts.update((name, id_) for name, id_ in rows)
        new_origins = [[o, self.hosts[h]] for o, h in sorted(places.items()) if o not in self.origins]
        if new_origins:
            rows_json = to_json(new_origins)
            db.execute(
                "INSERT OR IGNORE INTO origin (name, host) SELECT value->>0, value->>1 FROM json_each(?)", (rows_json,)
            )
            rows = db.execute(
                "SELECT o.name, o.id FROM json_each(?) e JOIN origin o ON o.name = e.value->>0", (rows_json,)
            )
            self.origins.update((name, id_) for name, id_ in rows)

    def forget(self) -> None:
        self.hosts.clear()
        self.origins.clear()


class Memory:
    """What commits remember of the file. To be forgotten after a rollback: the file may not hold what was learnt."""

    def __init__(self) -> None:
        self.names = Names()
        self.known = Known()
        self.ledger = Ledger(BUDGETS)

    def forget(self) -> None:
        self.names.forget()
        self.known.forget()
        self.ledger.forget()
