"""What commits remember saves work and changes nothing: with and without it the file is the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.commit import Facts, apply, plant
from storage.discovery import TARGET
from storage.known import LONGEST, MOST, Known, moved
from storage.links import NOTED, Judged, Link, Links, Verdict
from storage.memory import Memory
from storage.model import LinkRow, Place, Role, Settlement
from tests.settlements import judged

PLACES = [Place(f"http://{host}", host, f"/{n}") for host in ("a.test", "b.test") for n in range(5)]
SEED = PLACES[0]
WORDS = [  # steps and verdicts as the scope gives them
    *[(1, Verdict(True))] * 3,
    (0, Verdict(True)),
    (None, NOTED),
    (None, Verdict(False, "nofollow")),
    (1, Verdict(False, "sitemaps")),
    *[(step, Verdict(False, reason, f"why {reason}")) for reason in ("scope", "exclude", "trap") for step in (1, 0, None)],
]
EDGE = st.tuples(st.sampled_from(PLACES), st.sampled_from(WORDS)).map(lambda edge: (edge[0], *edge[1]))
KINDS = {1: "a", 0: "refresh", None: "img"}  # a page has one edge of a kind to a target, and the kind says the step
OUTCOME = st.sampled_from(("page",) * 4 + ("redirect", "retry", "robots", "sitemaps named"))
VISIT = st.tuples(st.integers(0, 20), OUTCOME, st.lists(EDGE, max_size=5))
TABLES = ("url", "link", "host", "origin", "shape")


def fresh() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(files("storage").joinpath("schema.sql").read_text())
    db.execute(TARGET)
    return db


def settlement(db: sqlite3.Connection, number: int, outcome: str, edges: list[tuple[Place, int | None, Verdict]]) -> Settlement:
    """The visit of one of the URLs that the file has."""
    rows = db.execute(
        "SELECT u.id, o.name, h.name, u.path, coalesce(u.depth, 0), coalesce(u.hops, 0), u.role FROM url u "
        "JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host WHERE u.path <> '/robots.txt' ORDER BY u.id"
    ).fetchall()
    id_, origin, host, path, depth, hops, role = rows[number % len(rows)]
    place = Place(origin, host, path)
    if outcome == "sitemaps named":
        named = tuple(LinkRow(target, "sitemap", step=0, admit=True, role=Role()) for target, _, _ in edges)
        return Settlement(Place(origin, host, "/robots.txt"), links=named)
    if outcome == "retry":
        return Settlement(place, id_, depth, "failure", "http_500", None, 99, 1, hops=hops)
    if outcome == "robots":
        return Settlement(place, id_, depth, "skipped", "robots", "line 1", hops=hops)
    known_as = Role.of(role) if role not in (None, "none") else None
    if outcome == "redirect":
        links = tuple(LinkRow(to, "redirect", None, None, 0, *verdict) for to, _, verdict in edges[:1])
        return Settlement(place, id_, depth, "redirect", links=links, hops=hops)
    if known_as is not None:
        return Settlement(place, id_, 0, "sitemap", attempts=1, role=known_as)
    found = judged(LinkRow(to, KINDS[step], None, None, step, *verdict) for to, step, verdict in edges)
    return Settlement(place, id_, depth, "page", links=found, hops=hops)


@given(
    commits=st.lists(st.lists(VISIT, min_size=1, max_size=4, unique_by=lambda visit: visit[0]), max_size=6),
    max_depth=st.sampled_from((None, 1, 2)),
)
@settings(max_examples=150, deadline=None)
def test_what_is_remembered_changes_nothing(
    commits: list[list[tuple[int, str, list[tuple[Place, int | None, Verdict]]]]], max_depth: int | None
) -> None:
    """I4: the same visits, one crawl with its memory, one that forgets before each commit and leaves every judgement of what
    may move to SQL: the same file."""
    with closing(fresh()) as one, closing(fresh()) as other:
        remembering, forgetful = Memory(), Memory()
        for db, memory in ((one, remembering), (other, forgetful)):
            plant(db, memory, [SEED], now=1)
        for number, visits in enumerate(commits):
            facts = Facts(2 + number, 1, max_depth, 1 + 100 * number)
            forgetful.forget()
            for db, memory in ((one, remembering), (other, forgetful)):
                found = {}
                for visit in visits:
                    s = settlement(db, *visit)
                    found[s.url_id or s.place] = s
                with patch("storage.discovery.moved", moved if db is one else lambda *_: True):
                    apply(db, memory, list(found.values()), facts)
        for table in TABLES:
            assert one.execute(f"SELECT * FROM {table}").fetchall() == other.execute(f"SELECT * FROM {table}").fetchall()


def test_known_targets_need_no_look_up() -> None:
    """The second page with the same links asks the file for none of them."""
    links = judged(LinkRow(place, "a", step=1, admit=True) for place in PLACES)
    with closing(fresh()) as db:
        memory = Memory()
        plant(db, memory, [SEED], now=1)
        asked: list[str] = []
        db.set_trace_callback(asked.append)
        for n in (1, 2):
            apply(db, memory, [Settlement(PLACES[n - 1], n, 1, "page", links=links)], Facts(n, 1, None, n))
            assert any("json_each" in sql and "u.path = e.value" in sql for sql in asked) == (n == 1)
            asked.clear()


def test_t2_a_trap_behind_nofollow_is_a_trap_in_the_file() -> None:
    """The last word on a path is asked for also where nobody follows the edge; and it stays."""
    links = Links.of([Link(Place(*SEED[:2], "/b/b/b/b/b/"), "a", "nofollow")])
    found = Judged(links, [None], [Verdict(False, "nofollow")], lambda _: Verdict(False, "trap", "it repeats"))
    with closing(fresh()) as db:
        memory = Memory()
        plant(db, memory, [SEED], now=1)
        for n in (1, 2):
            apply(db, memory, [Settlement(SEED, 1, 0, "page", links=found)], Facts(n, 1, None, n))
            assert db.execute("SELECT outcome, reason FROM url WHERE id = 2").fetchone() == ("skipped", "trap")


def test_a_target_that_is_named_as_a_sitemap_is_not_known_any_more() -> None:
    """A page that links to it after its visit as a sitemap has it asked for as a page."""
    target = judged([LinkRow(PLACES[1], "a", step=1, admit=True)])
    named = LinkRow(PLACES[1], "sitemap", step=0, admit=True, role=Role())
    with closing(fresh()) as db:
        memory = Memory()
        plant(db, memory, [SEED], now=1)
        for n, s in enumerate((
            Settlement(SEED, 1, 0, "page", links=target),
            Settlement(Place("http://a.test", "a.test", "/robots.txt"), links=(named,)),
            Settlement(PLACES[1], 2, 0, "sitemap", "not_sitemap", attempts=1, role=Role()),
            Settlement(SEED, 1, 0, "page", links=target),
        )):  # fmt: skip
            apply(db, memory, [s], Facts(n, 1, None, n))
        assert db.execute("SELECT due_at IS NULL, role FROM url WHERE id = 2").fetchone() == (0, "none")


def test_asking_adds_nothing() -> None:
    """A page may name ten thousand origins, with paths too long to be remembered."""
    known = Known()
    for origin in range(1000):
        assert not known.at(origin)
        assert known.get((origin, "/")) is None
        known.learn((origin, "/" * (LONGEST + 1)), 1, 1, True)
        known.drop((origin, "/"))
    assert not known._young
    assert not known._old


def test_no_more_is_remembered_than_two_generations() -> None:
    """Memory does not grow with the crawl, and what is asked for stays."""
    known = Known()
    for n in range(5 * MOST):
        known.learn((1, f"/{n}"), n, 1, True)
        assert known.get((1, "/0")) is not None
    assert known.get((1, f"/{MOST}")) is None
    assert sum(1 for _ in _kept(known)) <= 2 * MOST


def test_long_paths_are_not_remembered() -> None:
    """T5: URLs of 4,096 characters, which only a hostile site has by the thousand, would take 500 MB: beyond 256 none is kept,
    and its links mean what they meant."""
    known = Known()
    for size in (LONGEST, LONGEST + 1, 4096):
        known.learn((1, "x" * size), size, 1, True)
    assert [len(path) for _, path in _kept(known)] == [256]
    links = judged([LinkRow(Place(*SEED[:2], "/" + "x" * 300), "a", step=1, admit=True)])
    with closing(fresh()) as db:
        memory = Memory()
        plant(db, memory, [SEED], now=1)
        for n in (1, 2):
            apply(db, memory, [Settlement(SEED, 1, n - 1, "page", links=links)], Facts(n, 1, None, n))
        assert db.execute("SELECT id, depth, due_at FROM url WHERE id > 1").fetchall() == [(2, 1, 1)]
        assert db.execute("SELECT * FROM link").fetchall() == [(1, 2, "a", None, None, 1)]


def _kept(known: Known) -> Iterator[tuple[int, str]]:
    for generation in (known._young, known._old):
        yield from ((origin, path) for origin, paths in generation.items() for path in paths)
