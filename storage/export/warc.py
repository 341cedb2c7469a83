"""WARC/1.1 (ISO 28500:2017): a crawl file's answers as an archive that any replay tool reads (decision 0032).

Bodies are stored decoded, so what says how they were sent goes by other names (X-Crawler-Content-Encoding). A record's id
follows from the file and the attempt: the same export made twice has the same ids, and none has to be remembered.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import IO, Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from storage.export.captures import Capture

SPEC = "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"
SAME = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
UNCHANGED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
FIELDS = "application/warc-fields"
TRUNCATED = {"size": "length", "time": "time", "cut": "disconnect"}
RENAMED = frozenset({"content-encoding", "transfer-encoding", "content-length"})
STILL_CODED = "skipped: content-encoding "  # `fetch.parse` of a body that is stored as it came
RUNS = "SELECT id, version, spec FROM run"
LEVEL = 6  # of gzip
NO_RUN: tuple[Mapping[str, str], Mapping[str, Any]] = ({}, {})

Sent = Callable[[Mapping[str, Any], str], Mapping[str, str]]
"""From a run's settings and program version to the headers it sent with every request."""


@dataclass(frozen=True, slots=True)
class About:
    """What the archive says of itself. ``identity`` and ``crawl``: of the crawl file, so that ids are its own, and its
    name; ``name``: of the archive; ``at``: Unix ms."""

    identity: str
    crawl: str
    name: str
    software: str
    at: int


class Entry(NamedTuple):
    """Where the record of an answer begins, in bytes, and how long it is."""

    offset: int
    length: int
    kind: str  # 'response' or 'revisit'
    digest: str | None


class WarcWriter:
    """Writes captures to a binary stream, each record a gzip member of its own unless ``packed`` is False."""

    def __init__(self, out: IO[bytes], db: sqlite3.Connection, about: About, sent: Sent, *, packed: bool = True) -> None:
        self.written: Counter[str] = Counter()  # records by kind
        self._out, self._about, self._packed = out, about, packed
        self._size = 0
        self._requests = {
            run: (sent(settings, version), settings)
            for run, version, spec in db.execute(RUNS)
            for settings in (json.loads(spec),)
        }
        self._info = self._id("warcinfo", 0)
        self._warcinfo()

    def put(self, capture: Capture) -> Entry:
        """The records of one answer: itself or what it repeats, the request, and how it was found."""
        kind = "revisit" if capture.earlier else "response"
        head = _block(_status_line(capture.status), _headers(capture))
        payload = b"" if capture.earlier else capture.body or b""
        digest = _payload_digest(capture, payload)
        named = self._answer_fields(capture, kind, digest)
        offset = self._size
        self._record(kind, named, head + payload, "application/http; msgtype=response")
        entry = Entry(offset, self._size - offset, kind, digest)
        request = self._about_answer(capture, "request")
        self._record("request", request, self._request(capture), "application/http; msgtype=request")
        self._record("metadata", self._about_answer(capture, "metadata"), _found(capture), FIELDS)
        return entry

    def _answer_fields(self, capture: Capture, kind: str, digest: str | None) -> dict[str, str]:
        named = self._fields("response", capture)
        if capture.address:
            named["WARC-IP-Address"] = capture.address
        if digest:
            named["WARC-Payload-Digest"] = digest
        if capture.truncated or (capture.body is None and kind == "response" and capture.wire_size):
            named["WARC-Truncated"] = TRUNCATED.get(capture.truncated or "", "unspecified")
        if earlier := capture.earlier:
            named["WARC-Profile"] = UNCHANGED if capture.status == HTTPStatus.NOT_MODIFIED else SAME
            named["WARC-Refers-To"] = self._id("response", earlier.id)
            named["WARC-Refers-To-Target-URI"] = earlier.url
            named["WARC-Refers-To-Date"] = date(earlier.at)
        return named

    def _about_answer(self, capture: Capture, kind: str) -> dict[str, str]:
        return {**self._fields(kind, capture), "WARC-Concurrent-To": self._id("response", capture.id)}

    def _fields(self, kind: str, capture: Capture) -> dict[str, str]:
        return {
            "WARC-Record-ID": self._id(kind, capture.id),
            "WARC-Warcinfo-ID": self._info,
            "WARC-Target-URI": capture.url,
            "WARC-Date": date(capture.at),
        }

    def _request(self, capture: Capture) -> bytes:
        """What was asked, as far as the file knows: headers that may be secrets are not in it."""
        headers, settings = self._requests.get(capture.run, NO_RUN)
        named = {"Host": capture.origin.partition("://")[2], **headers}
        if capture.earlier and capture.status == HTTPStatus.NOT_MODIFIED:
            known = {name.lower(): value for name, value in capture.earlier.headers}
            asked = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("last-modified")}
            named |= {name: value for name, value in asked.items() if value}
        tunnelled = capture.origin.startswith("https:") or not settings.get("proxy")
        target = capture.path if tunnelled else capture.url  # RFC 9112 §3.2
        return _block(f"GET {target} HTTP/1.1", named.items())

    def _warcinfo(self) -> None:
        headers, settings = self._requests.get(max(self._requests, default=0), NO_RUN)
        known = {
            "software": self._about.software,
            "format": "WARC File Format 1.1",
            "conformsTo": SPEC,
            "operator": settings.get("contact"),
            "http-header-user-agent": headers.get("User-Agent"),
            "robots": settings.get("robots"),
            "isPartOf": self._about.crawl,
            "description": "Bodies are as decoded. Of the headers those are kept that archives need, never a cookie; "
            "X-Crawler-Content-Encoding and X-Crawler-Content-Length say what was sent.",
        }
        named = {"WARC-Record-ID": self._info, "WARC-Date": date(self._about.at), "WARC-Filename": self._about.name}
        self._record("warcinfo", named, _fields(known.items()), FIELDS)

    def _record(self, kind: str, fields: Mapping[str, str], block: bytes, media: str) -> None:
        last = {"WARC-Block-Digest": _digest(block), "Content-Type": media, "Content-Length": str(len(block))}
        head = f"WARC/1.1\r\nWARC-Type: {kind}\r\n".encode() + _lines({**fields, **last}.items()) + b"\r\n"
        parts: Iterable[bytes] = (head, block, b"\r\n\r\n")
        for part in _gzip(parts) if self._packed else parts:
            self._out.write(part)
            self._size += len(part)
        self.written[kind] += 1

    def _id(self, kind: str, number: int) -> str:
        return f"<urn:uuid:{uuid5(NAMESPACE_URL, f'poolcrawl:{self._about.identity}:{kind}:{number}')}>"


def date(at: int) -> str:
    """Unix ms as WARC-Date."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _gzip(parts: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for part in parts:
        yield member.compress(part)
    yield member.flush()


def _status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP/1.1 {status} "


def _headers(capture: Capture) -> Iterator[tuple[str, str]]:
    """As stored, but true of the body that follows: it is decoded, and this long."""
    length = None if capture.body is None or capture.earlier else str(len(capture.body))
    true = {"content-length": length}
    if (capture.parse or "").startswith(STILL_CODED):
        true["content-encoding"] = next((v for n, v in capture.headers if n.lower() == "content-encoding"), None)
    for name, value in capture.headers:
        low = name.lower()
        if low not in RENAMED:
            yield name, value
        elif true.get(low) != value:
            yield f"X-Crawler-{name}", value
    yield from ((name.title(), value) for name, value in true.items() if value is not None)


def _payload_digest(capture: Capture, payload: bytes) -> str | None:
    if capture.earlier:
        return f"sha256:{capture.earlier.digest}" if capture.earlier.digest else None
    return f"sha256:{capture.digest}" if capture.body is not None else _digest(payload)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _found(capture: Capture) -> bytes:
    known = {
        "via": capture.via,
        "hopsFromSeed": capture.hops or None,
        "fetchTimeMs": str(capture.elapsed_ms),
        "wireSize": str(capture.wire_size),
        "parse": capture.parse,
    }
    return _fields(known.items())


def _fields(known: Iterable[tuple[str, str | None]]) -> bytes:
    return _lines((name, value) for name, value in known if value)


def _block(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    return first.encode() + b"\r\n" + _lines(headers) + b"\r\n"


def _lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """No value can begin a line of its own, whatever the file holds."""
    return "".join(f"{name}: {' '.join(value.splitlines())}\r\n" for name, value in fields).encode("utf-8", "replace")
