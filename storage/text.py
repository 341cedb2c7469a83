"""Text that SQLite takes: JSON of whatever the web sent, without lone surrogates."""

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
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace").decode()
