"""The exclude file: a list of who asked not to be crawled, read at the start and again whenever it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crawler.frontier.exclusions import BadExclusion, Exclusion, parse
from crawler.spec import BadSpec

Stamp = tuple[int, int, int]


class ExcludeFile:
    """Holds the ``rules`` last read well. A file that cannot be read at the start is an error (BadSpec); later the old list
    holds on, and ``note`` says so once for each change."""

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        self.path = path
        self._note = note
        self._seen = self._stamp()
        try:
            self.rules = self._read()
        except (OSError, ValueError) as error:
            raise BadSpec(f"exclude-file {path}: {_why(error)}") from None

    def changed_since(self, wall: int) -> bool:
        """Whether the file may have been changed after a time (Unix ms)."""
        return self._seen is None or max(self._seen[:2]) > wall * 1_000_000

    def poll(self) -> bool:
        """Look at the file; whether ``rules`` are new."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            rules = self._read()
        except (OSError, ValueError) as error:
            self._note(f"warning: exclude-file {self.path}: {_why(error)}; the list as it was read last still holds")
            return False
        before, self.rules = self.rules, rules
        self._note(f"exclude-file {self.path} read again: {len(rules)} entries, {len(before)} before")
        return True

    def _stamp(self) -> Stamp | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self) -> tuple[Exclusion, ...]:
        return parse(self.path.read_text("utf-8-sig"), self.path.name)


def _why(error: Exception) -> str:
    if isinstance(error, BadExclusion):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
