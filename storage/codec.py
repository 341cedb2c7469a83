"""How bodies are packed in the file: 'raw' or 'zstd'."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


UNREADABLE = (ValueError, zstd.ZstdError)  # what `unpack` may raise of a damaged body


def unpack(codec: str, data: bytes) -> bytes:
    """The decoded body. Raises ValueError for a codec this version does not know."""
    if codec == "raw":
        return data
    if codec == "zstd":
        return zstd.decompress(data)
    raise ValueError(f"unknown body codec {codec!r}; this file needs a newer poolcrawl")
