"""The system's certificate authorities, loaded when a connection needs them and not before.

aiohttp makes its TLS context when it is imported, authorities and all: 55 ms of the 0.4 s until the first request,
and of no use to a crawl of plain http.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Late(ssl.SSLContext):
    """A context whose authorities are still to be loaded. It trusts nobody until then."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        self._load()
        return self.wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self._load()
        return self.wrap_socket(*args, **options)

    def _load(self) -> None:
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]
        self.load_default_certs()


@contextmanager
def late_authorities() -> Iterator[None]:
    """What asks for the system's authorities meanwhile (a context that checks servers) gets them with its first use."""
    load = ssl.SSLContext.load_default_certs

    def later(context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        if type(context) is ssl.SSLContext and purpose is ssl.Purpose.SERVER_AUTH:
            context.__class__ = _Late
        else:
            load(context, purpose)

    ssl.SSLContext.load_default_certs = later  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs = load  # type: ignore[method-assign]
