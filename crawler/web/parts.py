"""What the pages are made of: links into the view, tables with heads that sort, filters, chips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, address

PLAIN = "·"  # what is not known


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column. ``number``: it stands to the right; ``short``: on a phone it shares its line. ``sort``: the name it
    is sorted by; ``down``: beginning with the largest."""

    name: str
    number: bool = False
    short: bool = False
    sort: str | None = None
    down: bool = False


def inside(url: str, words: str | None = None) -> Safe:
    """A URL of the crawl, leading to what is known of it here."""
    return tag("a", foreign(words or url), href=address("/page", url=url), class_="url")


def outside(url: str) -> Safe | None:
    """A way to the URL itself, for http(s) only; no word of us goes there."""
    if not url.startswith(("http://", "https://")):
        return None
    return tag("a", "open ↗", href=url, rel="noreferrer noopener nofollow", target="_blank", class_="out")


def host_link(host: str) -> Safe:
    """A host, leading to its pages."""
    return tag("a", foreign(host), href=address("/pages", host=host))


def table(asked: Asked, columns: Sequence[Column], rows: Iterable[Sequence[Any]], sorted_by: str = "",
          *, label: str = "List", kind: str = "wide") -> Safe:  # fmt: skip
    """Rows under heads; a head with a sort is a link. On a phone each figure says what it counts."""
    heads = tag("tr", *(_head(asked, column, sorted_by) for column in columns))
    body = [
        tag("tr", *(tag("td", cell, class_="n" if c.number else "s" if c.short else None, data_head=c.name)
                    for c, cell in zip(columns, row, strict=True)))
        for row in rows
    ]  # fmt: skip
    if not body:
        return tag("p", "Nothing here.", class_="none")
    return tag("div", tag("table", tag("thead", heads), tag("tbody", *body)), class_=kind, tabindex="0", role="region",
               aria_label=label)  # fmt: skip


def _head(asked: Asked, column: Column, sorted_by: str) -> Safe:
    kind = "n" if column.number else None
    if column.sort is None:
        return tag("th", column.name, class_=kind, scope="col")
    here = sorted_by.lstrip("-") == column.sort
    down = not sorted_by.startswith("-") if here else column.down
    arrow = (" ↓" if sorted_by.startswith("-") else " ↑") if here else ""
    to = asked.at(sort=("-" if down else "") + column.sort, after=None, before=None)
    state = ("descending" if sorted_by.startswith("-") else "ascending") if here else None
    return tag("th", tag("a", column.name, arrow, href=to), class_=kind, scope="col", aria_sort=state)


def field(label: str, name: str, value: str, kind: str = "search", **more: Any) -> Safe:
    """A labelled box to type into."""
    return tag("label", tag("span", label), tag("input", type=kind, name=name, value=value, autocomplete="off", **more))


def choice(label: str, name: str, value: str, options: Iterable[tuple[str, str]]) -> Safe:
    """A labelled list to choose from: (value, words)."""
    every = [tag("option", words, value=key, selected="" if key == value else None) for key, words in options]
    return tag("label", tag("span", label), tag("select", *every, name=name))


def filters(asked: Asked, *fields: Safe, keep: Sequence[str] = (), words: str = "Filter") -> Safe:
    """A form that asks this page again; what is in ``keep`` stays as it is."""
    hidden = [tag("input", type="hidden", name=name, value=asked[name]) for name in keep if asked[name]]
    clear = tag("a", "Clear", href=asked.path) if asked.values else None
    return tag("form", *hidden, *fields, tag("button", words), clear, action=asked.path, class_="filters", role="search")


def chips(asked: Asked, name: str, counted: Iterable[tuple[str, str, int]]) -> Safe:
    """Values of one parameter with how often they occur: (value, words, count); the one that is chosen lets go."""
    found = []
    for value, words, n in counted:
        on = asked[name] == value
        found.append(tag("li", tag("a", foreign(words), " ", tag("b", f"{n:,}"), aria_current="true" if on else None,
                                   href=asked.at(**{name: None if on else value, "after": None, "before": None}))))  # fmt: skip
    return tag("ul", *found, class_="chips") if found else Safe()


def facts(*named: tuple[str, Any]) -> Safe:
    """Names and values, those without a value left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in named if value not in (None, "")),
               class_="facts")  # fmt: skip


def when(ms: float | None) -> Safe:
    """A time (Unix ms), to the second, in UTC."""
    if not ms:
        return Safe(PLAIN)
    try:
        at = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return Safe(PLAIN)
    return tag("time", at.strftime("%Y-%m-%d %H:%M:%S"), datetime=at.isoformat())


def section(title: str, *content: Any, id: str | None = None, more: Any = None) -> Safe:
    """A part of a page under its heading."""
    return tag("section", tag("h2", title, " ", more), joined(*content), id=id)


def like(text: str) -> str:
    """The pattern that finds a text anywhere, as it is."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
