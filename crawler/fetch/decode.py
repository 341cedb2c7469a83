"""Content decoding that cannot be made to produce more than it is asked for (FAULTS H1-H4).

Each decoder works on small slices of input with a limit on its output, so a bomb costs no more memory than the room the
caller has left. Codings are those of RFC 9110 §8.4.1, RFC 7932 (br) and RFC 8878 (zstd).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPT_ENCODING = "gzip, deflate, br, zstd"  # exactly what is bounded here (H4)
SLICE = 16_384  # bytes fed at once: what is left over behind a gzip member is copied, and this bounds the copy
MEMBERS = 10_000  # gzip members or zstd frames in one body; 200,000 empty members are an attack (H2)
_ZSTD_WINDOW = 23  # log2 of 8 MiB, the most a decoder of the `zstd` coding need give (RFC 9659 §3)
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class _Stream(Protocol):
    """One member: ``step`` decodes a slice to at most ``room`` bytes; ``rest`` is what follows its end (``eof``)."""

    eof: bool
    rest: bytes

    def step(self, data: bytes, room: int) -> bytes: ...


class _Zlib:
    __slots__ = ("_inner", "eof", "rest")

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.eof, self.rest = False, b""

    def step(self, data: bytes, room: int) -> bytes:
        out = self._inner.decompress(data, room)
        self.eof, self.rest = self._inner.eof, self._inner.unused_data
        return out


class _Deflate:
    """Deflate as servers send it: with the zlib header of RFC 1950, or raw as RFC 1951. The first two bytes tell."""

    __slots__ = ("_head", "_inner", "eof", "rest")

    def __init__(self) -> None:
        self._head, self._inner = b"", None  # type: tuple[bytes, _Zlib | None]
        self.eof, self.rest = False, b""

    def step(self, data: bytes, room: int) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < 2:
                return b""
            wrapped = self._head[0] & 0x0F == 8 and int.from_bytes(self._head[:2], "big") % 31 == 0
            data, self._inner = self._head, _Zlib(15 if wrapped else -15)
        out = self._inner.step(data, room)
        self.eof, self.rest = self._inner.eof, self._inner.rest
        return out


class _Brotli:
    __slots__ = ("_inner", "eof", "rest")

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.eof, self.rest = False, b""

    def step(self, data: bytes, room: int) -> bytes:
        out = self._inner.process(data, output_buffer_limit=room)
        while len(out) < room and not self._inner.can_accept_more_data():
            out += self._inner.process(b"", output_buffer_limit=room - len(out))
        self.eof = self._inner.is_finished()
        return bytes(out[:room])  # brotli grows by blocks and oversteps its limit by up to 256 KiB


class _Zstd:
    __slots__ = ("_inner", "eof", "rest")

    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})
        self.eof, self.rest = False, b""

    def step(self, data: bytes, room: int) -> bytes:
        out = self._inner.decompress(data, room)
        self.eof, self.rest = self._inner.eof, self._inner.unused_data
        return out


class Decoder:
    """A streaming decoder of one coding.

    ``feed`` gives what a chunk decodes to, never more than ``room`` bytes; what would not fit is lost, so a caller
    whose room is used up stops there. ``broken``: the bytes are not what Content-Encoding says; what was decoded before
    stands and nothing more comes. ``finished`` is False while a member is incomplete: input that ends there was cut.
    What follows a complete member and is no further member is ignored.
    """

    __slots__ = ("_begin", "_done", "_held", "_magic", "_members", "_stream", "broken")

    def __init__(self, begin: Callable[[], _Stream], magic: bytes = b"") -> None:
        self._begin, self._magic = begin, magic
        self._stream: _Stream | None = None
        self._held = b""  # the first bytes of what may become another member
        self._members = 0
        self._done = False
        self.broken = False

    @property
    def finished(self) -> bool:
        """No member is open. True before the first byte as well: an empty body is whole under any coding."""
        return self._stream is None

    def feed(self, chunk: bytes, room: int) -> bytes:
        view, out = memoryview(chunk), bytearray()
        for start in range(0, len(view), SLICE):
            piece = bytes(view[start : start + SLICE])
            while piece and len(out) < room and not self._done:
                produced, piece = self._step(piece, room - len(out))
                out += produced
        return bytes(out)

    def _step(self, piece: bytes, room: int) -> tuple[bytes, bytes]:
        if self._stream is None and not self._open(self._held + piece):
            return b"", b""
        if self._held:
            piece, self._held = self._held + piece, b""
        stream = self._stream
        assert stream is not None
        try:
            out = stream.step(piece, room)
        except (zlib.error, brotli.error, zstd.ZstdError):
            self.broken = self._done = True
            return b"", b""
        if not stream.eof:
            return out, b""
        self._stream, rest = None, stream.rest
        return out, rest

    def _open(self, head: bytes) -> bool:
        """Begins a member if ``head`` starts one; holds it back while it is too short to tell."""
        if self._done:
            return False
        if self._members and (not self._magic or not self._magic.startswith(head[: len(self._magic)])):
            self._done, self._held = True, b""
            return False
        if self._members and len(head) < len(self._magic):
            self._held = head
            return False
        if self._members >= MEMBERS:
            self.broken = self._done = True
            return False
        self._members += 1
        self._stream = self._begin()
        return True


class Preview:
    """Whether a body will be longer than ``limit`` bytes, before it is: decoded beside it, for the decoder of the body
    cannot go back. Each chunk is decoded once."""

    __slots__ = ("_decoder", "_limit", "_seen", "_size")

    def __init__(self, beside: Decoder, limit: int) -> None:
        self._decoder, self._limit = Decoder(beside._begin, beside._magic), limit
        self._seen = self._size = 0

    def exceeds(self, chunks: Sequence[bytes]) -> bool:
        """``chunks``: the body so far and what comes next; each time all of them."""
        for chunk in chunks[self._seen :]:
            self._size += len(self._decoder.feed(chunk, self._limit + 1 - self._size))
        self._seen = len(chunks)
        return self._size > self._limit


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: Decoder(lambda: _Zlib(31), _GZIP_MAGIC),
    "x-gzip": lambda: Decoder(lambda: _Zlib(31), _GZIP_MAGIC),
    "deflate": lambda: Decoder(_Deflate),
    "br": lambda: Decoder(_Brotli),
    "zstd": lambda: Decoder(_Zstd, _ZSTD_MAGIC),
}


def codings(header: str) -> list[str]:
    """The codings of a Content-Encoding header, lower case, without `identity` (RFC 9110 §8.4)."""
    names = (name.strip().lower() for name in header.split(","))
    return [name for name in names if name and name != "identity"]


def decoder(encoding: str) -> Decoder | None:
    """A decoder for a Content-Encoding of exactly one known coding; None for several or an unknown one (H3)."""
    names = codings(encoding)
    begin = _DECODERS.get(names[0]) if len(names) == 1 else None
    return begin() if begin is not None else None
