"""What goes between the crawler and a parse worker: frames of a JSON header and a binary part.

JSON, never pickle or marshal: the answer of a process that touched hostile bytes must be safe to read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson

from crawler.url import host_of
from crawler.visit import Extract
from storage.links import NO_LINKS, Group, Links
from storage.text import to_json

MAX_ANSWER = 4 << 20  # bytes of an answer's header about a page; links beyond it are trimmed
MAX_SITEMAP = 16 << 20  # of one about a sitemap: 50,000 URLs of 300 characters
MAX_EDGES = 50_000  # of a sitemap; a page has no more than 10,000
_LENGTHS = struct.Struct(">II")
_CHUNK = 256 << 10  # bytes: what one read takes, and some thirty ordinary answers


class BadFrame(ValueError):
    """The other side does not keep to the format: it is broken or taken over."""


def frame(header: dict[str, Any], size: int) -> bytes:
    """Lengths and header of a frame whose binary part has ``size`` bytes; that part is to follow."""
    text = to_json(header).encode()
    return _LENGTHS.pack(len(text), size) + text


def answer(extract: Extract, most: int = MAX_ANSWER) -> bytes:
    """A whole answer. Links are trimmed and flagged ('links') until the header keeps within ``most`` bytes."""
    binary = b"" if extract.codec == "raw" else extract.packed  # raw: the asker has it
    head = frame(as_header(extract), len(binary))
    while len(head) > most and extract.links:
        keep = len(extract.links) * most // len(head) * 9 // 10
        marks = [m for m in (extract.truncated, "links") if m]
        truncated = ",".join(dict.fromkeys(",".join(marks).split(",")))
        extract = replace(extract, links=Links.of(islice(extract.links, keep)), truncated=truncated)
        head = frame(as_header(extract), len(binary))
    return head + binary


def lengths(head: bytes) -> tuple[int, int]:
    """Sizes of header and binary part from a frame's first 8 bytes."""
    return _LENGTHS.unpack(head)


_TEXTS = ("title", "charset", "base", "canonical", "lang", "mime", "parse", "truncated")
_LINKS = ("sites", "groups", "paths", "texts")


def as_header(extract: Extract) -> dict[str, Any]:
    """An Extract without its packed body."""
    links = extract.links
    header = {name: value for name in _TEXTS if (value := getattr(extract, name)) is not None}
    header["sites"] = links.sites
    header["groups"] = list(map(tuple, links.groups))  # orjson takes a named tuple for an object of somebody else
    header["paths"], header["texts"] = links.paths, links.texts
    header["robots"], header["data"], header["dropped"] = list(extract.robots), extract.data, extract.dropped
    header["digest"], header["codec"] = extract.digest.hex(), extract.codec
    return header


def from_answer(text: bytes, packed: bytes, body: bytes) -> Extract:
    """The Extract of an answer about ``body``. Raises BadFrame for what would do harm and `as_header` would not have made: a
    place that `crawler.url.split` does not make would be asked at another host than it is filed under, or end a commit."""
    try:
        header = orjson.loads(text)
        return _extract(header, packed, body)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise BadFrame(f"unusable answer of a parse worker: {error!r}") from error


def _extract(header: dict[str, Any], packed: bytes, body: bytes) -> Extract:
    texts = {name: header.get(name) for name in _TEXTS}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise TypeError("a text is no text")
    if not isinstance(header["data"], dict) or len(digest := bytes.fromhex(header["digest"])) != 32:
        raise TypeError("data or digest")
    if header["data"]:
        orjson.dumps(header["data"])  # raises for what is nested too deep to be stored
    codec = header["codec"]
    if codec not in ("raw", "zstd"):
        raise ValueError(f"codec {codec!r}")
    return Extract(
        links=_links(*(header[of] for of in _LINKS)) if header["groups"] or header["paths"] else NO_LINKS,
        robots=frozenset(map(str, header["robots"])),
        data=header["data"],
        dropped=int(header["dropped"]),
        digest=digest,
        size=len(body),
        codec=codec,
        packed=body if codec == "raw" else packed,
        **texts,
    )


def _links(sites: list[list[str]], groups: list[list[Any]], paths: str, texts: str) -> Links:
    if {type(part) for site in sites for part in site} != {str} or any(host != host_of(name) for name, host in sites):
        raise ValueError("an origin that is not its host's")
    known = [Group(*group) for group in groups]
    edges = 0
    for site, kind, rel, size in known:
        if type(site) is not int or type(size) is not int or type(kind) is not str or not (rel is None or type(rel) is str):
            raise TypeError("a group of edges that is none")
        if not 0 <= site < len(sites) or size < 1:
            raise ValueError("edges that lead to no site, or a group of none")
        edges += size
    if edges > MAX_EDGES:
        raise ValueError("too many edges")
    if type(paths) is not str or type(texts) is not str:
        raise TypeError("lines that are no text")
    if not paths.count("\n") == texts.count("\n") == edges - 1:
        raise ValueError("not one line for each edge")
    if not paths.isascii() or not paths.replace("\n", "").isprintable():
        raise ValueError("a path that is not printable ASCII")
    links = Links([(origin, host) for origin, host in sites], known, paths, texts)
    if f"\n{paths}".count("\n/") < edges:
        for group, its_paths, _ in links.parts():
            if sites[group.site][1] and any(path[:1] != "/" for path in its_paths):
                raise ValueError("a path that is none")
    return links


class Inbox:
    """Bytes as they come in, frames as they go out. ``room`` is where to put bytes; ``took`` says how many came."""

    def __init__(self) -> None:
        self._buffer = bytearray(_CHUNK)
        self._filled = 0

    def room(self) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def took(self, size: int, most: int) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are complete now, after ``size`` more bytes. Raises BadFrame for a length no honest answer has:
        a binary part of more than ``most`` bytes, the largest body that was asked about (packing never makes more)."""
        self._filled += size
        start, need = 0, _CHUNK
        while (have := self._filled - start) >= 8:
            header, binary = _LENGTHS.unpack_from(self._buffer, start)
            if header > MAX_SITEMAP + 8 or binary > most:
                raise BadFrame(f"a frame of {header} + {binary} bytes")
            if have < (need := 8 + header + binary):
                break
            middle, end = start + 8 + header, start + need
            yield bytes(self._buffer[start + 8 : middle]), bytes(self._buffer[middle:end])
            start, need = end, _CHUNK
        self._keep(start, max(need, _CHUNK))

    def _keep(self, start: int, capacity: int) -> None:
        """Move what is left to the front, into a buffer that holds the frame under way."""
        left = self._filled - start
        if start == 0 and capacity <= len(self._buffer):
            return
        if capacity != len(self._buffer):  # a new one: the transport still holds a view of the old
            fresh = bytearray(capacity)
            fresh[:left] = memoryview(self._buffer)[start : self._filled]
            self._buffer = fresh
        elif left:
            self._buffer[:left] = self._buffer[start : self._filled]
        self._filled = left
