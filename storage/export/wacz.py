"""WACZ 1.1.1 (specs.webrecorder.net/wacz/1.1.1): a WARC with its index and its list of pages in one ZIP file, which
ReplayWeb.page opens without unpacking it. Nothing in it is compressed once more, so that parts can be read by range.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from storage.export.captures import Capture
from storage.export.surt import surt
from storage.export.warc import About, Entry, Sent, WarcWriter, date

ARCHIVE, INDEX, SECONDARY, PAGES = "archive/data.warc.gz", "indexes/index.cdx.gz", "indexes/index.idx", "pages/pages.jsonl"
LINES = 3_000  # of the index in one block
HTML = frozenset({"text/html", "application/xhtml+xml"})
TABLES = """CREATE TEMP TABLE cdx (key TEXT, at TEXT, line TEXT);
CREATE TEMP TABLE listed (line TEXT)"""
ENTRIES = "SELECT key || ' ' || at, line FROM temp.cdx ORDER BY key, at, rowid"
SAVE, LIST = "INSERT INTO temp.cdx VALUES (?, ?, ?)", "INSERT INTO temp.listed VALUES (?)"
LISTED = "SELECT line FROM temp.listed ORDER BY rowid"


class _Part:
    """A file in the ZIP; counted and hashed while it is written."""

    def __init__(self, out: IO[bytes]) -> None:
        self.size, self.hash = 0, hashlib.sha256()
        self._out = out

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.hash.update(data)
        return self._out.write(data)


class WaczWriter:
    """Writes captures to a binary stream that can seek. A context manager: leaving it writes index, pages and datapackage."""

    def __init__(self, out: IO[bytes], db: sqlite3.Connection, about: About, sent: Sent) -> None:
        self._zip, self._db, self._about, self._sent = ZipFile(out, "w", ZIP_STORED), db, about, sent
        self._resources: list[dict[str, Any]] = []
        db.executescript(TABLES)

    def __enter__(self) -> WaczWriter:
        self._open = self._part(ARCHIVE)
        self.warc = WarcWriter(self._open.__enter__(), self._db, self._about, self._sent)  # type: ignore[arg-type]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._open.__exit__(kind, error, trace)
        if kind is None:
            self._index()
            self._list()
            self._datapackage()
        self._zip.close()  # also of what goes no further: or it would be tried when nobody is there to hear of it

    @property
    def written(self) -> dict[str, int]:
        """Records by kind."""
        return self.warc.written

    def put(self, capture: Capture) -> None:
        entry = self.warc.put(capture)
        stamp = date(capture.at)
        key = surt(capture.url), "".join(filter(str.isdigit, stamp))[:14]
        self._db.execute(SAVE, (*key, _cdx(capture, entry)))
        if capture.outcome == "page" and capture.mime in HTML:
            page = {"id": str(capture.id), "url": capture.url, "ts": stamp, "title": capture.title or capture.url}
            self._db.execute(LIST, (json.dumps(page),))

    def _list(self) -> None:
        with self._part(PAGES) as out:
            out.write(b'{"format": "json-pages-1.0", "id": "pages", "title": "All Pages"}\n')
            for (line,) in self._db.execute(LISTED):
                out.write(line.encode() + b"\n")

    def _index(self) -> None:
        """Blocks of sorted lines, and the first line of each, so that one look-up reads one block."""
        lines = iter(self._db.execute(ENTRIES))
        first = json.dumps({"format": "cdxj-gzip-1.0", "filename": INDEX.rpartition("/")[2]})
        heads = [f"!meta 0 {first}\n"]
        with self._part(INDEX) as out:
            while block := list(islice(lines, LINES)):
                data = _member("".join(f"{key} {line}\n" for key, line in block).encode())
                where = {"offset": out.size, "length": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"}
                heads.append(f"{block[0][0]} {json.dumps(where)}\n")
                out.write(data)
        with self._part(SECONDARY) as out:
            out.write("".join(heads).encode())

    def _datapackage(self) -> None:
        package = {
            "profile": "data-package",
            "resources": self._resources,
            "wacz_version": "1.1.1",
            "title": self._about.name,
            "software": self._about.software,
            "created": date(self._about.at)[:19] + "Z",
        }
        text = json.dumps(package, indent=2).encode()
        self._zip.writestr(_info("datapackage.json"), text)
        digest = {"path": "datapackage.json", "hash": f"sha256:{hashlib.sha256(text).hexdigest()}"}
        self._zip.writestr(_info("datapackage-digest.json"), json.dumps(digest, indent=2))

    @contextmanager
    def _part(self, path: str) -> Iterator[_Part]:
        with self._zip.open(_info(path), "w", force_zip64=True) as out:
            part = _Part(out)
            yield part
        self._resources.append(
            {"name": path.rpartition("/")[2], "path": path, "hash": f"sha256:{part.hash.hexdigest()}", "bytes": part.size}
        )


def _info(path: str) -> ZipInfo:
    info = ZipInfo(path, time.gmtime()[:6])
    info.external_attr = 0o600 << 16
    return info


def _member(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(data) + packer.flush()


def _cdx(capture: Capture, entry: Entry) -> str:
    """What the index says of a record (pywb's CDXJ)."""
    known = {
        "url": capture.url,
        "mime": "warc/revisit" if entry.kind == "revisit" else capture.mime or "unk",
        "status": str(capture.status),
        "digest": entry.digest or "-",
        "length": str(entry.length),
        "offset": str(entry.offset),
        "filename": ARCHIVE.rpartition("/")[2],
    }
    return json.dumps(known)
