"""Links that lead nowhere, with the pages they are on, and redirects with the way they lead."""

from __future__ import annotations

import json
from typing import Any

from crawler.progress import plural
from crawler.report import words
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, Shown, address
from crawler.web.paging import pager, part
from crawler.web.parts import Column, choice, field, filters, inside, like, table

NAMED = 5  # pages that are named for a broken link
HOPS = 20  # of a chain that are followed
# One look through all links: no index leads from a target to the pages that link to it.
EDGES = """CREATE TEMP TABLE broken_edge AS
WITH failed AS MATERIALIZED (SELECT id FROM main.url WHERE outcome = 'failure')
SELECT dst, src, kind FROM main.link CROSS JOIN failed ON failed.id = dst WHERE src <> dst AND kind <> 'canonical'"""
BROKEN = """SELECT l.n, u.id, o.name || u.path, u.reason, f.status
FROM (SELECT dst, count(DISTINCT src) AS n FROM temp.broken_edge GROUP BY dst) l
JOIN url u ON u.id = l.dst JOIN origin o ON o.id = u.origin LEFT JOIN fetch f ON f.id = u.last
WHERE {where} ORDER BY {order}"""
REFERRERS = """SELECT e.dst, o.name || u.path, l.kind, l.text FROM (
  SELECT dst, src, kind, row_number() OVER (PARTITION BY dst ORDER BY src) AS n FROM temp.broken_edge
  WHERE dst IN (SELECT value FROM json_each(?))) e
CROSS JOIN link l ON l.src = e.src AND l.dst = e.dst AND l.kind = e.kind
JOIN url u ON u.id = e.src JOIN origin o ON o.id = u.origin WHERE e.n <= ?"""
REDIRECTS = """SELECT u.id, o.name || u.path, f.status FROM url u CROSS JOIN origin o ON o.id = u.origin
LEFT JOIN fetch f ON f.id = u.last WHERE {where} ORDER BY {order}"""
CHAINED = """EXISTS (SELECT 1 FROM link l JOIN url x ON x.id = l.dst WHERE l.src = u.id AND l.kind = 'redirect'
AND (x.outcome = 'redirect' OR x.outcome = 'failure'))"""
HOP = """SELECT x.id, o.name || x.path, x.outcome, x.reason, f.status, x.due_at IS NOT NULL
FROM link l JOIN url x ON x.id = l.dst JOIN origin o ON o.id = x.origin LEFT JOIN fetch f ON f.id = x.last
WHERE l.src = ? AND l.kind = 'redirect' LIMIT 1"""
WHICH = (("", "all redirects"), ("chains", "chains, loops, errors"))


def broken(asked: Asked) -> Shown:
    where, values = list[str](), dict[str, Any]()
    if asked["q"]:
        where, values = [r"o.name || u.path LIKE :q ESCAPE '\'"], {"q": like(asked["q"])}
    asked.rows(EDGES)
    found = part(asked, asked.rows, BROKEN, ("l.n", "u.id"), down=True, where=where, values=values)
    named = _referrers(asked, [row[1] for row in found.rows])
    columns = (Column("URL"), Column("what happens", short=True), Column("pages", number=True), Column("stands on"))
    rows = [[inside(url), words.failed(reason, status), f"{n:,}", _named(url, named.get(id_, []), n)]
            for n, id_, url, reason, status in found.rows]  # fmt: skip
    body = joined(
        tag("h1", "Broken links"),
        tag("p", "URLs that failed and that pages link to, those that most pages link to first. ",
            tag("a", "Each link as a row, by SQL", href=address("/sql", name="broken-links")), class_="soft"),
        filters(asked, field("in the broken URL", "q", asked["q"])),
        table(asked, columns, rows, label="Broken links"),
        pager(asked, found),
    )  # fmt: skip
    return Shown("Broken links", body)


def _referrers(asked: Asked, ids: list[int]) -> dict[int, list[tuple[str, str | None]]]:
    """The first pages that link to each of the URLs, with the words of the link."""
    found: dict[int, list[tuple[str, str | None]]] = {}
    for dst, url, kind, text in asked.rows(REFERRERS, (json.dumps(ids), NAMED)):
        found.setdefault(dst, []).append((url, text if text and text.strip() else f"({kind})"))
    return found


def _named(url: str, referrers: list[tuple[str, str | None]], n: int) -> Safe:
    lines = [tag("li", inside(page), " ", tag("q", foreign(text))) for page, text in referrers]
    if n > len(referrers):
        more = f"and {plural(n - len(referrers), 'more page')}"
        lines.append(tag("li", tag("a", more, href=address("/links", url=url, way="in"))))
    return tag("ul", *lines)


def redirects(asked: Asked) -> Shown:
    where, values = ["u.outcome = 'redirect'"], dict[str, Any]()
    if asked["which"] == "chains":
        where.append(CHAINED)
    if asked["q"]:
        where.append(r"o.name || u.path LIKE :q ESCAPE '\'")
        values["q"] = like(asked["q"])
    found = part(asked, asked.rows, REDIRECTS, ("u.id",), where=where, values=values)
    rows = [[inside(url), words.answered(status) if status else "", *way(asked, id_)] for id_, url, status in found.rows]
    columns = (Column("from"), Column("answer", short=True), Column("on the way"), Column("arrives at", short=True))
    body = joined(
        tag("h1", "Redirects"),
        tag("p", tag("a", "Chains and loops, by SQL", href=address("/sql", name="redirect-chains")), class_="soft"),
        filters(asked, field("in the first URL", "q", asked["q"]), choice("which", "which", asked["which"], WHICH)),
        table(asked, columns, rows, label="Redirects"),
        pager(asked, found),
    )
    return Shown("Redirects", body)


def way(asked: Asked, start: int) -> tuple[Safe, Safe]:
    """What a redirect passes, and where it ends, or that it never does."""
    seen, passed = {start}, list[Safe]()
    at = start
    while hop := next(iter(asked.rows(HOP, (at,))), None):
        at, url, outcome, reason, status, queued = hop
        if at in seen or len(passed) >= HOPS:
            return _steps([*passed, inside(url)]), tag("b", "never: it goes round in a circle" if at in seen else "goes on",
                                                       class_="bad")  # fmt: skip
        if outcome != "redirect":
            return _steps(passed), joined(inside(url), _end(outcome, reason, status, bool(queued)))
        seen.add(at)
        passed.append(inside(url))
    return _steps(passed), tag("span", "not known", class_="soft")


def _steps(passed: list[Safe]) -> Safe:
    return tag("ol", *(tag("li", url) for url in passed)) if passed else tag("span", "straight", class_="soft")


def _end(outcome: str | None, reason: str | None, status: int | None, queued: bool) -> Safe | None:
    if outcome == "failure":
        return tag("small", "which does not work: ", words.failed(reason, status), class_="bad")
    if outcome == "skipped":
        return tag("small", "which was skipped: ", words.skipped(reason))
    return tag("small", "which waits to be fetched") if queued else None
