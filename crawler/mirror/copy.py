"""Pages into a folder, each made in a parse worker under its limits: what no worker can make is copied as it came."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from crawler.mirror.files import Files, Page
from crawler.mirror.makers import LIST
from crawler.parse.again import KILLERS
from crawler.parse.mime import HTML
from storage.codec import UNREADABLE, unpack
from storage.export.warc import date

if TYPE_CHECKING:
    from crawler.parse.pool import ParsePool

AT_ONCE = 8  # bodies that are unpacked in memory


class Maker(Protocol):
    """What pages are made into. ``extractor``: of the parse workers."""

    extractor: str

    def whole(self, page: Page, data: dict[str, Any], files: Files) -> bytes:
        """The file, from what the extractor returned. Raises KeyError, ValueError or TypeError when it is not that."""
        ...

    def plain(self, page: Page, body: bytes, files: Files) -> bytes:
        """The file of a body that is no HTML."""
        ...

    def raw(self, page: Page, body: bytes, note: str) -> bytes:
        """The file of a page that could not be made anew, and why."""
        ...


@dataclass(slots=True)
class Copied:
    """How many files there are, and how many of them are as they came though they should have been made anew."""

    files: int = 0
    raw: int = 0


async def copy(files: Files, batches: Iterable[list[Page]], folder: Path, maker: Maker) -> Copied:
    """Write the batches' pages into a folder, and the list of them. Raises OSError, sqlite3.Error."""
    from crawler.parse.pool import ParsePool

    gate, done = asyncio.Semaphore(AT_ONCE), Copied()
    with os.fdopen(_new(folder, LIST), "w", encoding="utf-8") as listed:
        async with ParsePool(min(4, os.cpu_count() or 1), maker.extractor) as pool:
            for batch in batches:
                notes = await asyncio.gather(*(_one(page, files, folder, maker, pool, gate) for page in batch))
                listed.writelines(map(_line, batch, notes))
                done.files += len(batch)
                done.raw += len(batch) - notes.count(None)
    return done


def _line(page: Page, note: str | None) -> str:
    known = {"url": page.url, "file": page.name, "mime": page.mime, "fetched_at": date(page.at), "note": note}
    return json.dumps({name: value for name, value in known.items() if value is not None}) + "\n"


async def _one(
    page: Page, files: Files, folder: Path, maker: Maker, pool: ParsePool, gate: asyncio.Semaphore
) -> str | None:
    """Write one page; why it is as it came, or None."""
    async with gate:
        body = b""
        made: bytes | str | None = None
        try:
            body = unpack(page.codec, page.packed)
        except UNREADABLE as error:
            made = f"the stored body cannot be read: {error}"
        if made is None:
            made = await _made(page, body, files, maker, pool) if page.mime in HTML else maker.plain(page, body, files)
        write(folder, page.name, maker.raw(page, body, made) if isinstance(made, str) else made)
        return made if isinstance(made, str) else None


async def _made(page: Page, body: bytes, files: Files, maker: Maker, pool: ParsePool) -> bytes | str:
    """The file, or why there is none but the body as it came."""
    if page.parse in KILLERS:
        return f"as it came: {page.parse}"
    found = await pool.parse(body, page.url, f"{page.mime}; charset={page.charset or ''}")
    if found.parse or "html" in (found.truncated or ""):
        return f"as it came: {found.parse or 'longer than is parsed'}"
    try:
        return maker.whole(page, dict(found.data), files)
    except (KeyError, ValueError, TypeError) as error:  # the answer of a worker that was taken over
        return f"as it came: {error!r}"


def write(folder: Path, name: str, data: bytes) -> None:
    """A new file below the folder, of its owner alone. ``name`` is of `crawler.mirror.names`. Raises OSError."""
    with os.fdopen(_new(folder, name), "wb") as out:
        out.write(data)


def _new(folder: Path, name: str) -> int:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
