"""robots.txt as RFC 9309 has it: parsed once, asked often, each verdict with the rule and the line that decided it.

Where the RFC leaves room we do as Google's parser does, for that is what sites are tested against: common misspellings
are understood, a colon may be missing, and `Allow: /x/index.html` allows `/x/` too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from crawler.fetch.robots_match import Rule, RuleSet, targets
from storage.model import record

LIMIT = 512_000  # bytes that are read (RFC 9309 §2.5 asks for at least 500 KiB)
INLINE = 16_384  # bytes that are read on the spot, in 15 ms at worst; few files have more
MAX_DELAY = 86_400.0  # s; more than a day is a mistake, and the host's own delay is decided elsewhere

_KEYS = {
    b"user-agent": b"user-agent", b"useragent": b"user-agent", b"user agent": b"user-agent",
    b"allow": b"allow", b"allaw": b"allow",
    b"disallow": b"disallow", b"dissallow": b"disallow", b"dissalow": b"disallow", b"disalow": b"disallow",
    b"diasllow": b"disallow", b"disallaw": b"disallow",
    b"sitemap": b"sitemap", b"site-map": b"sitemap", b"site map": b"sitemap",
    b"content-signal": b"signal", b"content-usage": b"signal",
    b"crawl-delay": b"crawl-delay", b"crawldelay": b"crawl-delay", b"crawl delay": b"crawl-delay",
}  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z_-]*")  # RFC 9309 §2.2.1
_NUMBER = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")
_HTML = re.compile(rb"[\s\0]{0,1000}<(?:!doctype html|html|head|body|title|script|meta|!--)", re.IGNORECASE)
_BOM = b"\xef\xbb\xbf"


@record
class Verdict:
    """Whether a URL may be fetched. ``rule``: the deciding rule, found on ``line`` (from 1); None: no rule matched."""

    allowed: bool
    rule: str | None = None
    line: int | None = None


@dataclass(slots=True)
class _Group:
    """User-agent lines that stand together. Those apart only by a Crawl-delay or a signal share ``rules`` alone."""

    rules: list[Rule] = field(default_factory=list)
    delay: float | None = None
    signals: list[str] = field(default_factory=list)  # Content-Usage, Content-Signal
    open: bool = True  # no rule yet


_UNRULED = Verdict(True)


class Robots:
    """One robots.txt. ``truncated``: only the first 512,000 bytes were read; ``html``: it looks like a page instead."""

    def __init__(self, groups: dict[str, list[_Group]], sitemaps: tuple[str, ...], truncated: bool, html: bool) -> None:
        self.sitemaps = sitemaps
        self.truncated = truncated
        self.html = html
        self._groups = groups
        self._rules: dict[str, RuleSet] = {}

    @classmethod
    def parse(cls, body: bytes) -> Robots:
        """Reads any bytes whatever; never raises. A file cut at 512,000 bytes loses its last, partial line (R8)."""
        truncated = len(body) > LIMIT
        groups, sitemaps = _read(_lines(_whole_lines(body) if truncated else body))
        return cls(groups, sitemaps, truncated, _HTML.match(body.removeprefix(_BOM)) is not None)

    def verdict(self, agent: str, url: str) -> Verdict:
        """May ``agent``, a product token, fetch ``url``? Longest match, Allow wins ties (RFC 9309 §2.2.2).

        Never raises. /robots.txt itself is always allowed. Costs some µs, for the worst of files a few ms (R2).
        """
        paths = targets(url)
        if paths[0] == "/robots.txt":
            return _UNRULED
        rule = self._ruled(agent).decide(paths)
        return _UNRULED if rule is None else Verdict(rule.allow, rule.text, rule.line)

    def crawl_delay(self, agent: str) -> float | None:
        """The Crawl-delay (s, fractions kept, at most a day) of the agent's group, the longest if there are several."""
        return max((g.delay for g in self._named(agent) if g.delay is not None), default=None)

    def signals(self, agent: str) -> list[str]:
        """The values of the Content-Usage and Content-Signal lines in the agent's group, as they stand (FAULTS L9)."""
        return [signal for group in self._named(agent) for signal in group.signals]

    def _ruled(self, agent: str) -> RuleSet:
        found = self._rules.get(agent)
        if found is None:
            merged = {id(group.rules): group.rules for group in self._named(agent)}  # a token may be named twice
            found = self._rules[agent] = RuleSet(chain.from_iterable(merged.values()))
        return found

    def _named(self, agent: str) -> list[_Group]:
        """All groups that name the token, else those of '*' (RFC 9309 §2.2.1: equal but for case, merged)."""
        return self._groups.get(_token(agent)) or self._groups.get("*") or []


async def read(body: bytes, agent: str) -> Robots:
    """The same as `Robots.parse`, ready for `agent`'s verdicts, without holding up the event loop.

    Large files are read in a thread: 500 KiB take 0.45 s at worst, and never more, for each line is looked at once (R1).
    """
    return Robots.parse(body) if len(body) <= INLINE else await asyncio.to_thread(_prepared, body, agent)


def _prepared(body: bytes, agent: str) -> Robots:
    robots = Robots.parse(body)
    robots.verdict(agent, "http://host/")
    return robots


def whole_lines(body: bytes) -> bytes:
    """A body that was cut somewhere, without its last, partial line."""
    return body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]


def availability(status: int) -> str:
    """What an answer for /robots.txt means: 'ok' (2xx), 'absent' (4xx: all allowed) or 'unreachable' (nothing allowed).

    429 and every 3xx that could not be followed count as unreachable (RFC 9309 §2.3.1; FAULTS R3-R6).
    """
    if 200 <= status < 300:
        return "ok"
    return "absent" if 400 <= status < 500 and status != 429 else "unreachable"


def _whole_lines(body: bytes) -> bytes:
    kept = body[:LIMIT]
    if body[LIMIT : LIMIT + 1] in (b"\n", b"\r"):
        return kept
    return whole_lines(kept)


def _lines(body: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(line number, key, value) of each line that says something, typos put right."""
    for number, line in enumerate(body.removeprefix(_BOM).splitlines(), 1):
        text = line.partition(b"#")[0]
        key, colon, value = text.partition(b":")
        if not colon:  # Google: 'disallow /' is meant, 'disallow / x' is prose
            words = text.split()
            key, value = words if len(words) == 2 else (b"", b"")
        known = _KEYS.get(key.strip().lower())
        if known:
            yield number, known, value.strip()


def _read(lines: Iterable[tuple[int, bytes, bytes]]) -> tuple[dict[str, list[_Group]], tuple[str, ...]]:
    """Groups by token, and sitemaps."""
    groups: dict[str, list[_Group]] = {}
    sitemaps: list[str] = []
    group: _Group | None = None
    for number, key, value in lines:
        if key == b"user-agent":
            group = _joined(group)
            groups.setdefault(_product(value), []).append(group)
        elif key == b"sitemap":
            sitemaps.append(value.decode("utf-8", "replace"))
        elif key == b"crawl-delay":
            for_whom = group or _for_all(groups)
            for_whom.delay = _longer(for_whom.delay, value)
        elif key == b"signal":
            (group or _for_all(groups)).signals.append(value[:1000].decode("utf-8", "replace"))
        elif group is not None:  # a rule before any user-agent line is nobody's (RFC 9309 §2.2.1)
            group.open = False
            group.rules.extend(Rule.read(key == b"allow", value, number))
    return groups, tuple(dict.fromkeys(filter(None, sitemaps)))


def _joined(last: _Group | None) -> _Group:
    """The group a user-agent line belongs to. Only a rule ends a run of such lines (RFC 9309 §2.2.4)."""
    if last is None or not last.open:
        return _Group()
    return last if last.delay is None and not last.signals else _Group(last.rules)


def _for_all(groups: dict[str, list[_Group]]) -> _Group:
    """Where a Crawl-delay before any user-agent line belongs: it is meant for all (reppy)."""
    return groups.setdefault("*", [_Group()])[0]


def _longer(delay: float | None, value: bytes) -> float | None:
    if not _NUMBER.fullmatch(value):
        return delay
    return max(delay or 0.0, min(float(value), MAX_DELAY))


def _product(value: bytes) -> str:
    """The token of a user-agent line: 'Foo/1.2 (x)' is 'foo'; '*' may be followed by blanks only (Google)."""
    if value[:1] == b"*" and (len(value) == 1 or value[1:2].isspace()):
        return "*"
    return _token(value.decode("latin-1"))


def _token(agent: str) -> str:
    match = _TOKEN.match(agent)
    return match[0].lower() if match else ""
