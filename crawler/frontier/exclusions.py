"""Exclusions: who asked not to be crawled. Hosts, domains and networks; no request goes there, not even for robots.txt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from crawler.url import InvalidUrl, admit


class Exclusion(NamedTuple):
    """One of them, in canonical form: a host name, ``.domain`` (itself and all below), or a network; and who says so."""

    what: str
    where: str


class BadExclusion(ValueError):
    """A line is neither a host, nor a domain, nor a network; the message names it and says what would do."""


def parse(text: str, source: str) -> tuple[Exclusion, ...]:
    """The exclusions of a file: one a line, ``#`` begins a comment. Raises BadExclusion."""
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return tuple(one(what, f"{source} line {number}") for number, what in lines if what)


def listed(entries: Iterable[str]) -> tuple[Exclusion, ...]:
    """The exclusions given as a setting. Raises BadExclusion."""
    return tuple(one(entry, "exclude-host") for entry in entries)


def one(what: str, source: str) -> Exclusion:
    """A single one. Raises BadExclusion."""
    try:
        return Exclusion(_canonical(what), f"{source}: {what}")
    except ValueError:
        raise BadExclusion(
            f"{source}: {what!r} is neither a host (www.example.org), nor a domain "
            "(*.example.org), nor a network (192.0.2.0/24)"
        ) from None


def _canonical(what: str) -> str:
    if what.startswith("*."):
        what = what[1:]
    try:
        return str(ip_network(what.strip("[]"), strict=False))
    except ValueError:
        dot = "." if what.startswith(".") else ""
    if set(what) & set("/?#@:\\*"):
        raise InvalidUrl("more than a host")
    return dot + admit(f"http://{what.lstrip('.')}/").host


class Exclusions:
    """What is excluded now. `host` and `refusal` say who excludes a host, or None; some µs a call."""

    def __init__(self, rules: Iterable[Exclusion] = ()) -> None:
        self.rules = frozenset(rule.what for rule in rules)
        self._names = {rule.what: rule.where for rule in rules if "/" not in rule.what}
        self._networks = [(ip_network(rule.what), rule.where) for rule in rules if "/" in rule.what]
        self._address = lru_cache(maxsize=65_536)(self._address_refusal)

    def host(self, name: str) -> str | None:
        """Who excludes a host as `Place.host` has it: by its name, its domain, or the address that it is."""
        if not self.rules:
            return None
        labels = name.split(".")
        wanted = [name, *("." + ".".join(labels[i:]) for i in range(len(labels)))]
        by_name = next((self._names[w] for w in wanted if w in self._names), None)
        return by_name or self._address(name.strip("[]"))

    def refusal(self, name: str, addresses: Sequence[str]) -> str | None:
        """The same, or who excludes one of the addresses it resolved to."""
        return self.host(name) or next((why for a in addresses if (why := self._address(a))), None)

    def _address_refusal(self, text: str) -> str | None:
        if not self._networks:
            return None
        try:
            address = _unwrapped(ip_address(text))
        except ValueError:
            return None
        return next((where for network, where in self._networks if address in network), None)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address said as IPv6 is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


NOBODY = Exclusions()


def purged(names: Iterable[str]) -> tuple[Exclusion, ...]:
    """Hosts that were purged from the file stay away from it."""
    return tuple(Exclusion(name, "purged from this file") for name in names)
