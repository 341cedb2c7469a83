"""CrawlSpec: every setting of a crawl, with its unit, default and price. TOML in, JSON stored with the run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from crawler import extraction
from crawler.hosts import SETTINGS, Hosts, Table
from crawler.revisit import policy
from crawler.settings import BadSpec, typed
from crawler.text import anonymous, discreet, near_miss
from storage.model import Budgets

__all__ = ["BadSpec", "CrawlSpec", "from_mapping", "from_toml"]

VERSION = "0.1.0"
TOKEN = "poolcrawl"  # noqa: S105 - the product token robots.txt files name (RFC 9309 §2.2.1)
SITEMAPS = ("follow", "only", "ignore")
BUDGET_SETTINGS = ("host_budget", "other_host_budget", "query_budget", "other_query_budget")
SCOPES = ("page", "prefix", "host", "domain", "any")
FOREVER = 1_000_000_000  # s: 31 years; what is longer no clock and no column of the file holds
UNSTORED = ("header", "proxy")  # settings whose values the file does not hold in full


def _setting(default: Any, unit: str, text: str) -> Any:
    meta = {"unit": unit, "help": text}
    if isinstance(default, tuple | dict):
        return field(default_factory=lambda: default, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlSpec:
    """All that decides what a crawl does. Names are those of the command line's options, with underscores."""

    seeds: tuple[str, ...] = _setting((), "URLs", "where the crawl starts")
    contact: str | None = _setting(None, "URL or mail", "who answers for this crawl; sent in the user agent")
    user_agent: str | None = _setting(None, "text", "replaces the whole User-Agent; the contact is still required")
    scope: str = _setting("host", "|".join(SCOPES), "which links belong to the crawl")
    include: tuple[str, ...] = _setting((), "regex", "admit only URLs that match one of these (re.search)")
    exclude: tuple[str, ...] = _setting((), "regex", "refuse URLs that match one of these (re.search)")
    exclude_file: str | None = _setting(
        None, "file", "hosts, domains (*.example.org) and networks never to be asked; read again when it changes"
    )
    exclude_host: tuple[str, ...] = _setting((), "host", "one of them: www.example.org, *.example.org or 192.0.2.0/24")
    requisites: bool = _setting(
        False,
        "flag",
        "also fetch what pages are shown with: style sheets, images, scripts, fonts, media; each is a page one link deeper",
    )
    max_depth: int | None = _setting(None, "links", "least number of links from a seed")
    max_pages: int | None = _setting(None, "pages", "rows in `pages` over the whole crawl, never exceeded")
    max_pages_per_host: int | None = _setting(None, "pages", "the same for each host; the rest is skipped as `limit`")
    host_budget: int = _setting(
        1_000_000, "URLs", "admitted on a seed's host; the rest is skipped as `limit`; 0: no limit"
    )
    other_host_budget: int = _setting(50_000, "URLs", "the same on any other host")
    query_budget: int = _setting(
        50_000,
        "URLs",
        "of one path with the same query keys, on a seed's host; the rest is skipped as `trap`; 0: no limit",
    )
    other_query_budget: int = _setting(1_000, "URLs", "the same on any other host")
    new_hosts_per_hour: int = _setting(100, "hosts", "of one registrable domain, seeds' hosts apart; 0: no limit")
    max_time: float | None = _setting(None, "s", "ends a run after this long")
    revisit: str = _setting(
        "never",
        "time",
        "when a URL is due again: 7d; 6h..30d (twice as long after no change, half as long after one); adaptive (1d..32d); never",
    )
    delay: float = _setting(1.0, "s", "between two requests to a host; a longer Crawl-delay holds")
    host_delay: tuple[str, ...] = _setting((), "HOST=S", "the delay of one host, instead of the one for all")
    adaptive: float = _setting(
        2.0, "times", "the host's usual time to answer, at least, between two requests to it, 30 s at most; 0 turns it off"
    )
    per_host: int = _setting(1, "connections", "open at once to one host")
    per_ip: int | None = _setting(None, "connections", "open at once to one address; default max(2, per-host)")
    ip_delay: float | None = _setting(None, "s", "between two requests to one address; default delay / 2")
    connections: int = _setting(100, "connections", "the pool's limit; each costs a descriptor and about 50 kB")
    workers: int | None = _setting(None, "tasks", "visits in hand at once; default connections + 32")
    robots: str = _setting("obey", "obey|ignore", "ignore only where you own the site")
    sitemaps: str = _setting(
        "follow",
        "follow|only|ignore",
        "those that robots.txt names; only: no links of pages are followed, so the crawl is the seeds and what sitemaps list",
    )
    respect_ai_optout: bool = _setting(
        False, "flag", "do not store bodies that are reserved from AI use (noai, TDM reservation, Content-Usage, -Signal)"
    )
    patience: float = _setting(60.0, "s", "a run waits this long for what is due later, then ends")
    min_free: int | None = _setting(
        None,
        "bytes",
        "pause when the disk has less free; default 512 MiB, or twice the write-ahead log if that is more",
    )
    timeout: float = _setting(60.0, "s", "for one request, all in")
    max_body: int = _setting(10 * 2**20, "bytes", "of a body, decoded and on the wire; the rest is cut and flagged")
    max_rate: float | None = _setting(None, "pages/s", "over the whole crawl")
    allow_private: tuple[str, ...] = _setting((), "CIDR", "addresses that are not public but may be fetched")
    parse_workers: int | None = _setting(
        None, "processes", "default: one a core, at least 2; 0 parses inline (no limits)"
    )
    header: tuple[str, ...] = _setting((), "'K: V'", "sent to the seeds' origins only")
    proxy: str | None = _setting(None, "URL", "HTTP proxy for everything; it hides addresses from the address guard")
    host: Mapping[str, Any] = _setting(
        {}, "table", "settings of single hosts, in a spec file: [host.\"www.example.org\"] or [host.\"*.example.org\"]"
    )
    extract: Mapping[str, Any] = _setting(
        {}, "NAME=SELECTOR", "a field for `data`, such as price='span.price::text'; NAME[]= for a list of all matches"
    )
    data: tuple[str, ...] = _setting(
        (), "|".join(extraction.GROUPS), "more for `data`; metadata: OpenGraph, Twitter, JSON-LD, headings (0.15 ms a page)"
    )
    extractor: str | None = _setting(
        None, "module:function", "your own function(tree, url) -> dict, run in the parse workers"
    )

    def __post_init__(self) -> None:
        for name, problem in self._problems():
            raise BadSpec(f"{name.replace('_', '-')}: {problem}")
        if self.host:
            for table in Hosts(self.host).tables.values():
                self._check(table)

    def _check(self, table: Table) -> None:
        """A host's settings are held to the rules of the spec's. Raises BadSpec."""
        try:
            there = replace(self, host={}, **table.settings)
        except BadSpec as error:
            name, _, problem = str(error).partition(": ")
            key = next(key for key, (option, _) in SETTINGS.items() if option == name.replace("-", "_"))
            raise BadSpec(f"{table.where}.{key}: {problem}") from None
        if there.per_host > self.address_limit:
            most = f"per-ip allows {self.address_limit} to one address; set that as well"
            raise BadSpec(f"{table.where}.connections: {there.per_host}, and {most}")
        if there.delay < self.address_delay:
            least = f"ip-delay keeps {self.address_delay:g} s between two requests to one address; set that as well"
            raise BadSpec(f"{table.where}.delay: {there.delay:g} s, and {least}")

    def _problems(self) -> list[tuple[str, str]]:
        return self._out_of_range() + self._ill_formed() + list(extraction.problems(self.extract))

    def _out_of_range(self) -> list[tuple[str, str]]:
        found = [
            (n, f"must be one of {', '.join(c)}, not {getattr(self, n)!r}")
            for n, c in (("scope", SCOPES), ("robots", ("obey", "ignore")), ("sitemaps", SITEMAPS))
            if getattr(self, n) not in c
        ]
        groups = extraction.GROUPS
        found += [("data", f"must be of {', '.join(groups)}, not {g!r}") for g in self.data if g not in groups]
        if (self.robots, self.sitemaps) == ("ignore", "only"):
            found.append(("sitemaps", "robots.txt names them, so --sitemaps only needs --robots obey"))
        for name in ("per_host", "per_ip", "connections", "workers", "max_pages", "max_pages_per_host"):
            value = getattr(self, name)
            if value is not None and value < 1:
                found.append((name, f"must be at least 1, not {value}"))
        for name in ("delay", "adaptive", "ip_delay", "patience", "max_depth", "min_free", "parse_workers", "max_time"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                found.append((name, f"must be 0 or more, not {value}"))
        counts = (*BUDGET_SETTINGS, "new_hosts_per_hour")
        found += [(n, f"must be 0 or more, not {getattr(self, n)}") for n in counts if getattr(self, n) < 0]
        for name in ("timeout", "max_body", "max_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                found.append((name, f"must be more than 0, not {value}"))
        for name in ("delay", "adaptive", "ip_delay", "patience", "max_time", "timeout"):
            if (getattr(self, name) or 0) > FOREVER:
                found.append((name, f"must be {FOREVER:,} s at most, not {getattr(self, name):g}"))
        return found

    def _ill_formed(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                try:
                    re.compile(pattern)
                except re.error as error:
                    found.append((name, f"{pattern!r} is no regular expression: {error}"))
        found += [
            ("header", f"number {n} is not of the form 'Name: value'")
            for n, h in enumerate(self.header, 1)
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*", h)
        ]
        found += [
            ("host_delay", f"{pair!r} is not of the form www.example.org=2.5")
            for pair in self.host_delay
            if not re.fullmatch(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])=[0-9]{1,6}(?:\.[0-9]+)?", pair, re.ASCII)
        ]
        from ipaddress import ip_network

        for cidr in self.allow_private:
            try:
                ip_network(cidr, strict=False)
            except ValueError as error:
                found.append(("allow_private", f"{error}; write it like 10.0.0.0/8"))
        if self.proxy is not None and {*'#?"\\'} & {*self.proxy.rpartition("@")[0]}:
            found.append(("proxy", "write # ? \" and \\ in its user and password as %23 %3F %22 and %5C"))
        elif self.proxy is not None and not _well_formed(self.proxy):
            found.append(("proxy", f"{_masked(self.proxy)} is not of the form http://host:port"))
        elif self.proxy is not None and "…@" in self.proxy:
            found.append(("proxy", "its user and password are not stored in the file; give --proxy again"))
        try:
            policy(self.revisit)
        except ValueError as error:
            found.append(("revisit", f"{error}; or adaptive, or never"))
        for name in ("contact", "user_agent"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\x20-\x7e]+", value):
                found.append((name, "must be printable ASCII on one line"))
        if self.contact is not None and not re.fullmatch(r"https?://\S+|(?:mailto:)?[^\s@]+@[^\s@]+", self.contact):
            found.append(("contact", f"{self.contact!r} is neither a URL nor a mail address"))
        return found

    @property
    def agent(self) -> str:
        """The User-Agent header (L5): product, version and how to reach whoever runs the crawl."""
        return self.user_agent or f"{TOKEN}/{VERSION}" + (f" (+{self.contact})" if self.contact else "")

    @property
    def token(self) -> str:
        """The product token that robots.txt is searched for: that of the User-Agent which is sent (RFC 9309 §2.2.1)."""
        found = re.match(r"[A-Za-z_-]+", self.agent)
        return found[0] if found else TOKEN

    @property
    def budgets(self) -> Budgets:
        return Budgets(
            host=self.host_budget,
            other_host=self.other_host_budget,
            query=self.query_budget,
            other_query=self.other_query_budget,
            special=Hosts(self.host).budget if self.host else None,
        )

    @property
    def most_per_host(self) -> int:
        """Connections open at once to any one host."""
        own: list[int] = [table.settings.get("per_host", 1) for table in Hosts(self.host).tables.values()]
        return max(self.per_host, *own, 1)

    @property
    def extractors(self) -> tuple[str, ...]:
        """What the parse workers load."""
        return extraction.extractors(self.extract, self.data, self.extractor)

    @property
    def address_limit(self) -> int:
        return self.per_ip if self.per_ip is not None else max(2, self.per_host)

    @property
    def address_delay(self) -> float:
        return self.ip_delay if self.ip_delay is not None else self.delay / 2

    def delay_at(self, host: str) -> float:
        """The delay of one host, as `Place.host` has it."""
        return _by_host(self.host_delay).get(host, self.delay) if self.host_delay else self.delay

    @property
    def parsers(self) -> int:
        return self.parse_workers if self.parse_workers is not None else max(2, os.cpu_count() or 1)

    @property
    def tasks(self) -> int:
        return self.workers if self.workers is not None else self.connections + 32

    def to_json(self) -> dict[str, Any]:
        """Every setting as plain JSON values; header values, and who logs in where, are left out: they may be secrets."""
        plain = asdict(self)
        plain["header"] = [h.split(":", 1)[0] + ": …" for h in self.header]
        plain["proxy"] = _masked(self.proxy) if self.proxy else None
        plain["exclude_file"] = self.exclude_file and os.path.abspath(self.exclude_file)
        plain["seeds"] = tuple(map(anonymous, self.seeds))
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    def changed(self, **options: Any) -> CrawlSpec:
        """This spec with some settings replaced; unknown names and wrong types raise BadSpec."""
        return from_mapping({**{f.name: getattr(self, f.name) for f in fields(self)}, **options})


@lru_cache(maxsize=8)
def _by_host(pairs: tuple[str, ...]) -> Mapping[str, float]:
    return {host.lower().rstrip("."): float(delay) for host, _, delay in (pair.rpartition("=") for pair in pairs)}


def _well_formed(proxy: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(proxy)
        return re.fullmatch(r"https?://[^\s/#?\"\\]+/?", proxy) is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number, or one beyond 65535
        return False


def _masked(proxy: str) -> str:
    """A proxy without who logs in there: all before the last ``@``."""
    scheme, mark, _ = proxy.partition("://")
    _, at, rest = proxy.rpartition("@")
    return discreet(f"{scheme + mark if mark else ''}…@{rest}" if at else proxy)


def from_mapping(options: Mapping[str, Any]) -> CrawlSpec:
    """A spec from plain values, keys with hyphens or underscores. Raises BadSpec with a hint for a near miss."""
    known = {f.name: f for f in fields(CrawlSpec)}
    clean: dict[str, Any] = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            raise BadSpec(f"unknown setting {key!r}{near_miss(name, known)}")
        clean[name] = typed(key, str(known[name].type), value)
    return CrawlSpec(**clean)


def from_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML spec file, still untyped (merge options over them, then `from_mapping`)."""
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadSpec(f"spec file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSpec(f"spec file {path}: {error}") from None


def default_of(name: str) -> Any:
    """The default of a setting, for help texts."""
    found = next(f for f in fields(CrawlSpec) if f.name == name)
    return () if found.default is MISSING else found.default
