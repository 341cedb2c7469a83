"""The hosts: what was fetched of each, what waits, how fast it may be asked, what is wrong with it."""

from __future__ import annotations

import time
from typing import Any

from crawler.progress import plural
from crawler.report.markup import foreign, joined, tag
from crawler.web.asked import Asked, BadRequest, Shown
from crawler.web.paging import pager, part
from crawler.web.parts import Column, choice, field, filters, host_link, like, table, when

COLUMNS = (
    Column("host", sort="name"),
    *(Column(name, number=True, sort=sort, down=True) for name, sort in (
        ("pages", "pages"), ("failures", "failed"), ("redirects", "redirects"), ("skipped", "skipped"), ("queued", "queued"),
        ("delay", "delay"), ("usual answer", "latency"))),
    Column("robots.txt", short=True), Column("left alone until", short=True), Column("trouble"),
)  # fmt: skip
SORTS = {column.sort for column in COLUMNS} - {None}
WHICH = (("", "that were asked"), ("trouble", "in trouble"), ("all", "all, also those that are only linked to"))
ASKED = "pages + failed + redirects + queued > 0"
LIST = """SELECT {key}, id, name, pages, failed, redirects, skipped, queued, coalesce(delay, 0), latency, (
  SELECT o.robots_status FROM origin o WHERE o.host = h.id AND o.robots_status IS NOT NULL
  ORDER BY o.robots_status = 'unreachable' DESC, o.id LIMIT 1), iif(blocked_until > :now, blocked_until, NULL), trouble
FROM host h WHERE name <> '' AND {{where}} ORDER BY {{order}}"""


def hosts(asked: Asked) -> Shown:
    chosen = asked["sort"] or "-pages"
    column, down = chosen.lstrip("-"), chosen.startswith("-")
    if column not in SORTS:
        raise BadRequest("Hosts cannot be sorted by that.")
    where = {"all": "1", "trouble": "trouble IS NOT NULL"}.get(asked["which"], ASKED)
    key = "coalesce(delay, 0)" if column == "delay" else column
    values = {"now": time.time_ns() // 1_000_000, "q": like(asked["q"])}
    conditions = [where, r"name LIKE :q ESCAPE '\'"]
    found = part(asked, asked.rows, LIST.format(key=key), (key, "id"), down=down, where=conditions, values=values)
    n = asked.rows(f"SELECT count(*) FROM host WHERE name <> '' AND {' AND '.join(conditions)}", values)[0][0]  # noqa: S608
    body = joined(
        tag("h1", "Hosts"),
        filters(asked, field("in its name", "q", asked["q"]), choice("which", "which", asked["which"], WHICH), keep=("sort",)),
        tag("div", tag("p", f"{plural(n, 'host')}.", class_="soft"),
            table(asked, COLUMNS, [_row(row) for row in found.rows], chosen, label="Hosts"), data_part="list"),
        pager(asked, found),
    )  # fmt: skip
    return Shown("Hosts", body, live=not (asked["after"] or asked["before"]))


def _row(row: tuple[Any, ...]) -> list[Any]:
    _, _, name, pages, failed, redirects, skipped, queued, delay, latency, robots, blocked, trouble = row
    counted = [f"{n:,}" for n in (pages, failed, redirects, skipped, queued)]
    return [host_link(name), *counted, f"{delay / 1000:g} s", f"{latency:,} ms" if latency else "", robots or "",
            when(blocked) if blocked else "", foreign(trouble) if trouble else ""]  # fmt: skip
