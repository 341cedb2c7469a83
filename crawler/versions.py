"""What the crawler stands on, and which of it is older than a known fault's fix (FAULTS V6)."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pyexpat import EXPAT_VERSION

WARNED_BELOW = {
    "Python": ("3.11.12", "it brings fixes of its HTTP, TLS and archive modules"),
    "expat": ("2.7.2", "hostile XML can make it allocate without bound; sitemaps are read in a limited process"),
    "SQLite": ("3.51.3", "it mends a WAL race between checkpoints; here one connection alone checkpoints"),
}


def versions() -> dict[str, str]:
    """Name to version of what the machine brings, and of the HTTP client."""
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "expat": EXPAT_VERSION.removeprefix("expat_"),
        "aiohttp": version("aiohttp"),
    }


def outdated(found: dict[str, str]) -> Iterator[str]:
    """A sentence for each that is older than we would have it; none of them keeps a crawl from running."""
    for name, (floor, why) in WARNED_BELOW.items():
        if _numbers(found[name]) < _numbers(floor):
            yield f"{name} {found[name]} is older than {floor}: {why}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))
