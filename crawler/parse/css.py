"""The URLs in a style sheet. No parser: patterns that give nothing back, so that any text takes linear time (FAULTS P9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_URL = re.compile(
    r"""(url\(\s*+|@import\s*+(?=["']))(?:"((?:[^"\\\n]|\\.)*+)"|'((?:[^'\\\n]|\\.)*+)'|"""
    r"""((?:[^"'()\s\\]|\\[0-9a-f]{1,6}\s?|\\.)++)(?=\s*+\)))""",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})[ \t\r\n\f]?|(.))", re.DOTALL)


def rewritten(text: str, other: Callable[[str], str | None]) -> str:
    """The text with each URL as ``other`` has it; None leaves it as it is. What ``other`` gives holds no `"` and no `\\`."""

    def change(found: re.Match[str]) -> str:
        raw = found[2] or found[3] or found[4] or ""
        new = other(_ESCAPE.sub(_character, raw)) if raw else None
        return found[0] if new is None else f'{found[1]}"{new}"'

    return _URL.sub(change, text)


def urls(body: bytes) -> Iterator[tuple[str, bool]]:
    """The URLs in a style sheet, and whether each imports another style sheet. Any encoding will do that has ASCII in it."""
    for found in _URL.finditer(body.decode("latin-1")):
        raw = found[2] or found[3] or found[4] or ""
        if raw:
            text = raw.encode("latin-1").decode("utf-8", "replace")
            yield _ESCAPE.sub(_character, text), found[1].lower().startswith("@") or _imports(found)


def _imports(found: re.Match[str]) -> bool:
    """Whether `@import` stands before a `url(`."""
    return found.string[max(0, found.start() - 40) : found.start()].rstrip().lower().endswith("@import")


def _character(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[2]
    number = int(found[1], 16)
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
