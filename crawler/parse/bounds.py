"""How much may be taken out of one page: hostile pages hold more than anybody wants, and say so with what is kept."""

from __future__ import annotations

from typing import Any

MAX_VALUE = 10_000  # characters of one value
MAX_VALUES = 1_000  # in one list
MAX_KEPT = 200_000  # characters in all values of a page
MAX_TEXT = 200_000  # characters of a page's text, and of its Markdown
MAX_READ = 20_000_000  # characters looked at for them: a value in 1,000 nested elements is read 1,000 times


class Bounds:
    """What is still allowed on this page. ``cut``: the names whose values are not whole."""

    def __init__(self) -> None:
        self.cut: dict[str, None] = {}
        self._kept, self._read = MAX_KEPT, MAX_READ

    @property
    def spent(self) -> bool:
        return self._kept <= 0 or self._read <= 0

    def text(self, name: str, raw: str, most: int = MAX_VALUE) -> str:
        """A value on one line, as far as there is room for it."""
        self._read -= len(raw)
        text = " ".join(raw[: 4 * most].split())
        room = min(most, self._kept)
        if len(text) > room or len(raw) > 4 * most:
            self.cut[name] = None
            text = text[: max(0, room)]
        self._kept -= len(text)
        return text

    def size(self, name: str, size: int) -> bool:
        """Whether there is room for so much; it is taken then."""
        if size > self._kept:
            self.cut[name] = None
            return False
        self._kept -= size
        return True

    def whole(self, name: str, text: str) -> str:
        """A text of many lines, as far as an answer has room for it."""
        if len(text) > MAX_TEXT:
            self.cut[name] = None
        return text[:MAX_TEXT]

    def mark(self, data: dict[str, Any]) -> dict[str, Any]:
        """The findings, with the names of those that were cut."""
        return {**data, "cut": list(self.cut)} if self.cut else data
