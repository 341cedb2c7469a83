"""URLs: one parser (WHATWG, by ada-url), one canonical form, one gate through which every URL enters.

`canonical` says what a URL is called, `split` how it is stored, `admit` whether the crawl may know it at all. All three
keep letter case and are pure. `Joiner` is the fast way for the many hrefs of one page and agrees with them.
"""

from __future__ import annotations

import re
from functools import lru_cache

import ada_url

from storage.model import Place

MAX_LENGTH = 4096  # characters of a canonical URL (P7); Nutch draws the same line
MAX_RAW = 65_536  # characters of an href worth parsing: beyond this only an abuse shrinks below MAX_LENGTH

_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_IPV4 = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?@]*@")
_WEB = ("http://", "https://")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_OPAQUE = re.compile(r"(?:mailto|tel|sms|javascript):")  # schemes that mean the same whatever the base is

# An href that WHATWG leaves as it is: nothing to escape, no blank or backslash, no '//' or dot segment but '../' or
# './' at its start ('/.' and '%2e' inside a path are looked for apart).
# Each class is followed by what cannot continue it and gives nothing back, so a match takes linear time (P9).
_SAFE = r"A-Za-z0-9_~!$&()*+,;=@.\-"
_LOCAL = re.compile(rf"/(?!/)[{_SAFE}:/]*+(?:\?[{_SAFE}:/?%]++)?+")  # the commonest, at a third of the price
_PLAIN = re.compile(
    rf"(?:(https?://[a-z0-9.:-]+)(?=/)|((?:\.\.?/)++)(?!/))?+"
    rf"((?:/(?!/)[{_SAFE}:/%]*+|[A-Za-z0-9_][{_SAFE}/%]*+|(?<=/))(?:\?[{_SAFE}:/?%]++)?+)(?:#.*+)?+",
    re.DOTALL,
)


class InvalidUrl(ValueError):
    """The text is not a URL (WHATWG URL Standard), even with the base given."""


class NotAdmitted(InvalidUrl):
    """A URL the crawl will not know. ``reason``: 'scheme', 'invalid' or 'length'; ``detail`` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def canonical(url: str, base: str | None = None) -> str:
    """The canonical absolute URL: WHATWG href without fragment, userinfo, trailing host dot and empty ``?``.

    Keeps case, works for every scheme, and is a fixpoint: ``canonical(canonical(u)) == canonical(u)`` (U8).
    Raises InvalidUrl. Source: WHATWG URL Standard §4.4 (parsing), §4.5 (serialising); CONTRACT.md §1, "canonical URL".
    """
    href = _href(url, base)
    if href.startswith(_WEB):
        return _bare_web(href)
    bare = _bare_other(href)
    return bare if bare == href else canonical(bare)


def split(url: str) -> Place:
    """A canonical URL in its stored parts; ``origin + path`` is the URL again.

    ``host`` is the WHATWG hostname (IPv6 in brackets). A scheme other than http(s) has origin 'mailto:' and host ''.
    """
    if not url.startswith(_WEB):
        scheme, colon, rest = url.partition(":")
        return Place(scheme + colon, "", rest)
    end = url.index("/", 8)
    return Place(url[:end], _host(url[:end]), url[end:])


def admit(url: str, base: str | None = None) -> Place:
    """The one choke point through which every URL enters: http(s), a host DNS could hold, at most 4,096 characters.

    Raises NotAdmitted with reason 'scheme', 'invalid' or 'length' (FAULTS U2, U8, U9, P7).
    """
    if len(url) > MAX_RAW:
        raise NotAdmitted("length", f"{len(url):,} characters before parsing, {MAX_RAW:,} are read")
    try:
        place = split(canonical(url, base))
    except NotAdmitted:
        raise
    except InvalidUrl as error:
        raise NotAdmitted("invalid", str(error)) from None
    if problem := objection(place):
        raise NotAdmitted(*problem)
    return place


def objection(place: Place) -> tuple[str, str] | None:
    """Why a place may not enter the crawl, as (reason, detail), or None: what `admit` asks of a split URL."""
    if not place.origin.startswith(_WEB):
        return "scheme", f"{place.origin} is not http or https"
    if not good_host(place.host):
        return "invalid", f"no host name or address: {place.host[:80]!r}"
    length = len(place.origin) + len(place.path)
    if length > MAX_LENGTH:
        return "length", f"{length:,} characters, {MAX_LENGTH:,} are kept"
    return None


@lru_cache(maxsize=65_536)
def good_host(host: str) -> bool:
    """True for an IP literal and a name DNS could hold: 1-253 of ``[a-z0-9-_.]``, labels of 1-63 (RFC 1035 §2.3.4)."""
    return host.startswith("[") or (len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None)


def is_address(host: str) -> bool:
    """True for an IP literal as WHATWG writes it: four decimal parts, or IPv6 in brackets."""
    return host.startswith("[") or _IPV4.fullmatch(host) is not None


def robots_url(origin: str) -> str:
    """Where an origin's robots.txt is (RFC 9309 §2.3)."""
    return origin + "/robots.txt"


class Joiner:
    """Resolves the hrefs of one page against its base. ``base`` is any URL that parses.

    Hrefs that WHATWG leaves as they are skip the parser; a property test holds the two ways equal.
    """

    def __init__(self, base: str) -> None:
        self.base = base if _is_plain(base) else canonical(base)
        here = split(self.base)
        self._here, self._origin, self._host = here, here.origin, here.host
        self._folders = {"": here.path.partition("?")[0].rpartition("/")[0] + "/"}  # by the dots that lead there
        # A longer href may come to more than MAX_LENGTH; none is short enough for a base off the web.
        self._room = MAX_LENGTH - len(self.base) if objection(here) is None else -1

    def place(self, href: str) -> Place | None:
        """The place an href leads to: a web URL that `admit` would pass, or a URL of another scheme; else None."""
        found = self.shortcut(href)
        return self.resolve(href) if found is None else Place._make(found)

    def shortcut(self, href: str) -> tuple[str, str, str] | None:
        """The parts of the web URL an ordinary href leads to; None: ask `resolve`. No Place: 0.3 µs for each of many."""
        if len(href) > self._room:
            return None
        if _LOCAL.fullmatch(href) is not None and "/." not in href:
            return self._origin, self._host, href
        found = _plain(href)
        if found is None:
            return self._here if href.startswith("#") else None
        origin, up, path = found
        if not path.startswith("/"):
            path = (self._folders.get(up) or self._above(up)) + path
        if not origin or origin == self._origin:
            return self._origin, self._host, path
        host = _plain_origin(origin)
        return (origin, host, path) if host else None

    def _above(self, up: str) -> str:
        """The base's folder as far up as '../' and './' say; '..' at the root stays there."""
        folder = self._folders[""]
        for _ in range(up.count("../")):
            folder = folder[: folder.rfind("/", 0, -1) + 1] or "/"
        self._folders[up] = folder
        return folder

    def resolve(self, href: str) -> Place | None:
        """The same as `place`, always by the parser."""
        if len(href) > MAX_RAW:
            return None
        return _elsewhere(href) if len(href) <= 256 and _OPAQUE.match(href) else _resolved(href, self.base)


def _resolved(href: str, base: str | None) -> Place | None:
    try:
        place = split(canonical(href, base))
    except InvalidUrl:
        return None
    problem = objection(place)
    return place if problem is None or problem[0] == "scheme" else None


@lru_cache(maxsize=4_096)
def _elsewhere(href: str) -> Place | None:
    """Where an href leads that names such a scheme; most pages of a site have the same few, and each is dear."""
    return _resolved(href, None)


def _href(url: str, base: str | None) -> str:
    try:
        return _parse(url, base)
    except ValueError:
        pass
    try:  # a lone surrogate is U+FFFD to WHATWG (USVString), but cannot be handed to ada as it is
        return _parse(_scalar(url), base and _scalar(base))
    except ValueError:
        raise InvalidUrl(f"not a URL: {url[:120]!r}") from None


def _parse(url: str, base: str | None) -> str:
    return ada_url.normalize_url(url) if base is None else ada_url.join_url(base, url)


def _scalar(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bare_web(href: str) -> str:
    """Takes off what a canonical URL goes without. In an href '#' and the first '?' always end what is before them."""
    href = _cut(href)
    end = href.index("/", 8)
    origin = href[:end]
    if "@" not in origin and not origin.endswith(".") and ".:" not in origin:
        return href
    scheme, _, authority = origin.partition("://")
    name, colon, port = authority.rpartition("@")[2].partition(":")  # IPv6 comes apart, and together again as it was
    if not name.endswith("."):
        return f"{scheme}://{name}{colon}{port}{href[end:]}"
    if not name.strip("."):
        raise InvalidUrl("the host is nothing but dots")
    return canonical(f"{scheme}://{name.rstrip('.')}{colon}{port}{href[end:]}")  # '1.2.3.4..' has become an address


def _bare_other(href: str) -> str:
    """The same for other schemes, whose authority may be absent, end without a path, or be no DNS name (dots stay)."""
    href = _cut(href)
    match = _USERINFO.match(href)
    return match[1] + href[match.end() :] if match else href


def _cut(href: str) -> str:
    """Without fragment and empty query."""
    end = href.find("#")
    if end >= 0:
        href = href[:end]
    return href[:-1] if href.endswith("?") and href.find("?") == len(href) - 1 else href


def _host(origin: str) -> str:
    host = origin.partition("://")[2]
    return host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]


def host_of(origin: str) -> str | None:
    """The host of an origin as `split` gives both ('' off the web); None: it gives no such origin."""
    return _plain_origin(origin) if origin.startswith(_WEB) else "" if _SCHEME.fullmatch(origin) else None


def _plain(href: str) -> tuple[str, str, str] | None:
    """Origin ('' if none), leading dot segments and path of an href that WHATWG leaves as it is; None: ask the parser."""
    match = _PLAIN.fullmatch(href)
    if match is None:
        return None
    origin, up, path = match.groups("")
    return None if "/." in path or "%2e" in path or "%2E" in path else (origin, up, path)


def _is_plain(url: str) -> bool:
    """True only for a canonical web URL, and for every ordinary one."""
    found = _plain(url)
    return found is not None and url == found[0] + found[2] and _plain_origin(found[0]) is not None


@lru_cache(maxsize=65_536)
def _plain_origin(origin: str) -> str | None:
    """The host of an origin that is canonical as it stands and may enter, else None."""
    try:
        place = admit(origin + "/")
    except InvalidUrl:
        return None
    return place.host if place.origin == origin else None
