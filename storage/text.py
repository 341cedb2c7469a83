"""Text that SQLite takes: of whatever the web sent, without lone surrogates."""

from __future__ import annotations

import json
from typing import Any

import orjson


def to_json(value: Any) -> str:
    """The value as compact JSON. What is no Unicode (lone surrogates, from a page's script or a user's extractor) becomes a
    question mark, and integers may be of any size; both are rare, and left to the slow way."""
    try:
        return orjson.dumps(value).decode()
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        return str(to_unicode(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def to_unicode(value: Any) -> Any:
    """A text without lone surrogates; anything else as it is."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
