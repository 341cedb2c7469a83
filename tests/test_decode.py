"""Bounded content decoding (FAULTS H1-H4)."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.fetch.decode import ACCEPT_ENCODING, MEMBERS, decoder, zstd


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    "deflate": zlib.compress,
    "DEFLATE": _raw_deflate,
    "br": brotli.compress,
    "zstd": lambda data: zstd.compress(data[:7]) + zstd.compress(data[7:]),
}
ROOM = 1 << 20


def _decode(encoding: str, wire: bytes, step: int = 1 << 16, room: int = ROOM) -> tuple[bytes, bool, bool]:
    found, out = decoder(encoding), b""
    assert found is not None
    for start in range(0, len(wire), step):
        out += found.feed(wire[start:start + step], room - len(out))
        assert len(out) <= room
    return out, found.finished, found.broken


@pytest.mark.parametrize("encoding", ENCODERS)
@given(data=st.binary(max_size=3000), step=st.integers(1, 400), times=st.integers(1, 40))
def test_any_chunking_of_any_encoding_decodes(encoding: str, data: bytes, step: int, times: int) -> None:
    """However the bytes are cut on the wire, they decode to what was encoded, and the end is seen."""
    assert _decode(encoding, ENCODERS[encoding](data * times), step) == (data * times, True, False)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_cut_stream_keeps_what_was_decoded(encoding: str) -> None:
    """Input that ends early is not finished, and what came before is a prefix of the whole."""
    data = b"".join(b"%d " % n for n in range(3000))
    wire = ENCODERS[encoding](data)
    for end in (1, len(wire) // 2, len(wire) - 1):
        out, finished, broken = _decode(encoding, wire[:end])
        assert data.startswith(out)
        assert not finished
        assert not broken


@pytest.mark.parametrize("encoding", ENCODERS)
def test_h1_a_bomb_stays_within_its_room(encoding: str) -> None:
    """32 MiB of zeros never give more than the room, nor take more memory than a few times the room."""
    wire = ENCODERS[encoding](bytes(32 << 20))
    tracemalloc.start()
    try:
        out, finished, _ = _decode(encoding, wire, room=100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out == bytes(100_000)
    assert not finished
    assert peak < 4 << 20


def test_h2_many_empty_gzip_members_cost_little() -> None:
    """200,000 empty gzip members are given up on within 0.5 s of CPU; ten thousand members still decode."""
    member = gzip.compress(b"")
    began = time.process_time()
    out, _, broken = _decode("gzip", member * 200_000)
    assert time.process_time() - began < 0.5
    assert (out, broken) == (b"", True)
    assert _decode("gzip", gzip.compress(b"ab") * MEMBERS) == (b"ab" * MEMBERS, True, False)


@pytest.mark.parametrize("name", ["gzip, gzip", "gzip, br", "compress", "utf-8", "", "identity"])
def test_h3_no_decoder_for_several_or_unknown_codings(name: str) -> None:
    """Chained and unknown codings are not undone."""
    assert decoder(name) is None


@pytest.mark.parametrize("name", ["gzip", " GZIP ", "x-gzip", "identity, br", "deflate", "zstd"])
def test_one_known_coding_has_a_decoder(name: str) -> None:
    """Names are case-insensitive, and `identity` counts for nothing."""
    assert decoder(name) is not None


def test_h4_only_what_is_bounded_is_advertised() -> None:
    """Every coding of Accept-Encoding has a decoder here."""
    assert all(decoder(name) is not None for name in ACCEPT_ENCODING.split(","))


@pytest.mark.parametrize("garbage", [b"\0" * 512, b"<!-- served in 0.1 s -->", b"\x1f", b"\x1f\x8b"])
@pytest.mark.parametrize("step", [1, 1 << 16])
def test_garbage_behind_a_member_is_ignored(garbage: bytes, step: int) -> None:
    """What follows a whole gzip member and is none itself neither harms nor shows."""
    assert _decode("gzip", gzip.compress(b"page") + garbage, step) == (b"page", True, False)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_plain_text_under_a_false_coding_is_broken(encoding: str) -> None:
    """Bytes that are not what the header says are reported, not raised."""
    out, _, broken = _decode(encoding, b"<html><p>never compressed</p></html>")
    assert (out, broken) == (b"", True)


def test_an_error_in_the_middle_keeps_what_came_before() -> None:
    """A stream that goes bad gives what it held until then."""
    packer = zlib.compressobj(wbits=31)
    good = packer.compress(b"good " * 1000) + packer.flush(zlib.Z_FULL_FLUSH)
    out, finished, broken = _decode("gzip", good + b"\xff" * 50, step=len(good))
    assert out == b"good " * 1000
    assert broken
    assert not finished


def test_zstd_windows_beyond_8_mib_are_refused() -> None:
    """A frame that asks for a larger window than RFC 9659 allows is not decoded."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    wire = packer.compress(bytes(1000)) + packer.flush()
    assert _decode("zstd", wire)[2]


def test_an_empty_body_is_whole() -> None:
    """No bytes at all under a coding are an empty body."""
    assert _decode("br", b"") == (b"", True, False)
