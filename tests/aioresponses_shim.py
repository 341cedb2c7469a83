"""aioresponses 0.7.9 does not know aiohttp 3.14 (pnuckowski/aioresponses#289, open): what it leaves out, put in.

Import it before `aioresponses` is used. It does nothing once aioresponses brings a response class of its own.
"""

from __future__ import annotations

import inspect
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core as core

_WANTED = "stream_writer"


class _Response(aiohttp.ClientResponse):
    """3.14 asks each response for the writer of its request; a mocked one has none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{_WANTED: Mock(output_size=0), **kwargs})


def _mend() -> None:
    make_stream = core.stream_reader_factory

    def stream(loop: Any = None) -> Any:
        reader = make_stream(loop)
        # Beyond 64 KiB the reader pauses its protocol, which asserts a parser since 3.14 (aioresponses PR 292).
        reader._protocol._parser = Mock(**{"feed_data.return_value": ((), False, b"")})
        return reader

    core.ClientResponse, core.stream_reader_factory = _Response, stream


if core.ClientResponse is aiohttp.ClientResponse and _WANTED in inspect.signature(aiohttp.ClientResponse).parameters:
    _mend()
