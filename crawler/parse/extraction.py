"""Extraction without code: the extractor that runs in the parse workers for the settings `extract` and `data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crawler.parse.bounds import Bounds
from crawler.parse.fields import fields
from crawler.parse.metadata import metadata

Part = Callable[[Any, Bounds], Mapping[str, Any]]
GROUPS: Mapping[str, Part] = {"metadata": metadata}


def wanted(wish: Mapping[str, Any]) -> Callable[[Any, str], Mapping[str, Any]]:
    """An extractor for ``groups`` of data and ``fields`` (see `crawler.extraction`). Raises BadExtractor.

    What is longer than `crawler.parse.bounds` allows is cut, and its name is in ``cut``.
    """
    parts = [GROUPS[group] for group in wish["groups"]] + ([fields(wish["fields"])] if wish["fields"] else [])

    def extract(tree: Any, url: str) -> Mapping[str, Any]:
        if tree is None or tree.root is None:
            return {}
        bounds, found = Bounds(), dict[str, Any]()
        for part in parts:
            found |= part(tree, bounds)
        return bounds.mark(found)

    return extract
