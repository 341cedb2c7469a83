"""All pages: filtered, searched, sorted by any column."""

from __future__ import annotations

from typing import Any

from crawler.progress import plural
from crawler.report import words
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, BadRequest, Shown
from crawler.web.paging import pager, part
from crawler.web.parts import Column, choice, field, filters, inside, like, table

COLUMNS = (
    Column("page", sort="title"), Column("URL", sort="url"), Column("status", number=True, sort="status"),
    Column("kind", short=True, sort="mime"), Column("depth", number=True, sort="depth"),
    Column("size", number=True, sort="size", down=True), Column("time", number=True, sort="elapsed_ms", down=True),
)  # fmt: skip
SORTS = {column.sort for column in COLUMNS} | {"last"}
NEWEST = "-last"
ONLY = (("", "all pages"), ("untitled", "without a title"), ("partly", "not wholly read"))
LIST = """SELECT {key}, id, url, title, status, mime, depth, size, elapsed_ms, partly FROM page
WHERE {{where}} ORDER BY {{order}}"""
COUNT = "SELECT count(*) FROM (SELECT 1 FROM page WHERE {} LIMIT 100001)"
FEW, WORDS = 2_000, 20
KINDS = "SELECT mime, count(*) FROM page GROUP BY mime ORDER BY 2 DESC LIMIT 50"
STATUSES = "SELECT status, count(*) FROM page GROUP BY status ORDER BY 1 LIMIT 50"


def pages(asked: Asked) -> Shown:
    chosen = asked["sort"] or NEWEST
    column, down = chosen.lstrip("-"), chosen.startswith("-")
    if column not in SORTS:
        raise BadRequest("Pages cannot be sorted by that.")
    where, values = _where(asked)
    n = asked.sheet.rows(COUNT.format(" AND ".join(where) or "1"), values)[0][0]
    key = f"+{column}" if n < FEW else column  # few are found faster in the order they are kept in than along an index
    found = part(asked, asked.sheet.rows, LIST.format(key=column), (key, "id"), down=down, where=where, values=values)
    body = joined(
        tag("h1", "Pages"),
        _filters(asked),
        tag("div", tag("p", _told(n, asked), class_="soft"),
            table(asked, COLUMNS, [_row(row) for row in found.rows], chosen, label="Pages"), data_part="list"),
        pager(asked, found),
    )  # fmt: skip
    return Shown("Pages", body, live=chosen == NEWEST and not (asked["after"] or asked["before"]))


def _where(asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """The conditions that the filters name, and their values."""
    where, values = list[str](), dict[str, Any]()
    found = asked["q"].split()
    if len(found) > WORDS:
        raise BadRequest(f"These are more than {WORDS} words.")
    for i, word in enumerate(found):
        where.append(rf"(url LIKE :q{i} ESCAPE '\' OR title LIKE :q{i} ESCAPE '\')")
        values[f"q{i}"] = like(word)
    for name in ("host", "mime"):
        if asked[name]:
            where.append(f"{name} = :{name}")
            values[name] = asked[name]
    for name in ("status", "depth"):
        if asked[name]:
            where.append(f"{name} = :{name}")
            values[name] = _number(asked[name])
    if asked["only"] == "untitled":
        where.append("title = '' AND mime IN ('text/html', 'application/xhtml+xml')")
    elif asked["only"] == "partly":
        where.append("partly <> ''")
    return where, values


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise BadRequest("Status and depth are numbers.")
    return int(text)


def _filters(asked: Asked) -> Safe:
    kinds = [("", "any kind"), *((mime, f"{mime} ({n:,})") for mime, n in asked.sheet.rows(KINDS) if mime)]
    statuses = [("", "any status"), *((str(s), f"{words.answered(s)} ({n:,})") for s, n in asked.sheet.rows(STATUSES))]
    return filters(
        asked,
        field("in URL or title", "q", asked["q"]),
        field("host", "host", asked["host"]),
        choice("kind", "mime", asked["mime"], kinds),
        choice("status", "status", asked["status"], statuses),
        field("depth", "depth", asked["depth"], inputmode="numeric", size="3"),
        choice("which", "only", asked["only"], ONLY),
        keep=("sort",),
    )


def _told(n: int, asked: Asked) -> str:
    many = "More than 100,000 pages" if n > 100_000 else plural(n, "page")
    order = "the newest first" if (asked["sort"] or NEWEST) == NEWEST else "sorted by the column with the arrow"
    late = f"; {plural(asked.sheet.missing, 'request')} of the file not read yet" if asked.sheet.missing else ""
    return f"{many}, {order}{late}."


def _row(row: tuple[Any, ...]) -> list[Any]:
    _, _, url, title, status, mime, depth, size, ms, partly = row
    note = tag("small", words.partly(None, partly), class_="bad") if partly else None
    return [
        joined(inside(url, title or "(no title)"), note), tag("span", foreign(url), class_="url soft"), status, foreign(mime),
        depth if depth >= 0 else "", words.size(size), f"{ms:,} ms",
    ]  # fmt: skip
