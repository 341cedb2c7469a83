"""Lists in parts of fifty, by key: the next part begins after the last row that was seen, however many rows came since."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from crawler.report.markup import Safe, tag
from crawler.web.asked import Asked, BadRequest

SHOWN = 50  # rows
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows, and the keys with which the parts before and after them are asked for."""

    rows: Rows
    before: str | None
    after: str | None


def part(
    asked: Asked,
    run: Callable[[str, dict[str, Any]], Rows],
    sql: str,
    keys: Sequence[str],
    *,
    down: bool = False,
    where: Sequence[str] = (),
    values: dict[str, Any] | None = None,
) -> Part:
    """The part that ``asked`` names (before=KEY or after=KEY; else the first), by ``keys``, the last of which is unique.

    ``sql`` has places for {where} and {order}, and begins each row with the keys. BadRequest for what is no key.
    """
    back = bool(asked["before"])
    token = asked["before"] or asked["after"]
    turned = down != back
    found = _key(token, len(keys))
    conditions = [*where]
    if token:
        conditions.append(f"({', '.join(keys)}) {'<' if turned else '>'} ({', '.join(f':key{i}' for i in range(len(keys)))})")
    order = ", ".join(f"{key} {'DESC' if turned else 'ASC'}" for key in keys)
    text = sql.format(where=" AND ".join(conditions) or "1", order=f"{order} LIMIT {SHOWN + 1}")
    rows = run(text, {**(values or {}), **{f"key{i}": value for i, value in enumerate(found)}})
    more = len(rows) > SHOWN
    rows = rows[:SHOWN]
    if back:
        rows.reverse()
    ends = [json.dumps(row[: len(keys)]) for row in (rows[:1] + rows[-1:])]
    return Part(rows, ends[0] if ends and (more if back else token) else None, ends[-1] if ends and (back or more) else None)


def _key(token: str, wanted: int) -> list[str | int | float]:
    if not token:
        return []
    try:
        found = json.loads(token)
        json.dumps(found, ensure_ascii=False).encode()  # or it holds half a character
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != wanted or not all(map(_is_key, found)):
        raise BadRequest("This address does not name a part of the list.")
    return found


def _is_key(value: Any) -> bool:
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 63)


def pager(asked: Asked, found: Part) -> Safe | None:
    """Links to the parts before and after; None: there is one part."""
    if not (found.before or found.after or asked["after"] or asked["before"]):
        return None
    places = (
        ("First", found.before, asked.at(after=None, before=None)),
        ("Previous", found.before, asked.at(after=None, before=found.before)),
        ("Next", found.after, asked.at(after=found.after, before=None)),
    )
    links = [tag("a", name, href=to) if there else tag("span", name, class_="soft") for name, there, to in places]
    return tag("nav", *links, class_="pager", aria_label="Parts of the list")
