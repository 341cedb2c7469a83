"""Any history of a store, against a model of twenty lines (FAULTS D1, D3, D4, D23): hypothesis looks for a bad one."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage.model import Budgets, LinkRow, OriginRow, Place, Queued, Settlement
from storage.sqlite import SqliteStore
from tests.conftest import long
from tests.settlements import NOW, failure, page, place, redirect

HOSTS = ("a.test", "b.test")
PLACES = [place(f"/{n}", host) for host in HOSTS for n in range(4)]
BAD = {place("/3", host) for host in HOSTS}  # out of scope
GOOD = [one for one in PLACES if one not in BAD]
STATE = """SELECT o.name, h.name, u.path, u.depth, u.outcome, u.reason, u.due_at IS NOT NULL FROM url u
JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host WHERE u.path <> '/robots.txt'"""
RECOUNT = """SELECT h.name, h.queued, h.pages, h.failed, h.redirects, h.skipped,
  sum(u.due_at IS NOT NULL), sum(u.outcome IS 'page'), sum(u.outcome IS 'failure'), sum(u.outcome IS 'redirect'),
  sum(u.outcome IS 'skipped') FROM host h JOIN url u ON u.host = h.id GROUP BY h.id"""
ONCE = """SELECT url FROM (SELECT url FROM pages UNION ALL SELECT DISTINCT src FROM redirects UNION ALL SELECT url FROM failures
  UNION ALL SELECT url FROM skipped) GROUP BY url HAVING count(*) > 1"""
targets = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(("a",) * 4 + ("nofollow",))), min_size=1, max_size=3)


@dataclass
class Model:
    """What was settled, and the edges; everything else follows from them."""

    max_depth: int
    seeds: set[Place] = field(default_factory=lambda: {PLACES[0], PLACES[5]})
    settled: dict[Place, tuple[str, str | None, int | None]] = field(default_factory=dict)  # outcome, reason, due_at
    refused: set[Place] = field(default_factory=set)  # by a budget, while it was queued
    edges: set[tuple[Place, Place, int | None]] = field(default_factory=set)  # source, target, step

    def depths(self) -> dict[Place, int]:
        """Least number of links from a seed, redirects free."""
        found = dict.fromkeys(self.seeds, 0)
        changed = True
        while changed:
            changed = False
            for source, target, step in self.edges:
                if step is not None and source in found and found[source] + step < found.get(target, 1 << 30):
                    found[target], changed = found[source] + step, True
        return found

    def state(self) -> dict[Place, tuple[int | None, str | None, str | None, bool]]:
        """(depth, outcome, reason, queued) of each URL known."""
        depths = self.depths()
        known = {*self.seeds, *self.settled, *(target for _, target, _ in self.edges)}
        return {one: (depths.get(one), *self._word(one, depths.get(one))) for one in known}

    def _word(self, one: Place, depth: int | None) -> tuple[str | None, str | None, bool]:
        if one in self.settled:
            outcome, reason, due_at = self.settled[one]
            return outcome, reason, due_at is not None and one not in self.refused
        if one in BAD:
            return "skipped", "scope", False
        if one in self.refused:
            return "skipped", "limit", False
        if depth is None:
            return "skipped", "nofollow", False
        return (None, None, True) if depth <= self.max_depth else ("skipped", "depth", False)


def edge(target: Place, kind: str) -> LinkRow:
    """A link as the scope has judged it."""
    if kind == "nofollow":
        return LinkRow(target, "a", "nofollow", reason="scope" if target in BAD else "nofollow")
    step = 0 if kind == "redirect" else 1
    return LinkRow(target, kind, step=step, admit=target not in BAD, reason="scope" if target in BAD else None)


class Machine(RuleBasedStateMachine):
    """Begin, feed, settle, refuse, close, crash: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.held: dict[int, Queued] = {}
        self.unreachable: dict[str, int] = {}  # origin: until
        self.opened = 0

    @initialize(max_depth=st.sampled_from((1, 3, 1 << 30)))
    def start(self, max_depth: int) -> None:
        self.model = Model(max_depth)
        self._open(self.folder / "0" / "crawl.db")

    def _open(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        self.file, self.store, self.held = file, SqliteStore(file), {}
        self.loop.run(self.store.open())
        begun = self.loop.run(self.store.begin(
            now=NOW, version="1", spec={}, seeds=sorted(self.model.seeds),
            max_depth=self.model.max_depth, budgets=Budgets(redirects=1000),
        ))  # fmt: skip
        assert begun.resumed == (self.opened > 0)
        self.opened += 1

    def teardown(self) -> None:
        if self.opened:
            self.loop.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def _ask(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    @rule(each=st.integers(1, 3), later=st.sampled_from((0, 5_000)), hosts=st.sets(st.sampled_from(HOSTS), min_size=1))
    def feeds(self, each: int, later: int, hosts: set[str]) -> None:
        """Any part of what is due."""
        self.feed(each, later, hosts)

    def feed(self, each: int, later: int, hosts: set[str]) -> None:
        """What is due comes in order, never what is held, nor from where nobody may be asked."""
        ids = {row.name: row.id for row in self.loop.run(self.store.hosts(9, horizon=NOW + later, names=HOSTS))}
        asked = [ids[host] for host in hosts if host in ids]
        rows = self.loop.run(self.store.due(asked, each, horizon=NOW + later, held=list(self.held)))
        assert not {row.id for row in rows} & self.held.keys()
        for host in hosts:
            mine = [row for row in rows if row.place.host == host]
            assert [(row.depth, row.id) for row in mine] == sorted((row.depth, row.id) for row in mine)
            taken = {row.place for row in self.held.values()}
            free = [one for one in self._due(NOW + later) if one.host == host and one not in taken]
            depths = self.model.depths()
            assert [row.depth for row in mine] == sorted(depths[one] for one in free)[:each]
            assert {row.place for row in mine} <= set(free)
        self.held |= {row.id: row for row in rows}

    def _due(self, horizon: int) -> list[Place]:
        at = {one: due or 0 for one, (_, _, due) in self.model.settled.items()}
        return [one for one, state in self.model.state().items()
                if state[3] and max(at.get(one, 0), self.unreachable.get(one.origin, 0)) <= horizon]  # fmt: skip

    @rule(data=st.data(), times=st.sampled_from((4, 1, 8)))
    def visit(self, data: st.DataObject, times: int) -> None:
        """Several commits in a row: what is deep is met only so."""
        for _ in range(times):
            self.settle(data)
            self.the_file_is_what_the_history_makes_it()

    def settle(self, data: st.DataObject) -> None:
        """Some of what is held ends, each in its own way, in one transaction."""
        if not self.held:
            self.feed(2, 5_000, set(HOSTS))
        if not self.held:
            return
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.held)), min_size=1, max_size=4))
        batch = []
        for id_ in sorted(chosen):
            row = self.held.pop(id_)
            batch.append(self._end(row, data))
            self.model.refused.discard(row.place)
        self.loop.run(self.store.commit(batch, now=NOW))

    def _end(self, row: Queued, data: st.DataObject) -> Settlement:
        how = data.draw(st.sampled_from(("page",) * 6 + ("redirect", "retry", "failure")))
        if how == "page":
            found = data.draw(targets)
            self.model.settled[row.place] = ("page", None, None)
            self.model.edges |= {(row.place, to, None if kind == "nofollow" else 1) for to, kind in found}
            return page(row, *(edge(*one) for one in found), content=row.place.path.encode())
        if how == "redirect":
            target = data.draw(st.sampled_from(PLACES))
            self.model.settled[row.place] = ("redirect", None, None)
            self.model.edges.add((row.place, target, 0))
            return redirect(row, edge(target, "redirect"))
        due_at = NOW + 5_000 if how == "retry" else None
        self.model.settled[row.place] = ("failure", "http_500", due_at)
        return failure(row, due_at=due_at)

    @rule(host=st.sampled_from(HOSTS), until=st.sampled_from((0, 0, NOW + 5_000, NOW + 9_000)))
    def robots(self, host: str, until: int) -> None:
        """A robots.txt that cannot be had holds its origin back until it is asked for again."""
        home = place("/robots.txt", host)
        status = OriginRow(home.origin, "unreachable" if until else "absent", None, until, 1)
        self.loop.run(self.store.commit([Settlement(home, origins=(status,))], now=NOW))
        self.unreachable[home.origin] = until

    @precondition(lambda self: len(self.model.settled) > 2 and not self.held)
    @rule(host=st.sampled_from(HOSTS))
    def refuse(self, host: str) -> None:
        """A budget is used up: what is queued on the host, and not in flight, is refused for good."""
        ids = {row.name: row.id for row in self.loop.run(self.store.hosts(9, horizon=NOW, names=[host]))}
        if host in ids:
            queued = {one for one, state in self.model.state().items() if state[3] and one.host == host}
            assert self.loop.run(self.store.refuse(ids[host], "limit", "enough")) == len(queued)
            self.model.refused |= queued

    @rule(seeds=st.sets(st.sampled_from(GOOD), max_size=1))
    def reopen(self, seeds: set[Place]) -> None:
        """A run ends, the next one begins, perhaps with a seed more: what was in flight is queued."""
        self.model.seeds |= seeds
        self.loop.run(self.store.end("complete", now=NOW))
        self.loop.run(self.store.close())
        self._open(self.file)

    @rule()
    def crash(self) -> None:
        """The files as they lie there now, log and all, are all that is left."""
        after = self.folder / str(self.opened)
        after.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.file}{suffix}", after / f"crawl.db{suffix}")
        self.loop.run(self.store.close())
        self._open(after / "crawl.db")

    @invariant()
    def the_file_is_what_the_history_makes_it(self) -> None:
        """Every URL in its state at its least depth, in one view at most; counters equal a recount."""
        if not self.opened:
            return
        found = {Place(*row[:3]): (*row[3:6], bool(row[6])) for row in self._ask(STATE)}
        assert found == self.model.state()
        for name, *numbers in self._ask(RECOUNT):
            assert numbers[:5] == numbers[5:], name
        assert self._ask(ONCE) == []
        counts = self.loop.run(self.store.counts())
        assert counts.queued == sum(state[3] for state in self.model.state().values())


def test_d1_d3_d4_any_history_of_a_store_is_the_models() -> None:
    """Begin, feed, settle, robots, refuse, close and crash in any order (20 histories; 2,000 in the long form): states,
    depths, views and counters are those of a model; nothing held is fed; what was not committed is queued again."""
    profile = settings(
        max_examples=long(20, 2000), stateful_step_count=long(15, 30), deadline=None, print_blob=True,
        suppress_health_check=list(HealthCheck), derandomize=long(1, 0) == 1,
    )  # fmt: skip
    run_state_machine_as_test(Machine, settings=profile)
