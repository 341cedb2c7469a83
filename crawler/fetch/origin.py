"""What all requests to one origin have in common: how aiohttp's connector is asked for a connection, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import yarl

from crawler.fetch.headers import merged


class Origin:
    """One scheme, host and port. ValueError when the text is none.

    ``request`` is what `TCPConnector.connect` wants: it is never sent itself, so one serves every request to the origin.
    aiohttp makes its headers, Host and a proxy's credentials among them; ``headers`` are ours. A proxy that is asked for
    a tunnel gets ``shown``.
    """

    __slots__ = ("_lines", "_prefix", "host", "port", "request")

    def __init__(self, origin: str, headers: Mapping[str, str], shown: Mapping[str, str], proxy: str | None) -> None:
        url = yarl.URL(origin + "/", encoded=True)
        self.host, self.port = url.raw_host or "", url.port or 0
        if not self.host:
            raise ValueError(f"{origin!r} names no host")
        self.request = aiohttp.ClientRequest("GET", url, headers=headers)
        if proxy is not None:
            # Host is there from the start: aiohttp would put it there, and a connection is known by these headers too.
            self.request.update_proxy(yarl.URL(proxy), None, {**shown, "Host": self.request.headers["Host"]})
        self._prefix = "GET " if proxy is None or self.request.is_ssl() else f"GET {origin}"  # RFC 9112 §3.2
        self._lines: str | None = None

    def line(self, path: str) -> str:
        """The request line. ValueError when the path holds what none may hold."""
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise ValueError("it holds what no request line may hold")
        return f"{self._prefix}{path} HTTP/1.1\r\n"

    def lines(self, headers: Mapping[str, str]) -> str:
        """The header of a request, once there is a connection: a proxy's credentials come with the first."""
        if headers:
            return _lines(merged(self.request.headers, headers))
        if self._lines is None:
            self._lines = _lines(self.request.headers)
        return self._lines


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) + "\r\n"
