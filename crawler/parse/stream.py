"""From the bytes of a file to its text, a piece at a time: gzip undone, charset found, memory flat (FAULTS R10)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain

from crawler.parse.charset import PRESCAN, incremental, sniff_xml

PIECE = 256 << 10  # bytes; expat before 2.6 reads an unfinished token anew with each piece
PACKED = 4 << 10  # bytes inflated at once: what is lost in front of damaged ones
LAYERS = 3  # of gzip: one file in two, sent with Content-Encoding: gzip
MEMBERS = 10_000  # of one gzip file; nobody writes so many, and each costs us a new decoder
_GZIP = b"\x1f\x8b\x08"


class Unpacked:
    """A file's text, unpacked while it is read and never further than ``most`` bytes.

    ``truncated``: None, 'size' (there was more) or 'gzip' (cut or damaged; what came before was given).
    """

    def __init__(self, body: bytes, most: int) -> None:
        self.truncated: str | None = None
        self._body = body
        self._most = most

    def texts(self) -> Iterator[str]:
        """Pieces of text, none empty, without byte order mark and leading blanks. May be asked for once."""
        head, rest = _head(self._bytes())
        encoding, skip = sniff_xml(head)
        decode = incremental(encoding)
        begun = False
        for piece in chain((head[skip:],), rest):
            text = decode(piece, False)
            if not begun:
                text = text.lstrip(" \t\r\n\0\ufeff")  # editors leave blanks, templates a second mark
            if text:
                begun = True
                yield text
        if last := decode(b"", True):
            yield last

    def _bytes(self) -> Iterator[bytes]:
        pieces = _slices(self._body, PACKED if self._body.startswith(_GZIP) else PIECE)
        for _ in range(LAYERS):
            head, rest = _head(pieces)
            pieces = chain((head,), rest)
            if not head.startswith(_GZIP):
                break
            pieces = self._capped(self._inflated(chain.from_iterable(_slices(piece, PACKED) for piece in pieces)))
        return self._capped(pieces)

    def _capped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        room = self._most
        for piece in pieces:
            if len(piece) > room:
                self.truncated = "size"
                yield piece[:room]
                return
            room -= len(piece)
            yield piece

    def _inflated(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """All members of a gzip file (RFC 1952 §2.2); what follows them and is no member is ignored. To be fed in small
        pieces: the rest of one is copied at the end of each member."""
        members, member = 1, zlib.decompressobj(zlib.MAX_WBITS | 16)
        for piece in pieces:
            left = piece
            while left:
                if member.eof:
                    if not left.startswith(_GZIP[: len(left)]):
                        return
                    if members == MEMBERS:
                        self.truncated = self.truncated or "gzip"
                        return
                    members, member = members + 1, zlib.decompressobj(zlib.MAX_WBITS | 16)
                try:
                    out = member.decompress(left, PIECE)
                except zlib.error:
                    self.truncated = self.truncated or "gzip"
                    return
                if out:
                    yield out
                left = member.unused_data if member.eof else member.unconsumed_tail
        if not member.eof:
            self.truncated = self.truncated or "gzip"


def _slices(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def _head(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """At least as many bytes as say what follows, and what follows."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= PRESCAN:
            break
    return head, pieces
