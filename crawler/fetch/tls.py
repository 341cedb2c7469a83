"""The system's certificate authorities, loaded when a connection needs them and not before.

aiohttp makes two TLS contexts when it is imported, authorities and all: 55 ms of the 0.4 s until the first request, and
of no use to a crawl of plain http.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_load = ssl.SSLContext.set_default_verify_paths


class _Late(ssl.SSLContext):
    """A context whose authorities are still to be loaded. It trusts nobody until then."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        self._ready()
        return self.wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self._ready()
        return self.wrap_socket(*args, **options)

    def _ready(self) -> None:
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]
        _load(self)


@contextmanager
def late_authorities() -> Iterator[None]:
    """Contexts that ask for the system's authorities meanwhile get them with their first use."""

    def later(context: ssl.SSLContext) -> None:
        if type(context) is ssl.SSLContext:
            context.__class__ = _Late
        else:
            _load(context)

    ssl.SSLContext.set_default_verify_paths = later  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = _load  # type: ignore[method-assign]
