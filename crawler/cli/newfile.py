"""A file or folder that appears only when it is whole, and never in the place of another unless that was asked for."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
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
    part = target.with_name(target.name + ".part")
    _may_be_file(target, force=force)
    _may_be_file(part, force=True)
    with _saying(target):
        _clear(part)
        number = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so that nobody clears it away
            with os.fdopen(number, "w+b") as out:
                yield out
                out.flush()
                os.fsync(number)
                _may_be_file(target, force=force)  # it may have been made meanwhile
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path, known: str, *, force: bool) -> Iterator[Path]:
    """A folder that becomes ``target`` (mode 0700) when all went well. It takes the place of an empty one, and with ``force``
    of one that holds a file called ``known``, which is of an earlier export. Raises UsageError, BadSpec."""
    part, old = target.with_name(target.name + ".part"), target.with_name(target.name + ".old")
    for place in (part, old):
        _known(place, known)
    with _saying(target):
        _clear(part)
        _back(old, target)
        _may_be_folder(target, known, force=force)
        part.mkdir(0o700)
        number = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield part
            os.sync()
            _may_be_folder(target, known, force=force)
            _clear(old)
            if target.exists():
                target.replace(old)
            part.replace(target)
        finally:
            os.close(number)
            _back(old, target)
            for place in (part, old):
                shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _saying(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadSpec(f"cannot write {target}: {error.strerror}") from None


def _clear(place: Path) -> None:
    """Remove what a run that was killed has left. UsageError when one is still at work."""
    if not place.exists():
        return
    number = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.UsageError(f"{place} is being written by another process") from None
    finally:
        os.close(number)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def _back(old: Path, target: Path) -> None:
    """Who was stopped between the two renames gives back what was there."""
    if old.exists() and not target.exists():
        old.replace(target)


def _may_be_file(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")


def _may_be_folder(target: Path, known: str, *, force: bool) -> None:
    _known(target, known)
    if target.exists() and any(target.iterdir()) and not force:
        raise click.UsageError(f"{target} exists; --force replaces it")


def _known(place: Path, known: str) -> None:
    if place.exists() and not _ours(place, known):
        raise click.UsageError(f"{place} exists and is not an export: only those are replaced")


def _ours(place: Path, known: str) -> bool:
    return place.is_dir() and not place.is_symlink() and ((place / known).is_file() or not any(place.iterdir()))
