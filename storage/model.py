"""Records that cross the boundary between a crawl and its store.

Plain values: times are Unix milliseconds (UTC), durations are milliseconds, URLs are split into origin and path so that
a store can keep each origin once. ``origin + path`` is the canonical URL, always. What comes sixty times a page is a
named tuple: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, dataclass_transform

JsonObject = Mapping[str, Any]
T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A value. Only mypy keeps it frozen: at run time that takes 2 to 3 µs for 16 fields. How values are compared, hashed and
    shown is said once: what `dataclass` generates for each class by itself is 1 ms of every start."""
    cls.__eq__, cls.__hash__, cls.__repr__ = _same, _hash, _shown  # type: ignore[assignment, method-assign]
    return dataclass(slots=True, eq=False, repr=False)(cls)


def _values(one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in one.__dataclass_fields__)


def _same(one: Any, other: Any) -> Any:
    return _values(one) == _values(other) if one.__class__ is other.__class__ else NotImplemented


def _hash(one: Any) -> int:
    return hash(_values(one))


def _shown(one: Any) -> str:
    told = ", ".join(f"{name}={value!r}" for name, value in zip(one.__dataclass_fields__, _values(one), strict=True))
    return f"{one.__class__.__name__}({told})"


class Place(NamedTuple):
    """A URL, split: ``origin`` is scheme://host[:port] (or ``mailto:`` and the like), ``host`` the bare host name."""

    origin: str
    host: str
    path: str

    @property
    def url(self) -> str:
        return self.origin + self.path


@record
class Role:
    """What a URL is when it is no page: a sitemap, ``level`` indexes deep, that may speak for ``hosts`` besides its own.

    Kept as text: 'sitemap 0 www.example.org'. Of two mentions both hold (`merged`), so their order is no matter.
    """

    level: int = 0
    hosts: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return " ".join(("sitemap", str(self.level), *sorted(self.hosts)))

    @classmethod
    def of(cls, text: str) -> Role:
        _, level, *hosts = text.split(" ")
        return cls(int(level), frozenset(hosts))

    def merged(self, other: Role) -> Role:
        return Role(min(self.level, other.level), self.hosts | other.hosts)


@record
class Before:
    """What a URL that is to be asked again was before: its outcome, the SHA-256 of its body, and the headers stored of its
    answer (JSON, as `FetchRow.headers`; None: it is to be asked without conditions)."""

    outcome: str
    digest: bytes | None = None
    headers: str | None = None


@record
class Queued:
    """A URL of the frontier: what a visit needs to know. ``due_at`` already counts the origin's robots.txt retry."""

    id: int
    host_id: int
    place: Place
    depth: int
    priority: int
    attempts: int
    due_at: int
    seed: bool = False
    hops: int = 0  # redirects in a row that led here
    role: Role | None = None
    before: Before | None = None  # of a revisit

    @property
    def adds(self) -> bool:
        """Whether there may be a page more after its visit."""
        return self.before is None or self.before.outcome not in ("page", "sitemap")


@record
class OriginRow:
    """What is known of an origin's robots.txt. ``status``: 'ok', 'absent' (4xx), 'unreachable' or None (never asked)."""

    origin: str
    status: str | None = None
    body: bytes | None = None
    until: int = 0  # fresh until (ok, absent), or not to be asked again before (unreachable)
    failures: int = 0  # consecutive, for the back-off


@record
class HostRow:
    """A host as stored: its politeness clock, its block, its counters, its origins. ``id`` 0: not stored yet."""

    id: int
    name: str
    next_fetch_at: int = 0
    blocked_until: int = 0
    delay: int | None = None  # as last used
    crawl_delay: int | None = None  # from robots.txt
    failures: int = 0  # consecutive requests without an answer
    pages: int = 0
    latency: int = 0  # to the head of an answer, smoothed
    slowed: int = 0  # the delay that a storm of server errors has led to
    throttled: int = 0  # consecutive 429 or 503
    trouble: str | None = None  # what is wrong with it, in words
    origins: tuple[OriginRow, ...] = ()


@record
class HostBudget:
    """The budget of one host's own: ``urls`` in place of what holds for its like (None: that; 0: no limit), and so many below
    each of ``paths``. ``where``: the name of the setting."""

    where: str
    urls: int | None = None
    paths: tuple[tuple[str, int], ...] = ()


@record
class Budgets:
    """How much a store admits before it calls a thing a trap."""

    redirects: int = 10  # in a row; the target of one more is refused (FAULTS U4)
    host: int = 1_000_000  # URLs of a seed's host (T1, T5); this and the following: 0 is no limit
    other_host: int = 50_000  # of any other
    query: int = 50_000  # URLs of one path with the same set of query keys, on a seed's host
    other_query: int = 1_000  # on any other
    special: Callable[[str], HostBudget | None] | None = None  # by a host's name; None: no host has one


BUDGETS = Budgets()


class LinkRow(NamedTuple):
    """One edge of a settled page and the verdict on its target.

    ``step``: what the edge adds to the depth (1 a link, 0 a redirect; None: not to be followed).
    ``admit``: the target belongs to the crawl. ``reason``/``detail``: why not; both None for an edge that only records.
    """

    target: Place
    kind: str
    rel: str | None = None
    text: str | None = None
    step: int | None = None
    admit: bool = False
    reason: str | None = None
    detail: str | None = None
    seed: bool = False  # a seed's redirect inside its registrable domain becomes a seed
    role: Role | None = None  # the target is a sitemap; said by the settlements of robots.txt files and sitemaps only


@record
class BodyRow:
    """A body, content-addressed: SHA-256 of what was decoded, and how ``data`` is packed ('raw' or 'zstd')."""

    digest: bytes
    size: int
    codec: str
    data: bytes


@record
class FetchRow:
    """One attempt. ``outcome``: 'page', 'redirect', 'failure', 'robots', 'sitemap', or 'unmodified' (304). Metadata columns
    are for pages."""

    at: int
    outcome: str
    reason: str | None = None
    status: int | None = None
    elapsed_ms: int = 0
    attempt: int = 1
    wire_size: int = 0
    truncated: str | None = None
    mime: str | None = None
    charset: str | None = None
    title: str | None = None
    robots: str | None = None
    parse: str | None = None
    headers: str | None = None  # JSON: [[name, value], ...], allow-listed
    data: str | None = None  # JSON object: what parsing and the user's extractor found
    address: str | None = None


@dataclass(slots=True)
class Settlement:
    """Everything that changes when one visit ends. It is committed whole or not at all.

    ``url_id`` is None for our own robots.txt visits, whose URL is ``place``. ``due_at`` None: settled; otherwise the URL
    stays queued until then. ``outcome``/``reason``/``detail`` become the URL's; outcome None leaves them as they are.
    Not frozen, for the frontier adds the clocks: a copy with them takes 6 µs.
    """

    place: Place
    url_id: int | None = None
    depth: int = 0
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None
    due_at: int | None = None
    attempts: int = 0
    fetch: FetchRow | None = None
    body: BodyRow | None = None
    links: Sequence[LinkRow] = ()  # of a page: `storage.links.Judged`
    host: HostRow | None = None  # clock, block and standing as they are now; counters are the store's
    origins: tuple[OriginRow, ...] = ()
    address: tuple[str, int] | None = None  # (address group, next_fetch_at)
    hops: int = 0  # of the visit, as `Queued` said
    role: Role | None = None  # as which it was visited
    page: LinkRow | None = None  # no sitemap was found: the word on it as a page, should it be wanted as one
    priority: int | None = None  # the URL's from now on; None: as it was
    before: Before | None = None  # of a revisit, as `Queued` said

    @property
    def gain(self) -> int:
        """How many pages more there are by it: 1, 0, or -1 when one is gone."""
        if self.before is None or self.outcome is None or self.role is not None:
            return int(self.outcome == "page")
        return (self.outcome == "page") - (self.before.outcome == "page")

    @property
    def same(self) -> bool:
        """Whether a revisit found the body that was there before."""
        return self.before is not None and self.body is not None and self.body.digest == self.before.digest


@record
class Tally:
    """Counters of a run; written with each commit, so another process can read them while the crawl goes on."""

    requests: int = 0
    connections: int = 0
    reused: int = 0
    bytes: int = 0
    progress: JsonObject = field(default_factory=dict)


@record
class Counts:
    """What the whole crawl has come to."""

    pages: int = 0
    redirects: int = 0
    failures: int = 0
    skipped: int = 0
    queued: int = 0
    hosts: int = 0
    slowest_ms: int = 0  # what the host with the longest queue needs at its delay


@record
class Pending:
    """What still waits: how many URLs, the first instant at which one of them may be tried (None: nothing waits), and
    whether all of them are revisits that are yet to fall due."""

    queued: int
    next_at: int | None
    revisits: bool = False


@record
class Begun:
    """What `Store.begin` found. ``resumed``: the file held a crawl before. ``answered``: some server did, in an earlier
    run. ``rescope``: a seed has joined since the refusals were judged. ``excluded``: hosts that were purged from the file.
    ``deaths``: unclean ends in a row with no commit between them, of which the last was alone with a URL (`Store.alone`)
    if ``died_alone``. ``suspects``: queued URLs that two unclean ends were alone with."""

    run: int
    resumed: bool
    counts: Counts
    seeds: tuple[Place, ...]
    addresses: Mapping[str, int]
    answered: bool = False
    rescope: bool = False
    excluded: tuple[str, ...] = ()
    deaths: int = 0
    died_alone: bool = False
    suspects: tuple[Queued, ...] = ()
    newcomers: Mapping[str, int] = field(default_factory=dict)  # hosts first asked within an hour, and when
