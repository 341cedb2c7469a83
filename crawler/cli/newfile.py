"""A file that appears only when it is whole, and never in the place of another unless that was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from crawler.spec import BadSpec


@contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[IO[str]]:
    """Text that becomes ``target`` (mode 0600, FAULTS V3) when all went well. UsageError when it exists and ``force`` is not
    given, BadSpec when it cannot be written."""
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)  # of a run that was killed
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8", newline="", errors="backslashreplace") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        raise BadSpec(f"cannot write {target}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
