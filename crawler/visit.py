"""The words of a crawl as values: a visit, what came of it, what a page holds, and what to try again.

What the web does to us is data of a closed type: an `Outcome` carries an answer or a `Fault`, never an exception. An
exception is our own bug and ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from storage.links import NO_LINKS, Link, Links
from storage.model import Before, Place, Role, record


class Kind(Enum):
    """What a visit is for. Robots and sitemap visits are ours: they count in `fetches` only."""

    PAGE = "page"
    ROBOTS = "robots"
    SITEMAP = "sitemap"


@dataclass(slots=True)
class Visit:
    """One URL handed to one worker. ``sent`` is called with the monotonic time (s) at which the headers went out."""

    url: str
    place: Place
    kind: Kind = Kind.PAGE
    id: int | None = None
    depth: int = 0
    attempts: int = 0  # that came before this one
    seed: bool = False
    hops: int = 0  # redirects in a row that led here
    headers: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()  # pinned: the addresses that were checked are the ones dialled
    sent: Callable[[float], None] | None = None
    sent_at: float | None = None
    handle: Any = None  # the workbench's own note of whose turn this is
    role: Role | None = None  # of a sitemap visit
    errand: Any = None  # of a robots visit: whose robots.txt this is, and how many redirects led here
    priority: int = 0  # as it was queued
    before: Before | None = None  # of a revisit; ``headers`` are then the conditions it is asked on

    @property
    def adds(self) -> bool:
        """Whether there may be a page more after it."""
        return self.kind is Kind.PAGE and (self.before is None or self.before.outcome != "page")


class Charge(Enum):
    """Who answers for a fault. Only host and URL are ever charged with an attempt."""

    LOCAL = "local"
    NETWORK = "network"
    HOST = "host"
    URL = "url"


class Fault(Enum):
    """Why a fetch got no answer. The value is the ``reason`` stored in the file."""

    DNS_NXDOMAIN = "dns_nxdomain"
    DNS_TIMEOUT = "dns_timeout"
    DNS_FAILED = "dns_failed"
    ADDRESS_REFUSED = "address_refused"  # private, loopback, metadata, ...: the address guard
    PORT_REFUSED = "port_refused"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    TLS = "tls"
    RESET = "reset"
    TIMEOUT = "timeout"  # the total deadline passed before any body byte
    SLOW = "slow"  # less than the minimum rate before any body byte
    PROTOCOL = "protocol"  # not HTTP as RFC 9112 has it
    PROXY = "proxy"
    LOCAL = "local"  # our descriptors, our disk, our memory
    OFFLINE = "offline"  # our own network is gone


@record
class Retry:
    """How often a fault is tried in all, after which waits (s; the last one repeats), and who is charged."""

    tries: int
    waits: tuple[float, ...]
    charge: Charge


_QUICK = (5.0, 30.0)
RETRY: Mapping[str, Retry] = {
    "dns_nxdomain": Retry(2, (3600.0,), Charge.HOST),
    "dns_timeout": Retry(3, (30.0, 300.0), Charge.HOST),
    "dns_failed": Retry(3, (30.0, 300.0), Charge.HOST),
    "address_refused": Retry(1, (), Charge.URL),
    "port_refused": Retry(1, (), Charge.URL),
    "connect_refused": Retry(3, _QUICK, Charge.HOST),
    "connect_timeout": Retry(3, (30.0, 300.0), Charge.HOST),
    "connect_failed": Retry(3, _QUICK, Charge.HOST),
    "tls": Retry(1, (), Charge.HOST),
    "reset": Retry(3, _QUICK, Charge.HOST),
    "timeout": Retry(3, (30.0, 300.0), Charge.HOST),
    "slow": Retry(2, (300.0,), Charge.URL),
    "protocol": Retry(2, (30.0,), Charge.URL),
    "proxy": Retry(3, (30.0,), Charge.LOCAL),
    "local": Retry(1_000_000, (1.0,), Charge.LOCAL),
    "offline": Retry(1_000_000, (1.0,), Charge.NETWORK),
    "cut": Retry(3, _QUICK, Charge.URL),
    "http_408": Retry(3, _QUICK, Charge.URL),
    "http_425": Retry(3, _QUICK, Charge.URL),
    "http_429": Retry(10, (30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 3600.0), Charge.HOST),
    "http_500": Retry(3, _QUICK, Charge.URL),
    "http_502": Retry(3, _QUICK, Charge.URL),
    "http_503": Retry(5, (30.0, 60.0, 120.0, 240.0), Charge.HOST),
    "http_504": Retry(3, _QUICK, Charge.URL),
}
"""The whole retry policy, by reason (FAULTS H, N). A reason that is not here is final at once."""


@record
class Outcome:
    """What a fetch came to.

    ``status`` is None when there was no answer; then ``fault`` says why. ``reason`` is "" for a 2xx or 3xx, ``http_404``
    for an error status, and the fault's value (``tls: certificate has expired``) otherwise. ``body`` is decoded;
    ``truncated`` is None, 'size' (a cap), 'time' (a deadline or the minimum rate) or 'cut' (the peer stopped early).
    ``location`` is the redirect's target as sent. Times: ``elapsed_ms`` from start to last byte, ``sent_at`` monotonic s.
    """

    url: str
    status: int | None = None
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    elapsed_ms: int = 0
    truncated: str | None = None
    location: str | None = None
    fault: Fault | None = None
    undecoded: str | None = None  # the Content-Encoding we did not undo; the body is as it came
    wire_size: int = 0
    sent_at: float | None = None
    address: str | None = None
    reused: bool = False
    latency: float | None = None  # s from the request to status and headers
    share: Any = None  # of the bytes that bodies may take in memory (fetch.budget); to be freed once this one is stored

    @property
    def ok(self) -> bool:
        """A 2xx answer (RFC 9110 §15.3)."""
        return self.status is not None and 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """All values of a header joined by ", " (RFC 9110 §5.3), or None."""
        name = name.lower()
        values = [v for k, v in self.headers if k.lower() == name]
        return ", ".join(values) if values else None


FOLLOWED = frozenset(
    {"a", "area", "frame", "iframe", "redirect", "refresh", "next", "prev", "alternate", "canonical", "seed", "sitemap"}
)
"""Link kinds that are followed (CONTRACT §2); the others are edges only."""
REQUISITES = frozenset(
    """stylesheet css script img icon apple-touch-icon mask-icon manifest source video audio track embed object
    modulepreload""".split()  # noqa: SIM905
)
"""Kinds of what a page is shown with, followed when `requisites` is set."""


@record
class Extract:
    """What parsing found in a body, with the body itself digested and packed for storing.

    ``parse`` is None when all went well, else 'timeout', 'crash', 'memory', 'skipped: …' or 'error: …'. ``robots`` holds
    the directives of meta robots and X-Robots-Tag that concern us, lower case ('nofollow', 'noindex', ...).
    """

    links: Links = NO_LINKS
    title: str | None = None
    charset: str | None = None
    base: str | None = None
    canonical: str | None = None
    lang: str | None = None
    mime: str | None = None
    robots: frozenset[str] = frozenset()
    data: Mapping[str, Any] = field(default_factory=dict)
    parse: str | None = None
    dropped: int = 0  # links that were no URL, or longer than 4,096 characters
    truncated: str | None = None  # 'links' (more than 10,000) or 'html' (beyond the first 5 MiB)
    digest: bytes = b""
    size: int = 0
    codec: str = "raw"
    packed: bytes = b""


@record
class Page:
    """A stored page as `crawler.crawl` yields it, after its commit."""

    url: str
    status: int
    title: str | None
    mime: str | None
    charset: str | None
    depth: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    links: Sequence[Link]
    digest: str
    elapsed_ms: int
    truncated: str | None
    parse: str | None
    data: Mapping[str, Any]
