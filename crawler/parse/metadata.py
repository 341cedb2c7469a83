"""What a page says about itself to machines: OpenGraph, Twitter cards, JSON-LD; and its headings.

Sources: ogp.me; W3C JSON-LD 1.1 API, "HTML Content Algorithms" (a script's text is not unescaped, and its type may have
parameters). Language, canonical, hreflang and description are found while links are (`crawler.parse.html`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from crawler.parse.bounds import Bounds

MAX_HEADINGS = 500
MAX_REPEATED = 50  # values of one name
MAX_NAME = 100  # characters
_SELECTOR = "meta,h1,h2,h3,h4,h5,h6,script[type]"
_GRAPH = ("og:", "article:", "book:", "music:", "product:", "profile:", "video:")  # its types have names of their own


def metadata(tree: Any, bounds: Bounds) -> Mapping[str, Any]:
    """``og`` and ``twitter``: name to text, or to a list where a name is repeated; ``jsonld``: its objects;
    ``jsonld_invalid``: how many scripts were none; ``headings``: [level, text] in order. What is absent has no key."""
    named: dict[str, dict[str, list[str]]] = {"og": {}, "twitter": {}}
    headings: list[list[Any]] = []
    scripts: list[str] = []
    for node in tree.css(_SELECTOR):
        tag = node.tag
        if tag == "meta":
            _meta(node.attributes, named, bounds)
        elif tag != "script":
            _heading(int(tag[1]), node, headings, bounds)
        elif (node.attributes["type"] or "").partition(";")[0].strip().lower() == "application/ld+json":
            scripts.append(node.text())
    found: dict[str, Any] = {
        key: {name: values[0] if len(values) == 1 else values for name, values in names.items()}
        for key, names in named.items()
    }
    found["jsonld"], invalid = _objects(scripts, bounds)
    found |= {"jsonld_invalid": invalid, "headings": headings}
    return {key: value for key, value in found.items() if value}


def _meta(attributes: Mapping[str, str | None], named: dict[str, dict[str, list[str]]], bounds: Bounds) -> None:
    name = (attributes.get("property") or attributes.get("name") or "").strip().lower()
    key = "og" if name.startswith(_GRAPH) else "twitter" if name.startswith("twitter:") else ""
    content = attributes.get("content")
    if not key or not content:
        return
    name = name.removeprefix(f"{key}:")[:MAX_NAME]
    values = named[key].get(name, [])
    if bounds.spent or len(values) >= MAX_REPEATED or not bounds.size(key, len(name)):
        bounds.cut[key] = None
    elif text := bounds.text(key, content):
        named[key][name] = [*values, text]


def _heading(level: int, node: Any, headings: list[list[Any]], bounds: Bounds) -> None:
    if bounds.spent or len(headings) >= MAX_HEADINGS:
        bounds.cut["headings"] = None
    elif text := bounds.text("headings", node.text_lexbor(), 1_000):
        headings.append([level, text])


def _objects(scripts: Sequence[str], bounds: Bounds) -> tuple[list[Any], int]:
    """What the scripts say, and how many of them say nothing that can be read."""
    found: list[Any] = []
    invalid = 0
    for script in scripts:
        if not bounds.size("jsonld", len(script)):
            continue
        value = _loaded(script)
        found += value if isinstance(value, list) else [value] if value is not None else []
        invalid += value is None
    return found, invalid


def _loaded(script: str) -> Any:
    """A JSON object or list; None for anything else. Line breaks within texts are no JSON, and common."""
    try:
        try:
            value = orjson.loads(script)
        except orjson.JSONDecodeError:
            value = json.loads(script, strict=False, parse_constant=int)  # which NaN is none of
        orjson.dumps([[[[value]]]])  # raises for what is nested too deep for whoever reads it
    except (ValueError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None
