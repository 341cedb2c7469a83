"""Fields of a page by CSS selectors, as Scrapy's users write them: ``span.price::text``, ``a.next::attr(href)``.

Knows a tree by its methods only; what it selects is `crawler.parse.html`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from crawler.extraction import Wanted
from crawler.parse import BadExtractor
from crawler.parse.bounds import MAX_VALUES, Bounds
from crawler.parse.html import selects

_ATTRIBUTE = re.compile(r"attr\(([^\s()\"']+)\)")
_TEXT = "-text"  # what lexbor calls a text node


class Selector(NamedTuple):
    """Which elements, and what is taken of each: its whole text, or what ``::text`` and ``::attr()`` say."""

    css: str
    take: Callable[[Any], Iterator[str]]


def selector(name: str, text: str) -> Selector:
    """Raises BadExtractor, naming the field."""
    before, _, pseudo = text.strip().rpartition("::")
    named = _ATTRIBUTE.fullmatch(pseudo.replace(" ", ""))
    take: Callable[[Any], Iterator[str]]
    if named:
        css, take = before or "*", partial(_attribute, name=named[1].lower())
    elif pseudo == "text":
        css, take = before or ":root", _direct if before.strip() == before != "" else _below
    else:
        css, take = text, _whole
    if not selects(css):
        hint = "; ::text or ::attr(name) stands once, at the end" if "::" in css else ""
        raise BadExtractor(f"extract.{name}: {css.strip()!r} is no CSS selector that can be used here{hint}")
    return Selector(css, take)


def _whole(node: Any) -> Iterator[str]:
    yield node.text()


def _direct(node: Any) -> Iterator[str]:
    return (child.text_content for child in node.iter(include_text=True) if child.tag == _TEXT)


def _below(node: Any) -> Iterator[str]:
    return (child.text_content for child in node.traverse(include_text=True) if child.tag == _TEXT)


def _attribute(node: Any, *, name: str) -> Iterator[str]:
    value = node.attributes.get(name)
    if value is not None:
        yield value


def fields(wanted: Wanted) -> Callable[[Any, Bounds], Mapping[str, Any]]:
    """A function that finds them in a tree. Raises BadExtractor."""
    lists = {name: [selector(name, s) for s in texts] for name, texts in wanted.items() if not isinstance(texts, str)}
    singles = {name: selector(name, text) for name, text in wanted.items() if isinstance(text, str)}

    def find(tree: Any, bounds: Bounds) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for name in wanted:
            if name in singles:
                found[name] = next(_values(tree, (singles[name],), name, bounds), None)
            else:
                found[name] = list(islice(_values(tree, lists[name], name, bounds), MAX_VALUES + 1))
                if len(found[name]) > MAX_VALUES:
                    bounds.cut[name] = None
                    found[name].pop()
        return found

    return find


def _values(tree: Any, selectors: Sequence[Selector], name: str, bounds: Bounds) -> Iterator[str]:
    """What is not blank, in order."""
    for css, take in selectors:
        for node in tree.css(css):
            for raw in take(node):
                if bounds.spent:
                    bounds.cut[name] = None
                    return
                if text := bounds.text(name, raw):
                    yield text
