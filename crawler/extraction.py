"""What is taken out of a page besides its links: the settings `extract`, `data`, `extractor`, and what workers are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

GROUPS = ("metadata", "text", "markdown")
OURS = "crawler.parse.extraction:wanted"
MAX_FIELDS, MAX_NAME, MAX_SELECTOR = 100, 64, 1_000  # names; characters
TAKEN = frozenset({"lang", "canonical", "hreflang", "dropped_links", "truncated", "cut"})  # by what parsing says itself

Wanted = Mapping[str, str | Sequence[str]]
"""A selector gives the first match, as text or None; a list of selectors gives all matches of each."""


def extractors(fields: Wanted, groups: Sequence[str], own: str | None) -> tuple[str, ...]:
    """Functions for `crawler.parse.worker.load`; their findings are merged in this order, the last wins."""
    found = [own] if own else []
    if fields or groups:
        import json

        found.insert(0, f"{OURS} {json.dumps({'fields': fields, 'groups': groups})}")
    return tuple(found)


def pairs(arguments: Iterable[str]) -> dict[str, str | list[str]]:
    """``NAME=SELECTOR`` as typed; ``NAME[]=SELECTOR`` wants all matches. Raises ValueError."""
    found: dict[str, str | list[str]] = {}
    for argument in arguments:
        name, equals, selector = argument.partition("=")
        name, many = name.strip().removesuffix("[]"), name.strip().endswith("[]")
        if not equals or not name or not selector.strip():
            raise ValueError(f"{argument!r} is not of the form NAME=SELECTOR, such as price='span.price::text'")
        before = found.get(name, [] if many else None)
        if many and isinstance(before, list):
            found[name] = [*before, selector]
        elif before is None:
            found[name] = selector
        else:
            raise ValueError(f"{name!r} is given twice; {name}[]=SELECTOR, as often as you like, makes a list")
    return found


def problems(fields: Wanted) -> Iterator[tuple[str, str]]:
    """What is wrong with a table of fields, CSS apart: (name, problem)."""
    if len(fields) > MAX_FIELDS:
        yield "extract", f"{len(fields)} names, and {MAX_FIELDS} are allowed; an extractor of your own knows no such limit"
    for name, wanted in fields.items():
        key = f"extract.{name}"
        if not (isinstance(name, str) and name.isidentifier() and len(name) <= MAX_NAME):
            yield key, f"a name is letters, digits and _, up to {MAX_NAME} of them, and begins with no digit"
        elif name in TAKEN:
            yield key, "the name is taken by what every page's data says; choose another"
        selectors: Sequence[Any] = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(selectors, list | tuple) or not selectors or not all(isinstance(s, str) for s in selectors):
            yield key, f"must be a selector, or a list of selectors, not {wanted!r}"
        elif any(not s.strip() or len(s) > MAX_SELECTOR for s in selectors):
            yield key, f"a selector has 1 to {MAX_SELECTOR} characters"
