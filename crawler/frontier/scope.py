"""Scope: which URLs belong to the crawl. A refusal always has a reason and a sentence for people."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

from crawler.frontier.exclusions import NOBODY, Exclusions
from crawler.frontier.hosts import HostSpecs
from crawler.frontier.traps import SHALLOW, trapped
from crawler.spec import CrawlSpec
from crawler.url import MAX_LENGTH, is_address, objection
from storage.links import NOTED, Links, Verdict
from storage.model import Place

_KEPT = 100_000  # origins whose standing is remembered: about 30 MB at worst
ADMITTED = Verdict(True)
SIFTED = Verdict(True)  # an origin's standing: it is in, but for what include and exclude say of each URL


class Filters(NamedTuple):
    """The include and exclude of a host, and the names people know them by."""

    include: tuple[re.Pattern[str], ...]
    included: str
    exclude: tuple[tuple[re.Pattern[str], str], ...]

    def refusal(self, url: str) -> Verdict | None:
        for pattern, name in self.exclude:
            if pattern.search(url):
                return Verdict(False, "exclude", f"matches {name} {pattern.pattern}")
        if self.include and not any(pattern.search(url) for pattern in self.include):
            return Verdict(False, "include", f"matches no {self.included}")
        return None


class Scope:
    """The rule of CONTRACT.md §1 for one spec and its seeds: page, prefix, host, domain or any, then include, exclude; and
    no path that is a trap by itself.

    `judge` looks at the origin once and remembers it: less than 1 µs a URL when no regex is given.
    """

    def __init__(self, spec: CrawlSpec, seeds: Sequence[Place], exclusions: Exclusions = NOBODY) -> None:
        self._kind = spec.scope
        self.follows = spec.sitemaps != "only"  # whether links of pages are followed
        self.requisites = spec.requisites  # whether what they are shown with is
        self._depth = spec.max_depth
        self._specs = HostSpecs(spec)
        self._sieves: dict[str, Filters | None] = {}  # by host
        self.exclusions = exclusions
        self.widened = False
        self._seeds: set[str] = set()
        self._homes: set[str] = set()  # origins of seeds
        self._keys: set[str] = set()
        self._folders: dict[str, set[str]] = {}
        self._standing: dict[str, Verdict | tuple[str, ...]] = {}  # by origin: a verdict, or the paths that are in
        for seed in seeds:
            self.add_seed(seed)
        self.widened = False  # by a seed since anybody looked

    def add_seed(self, place: Place) -> None:
        """One more seed: itself exempt from every rule but `admit`'s, and what lies around it belongs to the crawl."""
        key = _key(self._kind, place)
        folder = place.path.partition("?")[0].rpartition("/")[0] + "/"
        self.widened |= key not in self._keys or folder not in self._folders[key]
        self._seeds.add(place.url)
        self._homes.add(place.origin)
        self._keys.add(key)
        self._folders.setdefault(key, set()).add(folder)
        self._standing.clear()

    def exclude(self, exclusions: Exclusions) -> None:
        """Who is excluded from now on; of those who are not any more, what was refused has to be judged again."""
        self.widened |= not self.exclusions.rules <= exclusions.rules
        self.exclusions = exclusions
        self._standing.clear()

    def refuse(self, patterns: Sequence[str]) -> None:
        """The regular expressions that refuse a URL from now on; whether what was refused belongs to the crawl now has to
        be judged again."""
        self._specs.change(replace(self._specs.spec, exclude=tuple(patterns)))
        self._sieves.clear()
        self._standing.clear()
        self.widened = True

    def judge(self, place: Place) -> Verdict:
        """The verdict on a place as `crawler.url` splits it. Seeds are exempt from scope, include, exclude and traps,
        but not from who is excluded altogether."""
        standing = self._standing.get(place.origin) or self._consider(place)
        plain = standing is ADMITTED and len(place.origin) + len(place.path) <= MAX_LENGTH
        if plain and (place.path.count("/") < SHALLOW or trapped(place.path) is None):
            return ADMITTED
        return self._closer(place, standing)

    def judge_all(self, links: Links, steps: Sequence[int | None]) -> tuple[list[Verdict], list[Verdict]]:
        """What `judge` says of the edges of each group, but for what `last_word` says of the admitted; and of each edge, where
        its group does not say it. What holds for a whole origin is asked once. ``steps``: None for a group nobody follows."""
        whole = [self._whole(origin, host) for origin, host in links.sites]
        found = [NOTED if step is None else whole[group.site] for group, step in zip(links.groups, steps, strict=True)]
        told = [NOTED if verdict is None else verdict for verdict in found]
        least = MAX_LENGTH - max((len(origin) for origin, _ in links.sites), default=0)
        if None not in found and (len(links.paths) <= least or max(map(len, links.paths.split("\n"))) <= least):
            return told, []
        sites = [group.site for group in links.groups]
        room = [  # a long URL is refused wherever it leads
            sys.maxsize if step is None else -1 if verdict is None else MAX_LENGTH - len(links.sites[site][0])
            for site, step, verdict in zip(sites, steps, found, strict=True)
        ]
        judge, place = self.judge, links.place
        return told, [
            told[n] if len(path) <= room[n] else judge(place(sites[n], path))
            for n, path in zip(links.of_groups(), links.paths.split("\n"), strict=False)
        ]

    def last_word(self, place: Place) -> Verdict:
        """The last word on a place that `judge_all` admits: seeds apart, no path that is a trap by itself. Any thread may ask."""
        problem = trapped(place.path) if place.url not in self._seeds else None
        return Verdict(False, "trap", problem) if problem else ADMITTED

    def _whole(self, origin: str, host: str) -> Verdict | None:
        """The verdict on every path of an origin that is no trap by itself; None: they have to be looked at."""
        standing = self._standing.get(origin) or self._consider(Place(origin, host, "/"))
        if standing is ADMITTED or standing is SIFTED:
            return None if standing is SIFTED else ADMITTED
        return standing if isinstance(standing, Verdict) and origin not in self._homes else None

    def reaches(self, origin: str, host: str) -> bool:
        """Whether the crawl wants to know what a sitemap of this origin names: anything there may belong to it."""
        if self._kind == "page" or self._depth == 0:
            return False
        standing = self._standing.get(origin) or self._consider(Place(origin, host, "/"))
        return not isinstance(standing, Verdict) or standing.admit

    def _closer(self, place: Place, standing: Verdict | tuple[str, ...]) -> Verdict:
        if problem := objection(place):
            return Verdict(False, *problem)
        if standing is not ADMITTED and (why := self.exclusions.host(place.host)):
            return Verdict(False, "exclude", why)
        if place.url in self._seeds:
            return ADMITTED
        if not isinstance(standing, Verdict):
            standing = ADMITTED if place.path.startswith(standing) else self._outside(place)
        return self._filtered(place) if standing.admit else standing

    def _consider(self, place: Place) -> Verdict | tuple[str, ...]:
        """What holds for every path of this origin."""
        if len(self._standing) >= _KEPT:
            self._standing.clear()
        standing = self._standing[place.origin] = self._stand(Place(place.origin, place.host, "/"))
        return standing

    def _stand(self, top: Place) -> Verdict | tuple[str, ...]:
        if problem := objection(top):
            return Verdict(False, *problem)
        if why := self.exclusions.host(top.host):
            return Verdict(False, "exclude", why)
        inside = SIFTED if self._filters(top.host) else ADMITTED
        if self._kind == "any":
            return inside
        key = _key(self._kind, top)
        if key not in self._keys or self._kind == "page":
            return self._outside(top)
        return tuple(sorted(self._folders[key])) if self._kind == "prefix" else inside

    def _outside(self, place: Place) -> Verdict:
        if self._kind == "page":
            return Verdict(False, "scope", "only the seeds themselves belong to the crawl")
        key = _key(self._kind, place)
        if self._kind == "domain":
            return Verdict(False, "scope", f"{place.host} is not in a seed's domain")
        if key in self._keys:
            return Verdict(False, "scope", f"the path is not below a seed's folder on {key}")
        return Verdict(False, "scope", f"host {key} is not a seed's host")

    def _filters(self, host: str) -> Filters | None:
        """Those of a host; None: it has none."""
        if host not in self._sieves:
            if len(self._sieves) >= _KEPT:
                self._sieves.clear()
            self._sieves[host] = self._filters_of(host)
        return self._sieves[host]

    def _filters_of(self, host: str) -> Filters | None:
        spec = self._specs.at(host)
        if not spec.include and not spec.exclude:
            return None
        everywhere, named = self._specs.spec.exclude, self._specs.named
        exclude = [(re.compile(p), "--exclude" if p in everywhere else named(host, "exclude")) for p in spec.exclude]
        return Filters(tuple(map(re.compile, spec.include)), named(host, "include"), tuple(exclude))

    def _filtered(self, place: Place) -> Verdict:
        filters = self._filters(place.host)
        if filters and (refusal := filters.refusal(place.url)):
            return refusal
        problem = trapped(place.path)
        return Verdict(False, "trap", problem) if problem else ADMITTED


def same_site(a: Place, b: Place) -> bool:
    """Equal registrable domains (public suffix list with its private section); an address equals only itself."""
    return bool(a.host) and registrable(a.host) == registrable(b.host)


@lru_cache(maxsize=65_536)
def registrable(host: str) -> str:
    """The registrable domain of a host, or the host itself where there is none (an address, localhost, a suffix).

    Source: publicsuffix.org. The list would cut '127.0.0.1' to '0.1', so addresses never reach it.
    """
    return host if is_address(host) else (_suffixes().privatesuffix(host) or host)


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()  # 50 ms to load: only when a scope or a redirect asks


def _key(kind: str, place: Place) -> str:
    """What two URLs must share to be together. A private address or localhost also shares its port (CONTRACT §1)."""
    if is_local(place.host):
        return f"{place.host}:{_port(place.origin)}"
    return registrable(place.host) if kind == "domain" else place.host


@lru_cache(maxsize=65_536)
def is_local(host: str) -> bool:
    """True for localhost and for a literal address that is not public: loopback, private, link-local and their like."""
    if not is_address(host):
        return host == "localhost"
    return not ipaddress.ip_address(host.strip("[]")).is_global


def _port(origin: str) -> str:
    port = origin.rpartition(":")[2]
    if port.isdigit():
        return port
    return "443" if origin.startswith("https:") else "80"
