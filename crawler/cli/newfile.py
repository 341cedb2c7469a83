"""A file or folder that appears only when it is whole, and never in the place of another unless that was asked for."""

from __future__ import annotations

import io
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
    with new_bytes(target, force=force) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", errors="backslashreplace")
        yield text
        text.flush()
        text.detach()


@contextmanager
def new_bytes(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """The same for bytes."""
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)  # of a run that was killed
        number = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        raise BadSpec(f"cannot write {target}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path, known: str, *, force: bool) -> Iterator[Path]:
    """A folder that becomes ``target`` (mode 0700) when all went well. It takes the place of an empty one, and with ``force``
    of one that holds a file called ``known``, which is of an earlier export. Raises UsageError, BadSpec."""
    import shutil

    part, old = target.with_name(target.name + ".part"), target.with_name(target.name + ".old")
    for place in (target, part, old):
        if place.exists() and not _ours(place, known):
            raise click.UsageError(f"{place} exists and is not an export: only those are replaced")
    if target.exists() and any(target.iterdir()) and not force:
        raise click.UsageError(f"{target} exists; --force replaces it")
    try:
        for place in (part, old):  # of a run that was killed
            if place.exists():
                shutil.rmtree(place)
        part.mkdir(0o700)
        yield part
        os.sync()
        if target.exists():
            target.replace(old)
        part.replace(target)
    except OSError as error:
        raise BadSpec(f"cannot write {target}: {error.strerror}") from None
    finally:
        for place in (part, old):
            shutil.rmtree(place, ignore_errors=True)


def _ours(place: Path, known: str) -> bool:
    return place.is_dir() and not place.is_symlink() and ((place / known).is_file() or not any(place.iterdir()))
