"""HTML as values: `tag` escapes all that is not `Safe` already, so that nothing from the web is ever markup (FAULTS O3)."""

from __future__ import annotations

from html import escape
from typing import Any

from crawler.text import discreet, printable

LONGEST = 300  # characters of one text from the web; the rest is cut, with a sign
VOID = frozenset({"meta", "link", "input", "rect", "line", "path"})  # without an end tag here


class Safe(str):
    """Markup made by `tag`. All other text is escaped on its way in."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Safe:
    """``<name>`` with its attributes and children; None is left out. ``class_`` and ``http_equiv`` are written with ``-``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value is not None
    )
    if name in VOID:
        return Safe(f"<{name}{written}/>")
    return Safe(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Any) -> Safe:
    """Children one after the other, each escaped unless it is markup; None is nothing."""
    return Safe("".join(text(child) for child in children if child is not None))


def text(value: Any) -> Safe:
    """A value as it may stand between tags and between quotes: escaped, and with no control character in it."""
    return value if isinstance(value, Safe) else Safe(escape(printable(str(value))))


def lines(value: str) -> Safe:
    """As `text`, but lines stay lines and tabs stay tabs: for what stands in a ``pre``."""
    return Safe("\n".join(escape(printable(line, tabs=True)) for line in value.splitlines()))


def foreign(value: str | None) -> Safe:
    """Text from the web: shortened, and kept from turning the text around it from right to left."""
    shown = " ".join((value or "").split())
    return tag("bdi", shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…")


def link(url: str) -> Safe:
    """A URL to follow if it is one of http(s); text alone if it is not, or if it holds what looks like a secret (FAULTS V1)."""
    shown = discreet(url)
    if shown != url or not url.startswith(("http://", "https://")):
        return tag("span", foreign(shown), class_="url")
    return tag("a", foreign(url), href=url, rel="noreferrer noopener nofollow", class_="url")


def table(heads: list[str], rows: list[list[Any]], numeric: frozenset[int] = frozenset()) -> Safe:
    """A table; columns in ``numeric`` stand to the right."""

    def cells(kind: str, row: list[Any]) -> Safe:
        named = zip(heads, row, strict=True)  # a phone has no room for the heads: there each figure says what it counts
        return tag("tr", *(tag(kind, cell, class_="n", data_head=f"{head}:") if i in numeric else tag(kind, cell)
                           for i, (head, cell) in enumerate(named)))

    body = joined(*(cells("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", cells("th", heads)), tag("tbody", body)), class_="wide")
