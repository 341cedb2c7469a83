"""The crawl's log: one record, one line, as text or JSON; nothing in it can forge a line or draw (FAULTS O6)."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from crawler.spec import BadSpec
from crawler.text import discreet, printable

log = logging.getLogger("crawler")


class TextFormatter(logging.Formatter):
    """``2026-11-22T17:44:00.000Z INFO fetch 200 12 ms https://example.org/``"""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{_at(record)} {record.levelname} {record.getMessage()}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, event, and what the record carries in ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        return json.dumps({"at": _at(record), "level": record.levelname, "event": record.getMessage()} | fields)


def begun(versions: dict[str, str]) -> None:
    """Note what a run stands on: the first question about any fault."""
    log.info("run on %s", ", ".join(f"{name} {number}" for name, number in versions.items()), extra={"fields": versions})


def visited(url: str, status: int | None, reason: str, elapsed_ms: int, size: int) -> None:
    """Note one visit."""
    if log.isEnabledFor(logging.INFO):
        shown = discreet(url)
        log.info(
            "fetch %s %d ms %s",
            status or reason,
            elapsed_ms,
            shown,
            extra={
                "fields": {
                    "url": shown,
                    "status": status,
                    "reason": reason or None,
                    "elapsed_ms": elapsed_ms,
                    "size": size,
                }
            },
        )


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exposed(path: Path) -> str | None:
    """A warning, if others than its owner may read or write the file (FAULTS V3)."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"warning: {path} can be read by others (mode {mode:04o}); chmod 600 {path}" if mode & 0o077 else None


class _Lines(logging.StreamHandler[TextIO]):
    """Writes the log; when it cannot, a crawl is worth more than its log: said once, and tried again with each record."""

    said = False

    def __init__(self, stream: TextIO, path: Path) -> None:
        super().__init__(stream)
        self.path = path

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.said:
            self.said = True
            with suppress(OSError, ValueError):
                print(f"warning: log {self.path}: {error.strerror}; the crawl goes on, lines are missing", file=sys.stderr)  # noqa: T201


@contextmanager
def log_to(path: Path | None, form: str) -> Iterator[None]:
    """Append the log to a file that only its owner can read; None: no log. Raises BadSpec when it cannot be opened."""
    if path is None:
        yield
        return
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except (OSError, ValueError) as error:
        raise BadSpec(f"log {path}: {getattr(error, 'strerror', None) or error}") from None
    handler = _Lines(os.fdopen(number, "a", encoding="utf-8"), path)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # what a full disk did not take
            handler.stream.close()
