"""Extraction without code: the extractor that runs in the parse workers for the settings `extract` and `data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crawler.parse import article
from crawler.parse.bounds import Bounds
from crawler.parse.fields import fields
from crawler.parse.markdown import markdown
from crawler.parse.metadata import metadata

Part = Callable[[Any, str, Bounds], Mapping[str, Any]]
GROUPS: Mapping[str, Part] = {
    "metadata": lambda tree, url, bounds: metadata(tree, bounds),
    "text": lambda tree, url, bounds: {"text": bounds.whole("text", article.text(tree))},
    "markdown": lambda tree, url, bounds: {"markdown": bounds.whole("markdown", markdown(tree, url))},
}


def wanted(wish: Mapping[str, Any]) -> Callable[[Any, str], Mapping[str, Any]]:
    """An extractor for ``groups`` of data and ``fields`` (see `crawler.extraction`). Raises BadExtractor.

    What is longer than `crawler.parse.bounds` allows is cut, and its name is in ``cut``.
    """
    find = fields(wish["fields"])
    parts = [GROUPS[group] for group in wish["groups"]]

    def extract(tree: Any, url: str) -> Mapping[str, Any]:
        if tree is None or tree.root is None:
            return {}
        bounds, found = Bounds(), dict[str, Any]()
        for part in parts:
            found |= part(tree, url, bounds)
        found |= find(tree, bounds)
        return bounds.mark(found)

    return extract
