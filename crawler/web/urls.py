"""URLs that are no page, in the order in which they were met: failures, and what was skipped, each with its reason."""

from __future__ import annotations

from typing import Any

from crawler.progress import plural
from crawler.report import words
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, Shown, address
from crawler.web.paging import pager, part
from crawler.web.parts import PLAIN, Column, chips, field, filters, inside, like, table, when

REASONS = "SELECT reason, count(*) FROM url WHERE outcome = ? GROUP BY reason ORDER BY 2 DESC LIMIT 40"
LIST = """SELECT u.id, o.name || u.path, u.reason, u.detail, f.status, u.attempts, u.due_at, po.name || p.path
FROM url u CROSS JOIN origin o ON o.id = u.origin LEFT JOIN fetch f ON f.id = u.last
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin WHERE {where} ORDER BY {order}"""
FAILED = (
    Column("URL"), Column("what happened"), Column("attempts", number=True), Column("tried again", short=True),
    Column("found on", short=True),
)  # fmt: skip
SKIPPED = (Column("URL"), Column("why"), Column("found on", short=True))


def failures(asked: Asked) -> Shown:
    def row(found: tuple[Any, ...]) -> list[Any]:
        _, url, reason, detail, status, attempts, due, parent = found
        why = joined(words.failed(reason, status), tag("small", foreign(detail)) if detail else None)
        return [inside(url), why, attempts, when(due) if due else "no", _found_on(parent)]

    return _listed(asked, "Failures", "failure", FAILED, row, words.failed, "failures")


def skipped(asked: Asked) -> Shown:
    def row(found: tuple[Any, ...]) -> list[Any]:
        _, url, reason, detail, _, _, _, parent = found
        return [inside(url), joined(words.skipped(reason), tag("small", foreign(detail)) if detail else None), _found_on(parent)]

    return _listed(asked, "Skipped", "skipped", SKIPPED, row, words.skipped, "skipped")


def _found_on(parent: str | None) -> Safe | str:
    return inside(parent) if parent else PLAIN


def _listed(asked: Asked, title: str, outcome: str, columns: tuple[Column, ...], row: Any, say: Any, question: str) -> Shown:
    where, values = ["u.outcome = :outcome"], {"outcome": outcome}
    if asked["reason"]:
        where.append("u.reason = :reason")
        values["reason"] = asked["reason"]
    if asked["q"]:
        where.append(r"o.name || u.path LIKE :q ESCAPE '\'")
        values["q"] = like(asked["q"])
    reasons = asked.rows(REASONS, (outcome,))
    found = part(asked, asked.rows, LIST, ("u.id",), where=where, values=values)
    n = sum(count for _, count in reasons)
    body = joined(
        tag("h1", title),
        tag("p", f"{plural(n, 'URL')}. ", tag("a", "As rows, by SQL", href=address("/sql", name=question)), class_="soft"),
        chips(asked, "reason", [(reason or "", say(reason), count) for reason, count in reasons]),
        filters(asked, field("in the URL", "q", asked["q"]), keep=("reason",)),
        table(asked, columns, [row(each) for each in found.rows], label=title),
        pager(asked, found),
    )
    return Shown(title, body)
