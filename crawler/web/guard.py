"""Who may ask, and what every answer carries: other websites in the same browser are strangers (decision 0030)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form of ours would name no origin
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""No script but ours, nothing from elsewhere, nobody's frame, nothing kept."""


def is_loopback(host: str) -> bool:
    """The name or address means this machine and cannot be reached from another."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def authorities(host: str, port: int) -> frozenset[str]:
    """What the Host header of a request to us says. Another name that leads here is DNS rebinding."""
    names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def refusal(method: str, headers: Mapping[str, str], ours: frozenset[str]) -> tuple[int, str] | None:
    """Status and sentence for a request that is not let in; None: it is.

    A link from elsewhere may lead here; anything else that another site has the browser send may not (Fetch Metadata).
    """
    if headers.get("Host", "").lower() not in ours:
        return 421, "This view is asked for by its address on this machine only: the Host header names another."
    if method not in ("GET", "HEAD", "POST"):
        return 405, "This view is only read."
    navigates = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    foreign = headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    if foreign and not (navigates and method == "GET"):
        return 403, "Another site may lead here by a link, and do nothing else."
    origin = headers.get("Origin")
    if method == "POST" and origin is not None and origin.lower().removeprefix("http://") not in ours:
        return 403, "Another site may not send this."
    return None
