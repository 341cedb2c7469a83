"""The one seam at which exceptions of aiohttp, ssl and the system become faults."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from crawler.visit import Fault

LOCAL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Our own descriptors, buffers, memory or ports ran out (X1): never charged to a host."""

WEB: tuple[type[Exception], ...] = (aiohttp.ClientError, HttpProcessingError, aiohttp.EofStream, OSError)
"""What a fetch may raise because of the web or the system; everything else is a bug. TimeoutError is an OSError."""

_BY_ERRNO: Mapping[int, Fault] = {
    **dict.fromkeys(LOCAL_ERRNOS, Fault.LOCAL),
    errno.ECONNREFUSED: Fault.CONNECT_REFUSED,
    errno.ETIMEDOUT: Fault.CONNECT_TIMEOUT,
    errno.ECONNRESET: Fault.RESET,
    errno.EPIPE: Fault.RESET,
    errno.ECONNABORTED: Fault.RESET,
    errno.ENETUNREACH: Fault.OFFLINE,
    errno.ENETDOWN: Fault.OFFLINE,
    errno.EHOSTUNREACH: Fault.CONNECT_FAILED,
}

# In order: the first class that fits decides. Connector errors that carry an errno are decided by it before.
_BY_TYPE: tuple[tuple[type[BaseException], Fault], ...] = (
    (aiohttp.ClientProxyConnectionError, Fault.PROXY),
    (aiohttp.ClientHttpProxyError, Fault.PROXY),
    (aiohttp.ClientConnectorCertificateError, Fault.TLS),
    (aiohttp.ClientSSLError, Fault.TLS),
    (ssl.SSLError, Fault.TLS),
    (aiohttp.ClientConnectorDNSError, Fault.DNS_FAILED),
    (aiohttp.ConnectionTimeoutError, Fault.CONNECT_TIMEOUT),
    (aiohttp.ServerDisconnectedError, Fault.RESET),
    (ConnectionError, Fault.RESET),
    (aiohttp.ClientConnectorError, Fault.CONNECT_FAILED),
    (aiohttp.ClientOSError, Fault.RESET),
    (aiohttp.EofStream, Fault.RESET),
    (TimeoutError, Fault.TIMEOUT),
    (aiohttp.ClientError, Fault.PROTOCOL),
    (HttpProcessingError, Fault.PROTOCOL),
    (OSError, Fault.CONNECT_FAILED),
)
_BY_ERRNO_ALONE = (Fault.LOCAL, Fault.OFFLINE)


def fault_of(error: BaseException, *, proxied: bool = False, ipv4: bool = True) -> tuple[Fault, str]:
    """The fault an exception of `WEB` stands for, and a short text.

    ``proxied``: a proxy's name that does not resolve is the proxy's fault. ``ipv4``: an IPv4 address was dialled;
    without one, "network unreachable" only means that we have no IPv6, and the host is charged, not the network (N7).
    """
    fault = _by_errno(error) or next(found for kind, found in _BY_TYPE if isinstance(error, kind))
    if fault is Fault.OFFLINE and not ipv4:
        fault = Fault.CONNECT_FAILED
    if proxied and isinstance(error, aiohttp.ClientConnectorError) and fault not in _BY_ERRNO_ALONE:
        fault = Fault.PROXY
    return fault, _text(error)


def _by_errno(error: BaseException) -> Fault | None:
    system = getattr(error, "os_error", error)
    if isinstance(system, ssl.SSLError) or not isinstance(system, OSError):
        return None
    fault = _BY_ERRNO.get(system.errno or 0)
    if isinstance(error, aiohttp.ClientProxyConnectionError) and fault not in _BY_ERRNO_ALONE:
        return None
    if fault is None and isinstance(system, ConnectionError) and isinstance(error, aiohttp.ClientConnectorError):
        return Fault.RESET  # asyncio raises it without a number when the peer leaves during the TLS handshake
    return fault


def _text(error: BaseException) -> str:
    """One line, at most 200 characters, free of addresses in memory and of control characters."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLError):  # a verification error says it best; reason is like WRONG_VERSION_NUMBER
        text = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "handshake failed"
        text = text.replace("_", " ").lower() if text.isupper() else text
    else:
        text = getattr(cause, "strerror", None) or getattr(cause, "message", None) or str(cause)
    text = str(text).partition("\n\n  b'")[0]  # behind it llhttp quotes what it stumbled over
    return re.sub(r"[^\x21-\x7e]+", " ", text)[:200].strip() or type(error).__name__
