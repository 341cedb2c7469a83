"""The crawl's short words in sentences for people: states, reasons of failures, reasons of refusals."""

from __future__ import annotations

from http import HTTPStatus

STATES = {
    "running": "It is still running: this page shows it as it was at one moment.",
    "complete": "It is complete: nothing was left to fetch.",
    "deferred": "It is done for now: what is left is due later, and crawler resume goes on with it.",
    "limit": "It stopped at a limit that was asked for.",
    "interrupted": "It was interrupted: crawler resume goes on with it.",
    "killed": "It was killed: crawler resume goes on with it, and nothing is lost.",
    "new": "It has not begun.",
}
FAILED = {
    "dns_nxdomain": "the host name does not exist",
    "dns_timeout": "the name server did not answer",
    "dns_failed": "the host name could not be looked up",
    "address_refused": "its address is private, and private networks are not crawled unless asked for",
    "port_refused": "the port is not one of the web's",
    "connect_refused": "the server refused the connection",
    "connect_timeout": "the server did not take the connection in time",
    "connect_failed": "no way to the server",
    "tls": "the connection cannot be made secure (certificate or protocol)",
    "reset": "the server closed the connection without an answer",
    "timeout": "the answer did not come in time",
    "slow": "the answer came too slowly",
    "protocol": "the answer was not HTTP",
    "proxy": "the proxy failed",
    "cut": "the answer broke off",
    "bad_redirect": "a redirect that leads to no usable address",
    "quarantined": "the crawl died twice with this page, so it was set aside",
}
SKIPPED = {
    "scope": "outside of what was to be crawled",
    "robots": "robots.txt forbids it",
    "depth": "more links away from the start than was asked for",
    "trap": "looks like a trap: addresses without end",
    "nofollow": "only links that ask not to be followed lead there",
    "limit": "a limit of pages or addresses was reached",
    "scheme": "not a web address (mailto:, tel: and the like)",
    "exclude": "excluded by a rule of this crawl",
    "include": "not among what this crawl was limited to",
    "redirects": "too many redirects in a row",
    "sitemaps": "only the sitemaps' addresses were asked for",
    "purged": "its host was removed from this file",
}
PARTLY = {
    "size": "longer than the limit; the rest was cut off",
    "time": "too slow; the rest was cut off",
    "cut": "the server broke off",
    "timeout": "took too long to read",
    "memory": "took too much memory to read",
    "crash": "crashed the parser",
}


def failed(reason: str | None, status: int | None = None) -> str:
    """Why there is no page, in words: of a status its own name."""
    if status is not None or (reason or "").startswith("http_"):
        return answered(status or int((reason or "")[5:]))
    return FAILED.get((reason or "").partition(":")[0], reason or "no answer")


def answered(status: int) -> str:
    """``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def skipped(reason: str | None) -> str:
    """Why a URL was left out."""
    return SKIPPED.get(reason or "", reason or "")


def partly(parse: str | None, truncated: str | None) -> str:
    """Why a page was not wholly read."""
    return "; ".join(PARTLY.get(word.partition(":")[0], word) for word in (truncated, parse) if word)


def addresses(n: int) -> str:
    """``1 address``, ``2,000 addresses``."""
    return f"{n:,} address{'' if n == 1 else 'es'}"


def size(n: float | None) -> str:
    """``834 B``, ``12 kB``, ``3.4 MB``, ``1.2 GB``."""
    n = n or 0
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if n >= factor:
            return f"{n / factor:.1f} {unit}"
    return f"{n / 1e3:.0f} kB" if n >= 1_000 else f"{n:.0f} B"
