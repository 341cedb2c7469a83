"""The rules of one robots.txt group, made fast to ask: literal prefixes by hash, wildcards by what they must contain.

No regular expression meets the server's patterns: a glob is matched by leftmost finds, in linear time (P9, R2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import Any

from storage.model import record

MAX_FINDS = 4_000  # parts of globs looked for in one URL, about 4 ms; no honest file comes near (FAULTS R2)
_FEW = 24  # globs: below this looking at each is cheaper than indexing the URL

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_SPECIAL = re.compile(r"[^!-~]|\$")
_HEAD = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_STARS = re.compile(r"\*+")
_RANK = attrgetter("rank")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 §2.3


@record
class Rule:
    """One Allow or Disallow line. ``parts``: the normal pattern cut at its stars; ``end``: it ended with '$'."""

    allow: bool
    text: str
    line: int
    parts: tuple[str, ...]
    end: bool
    rank: tuple[int, bool]  # the greater decides: more octets, and of two as long the Allow (RFC 9309 §2.2.2)
    gram: str  # up to six characters that any match contains

    @classmethod
    def read(cls, allow: bool, value: bytes, line: int) -> list[Rule]:
        """The rules of one line: none for an empty value (RFC 9309 §2.2.2), two for 'Allow: /x/index.html' (Google)."""
        if not value:
            return []
        text = f"{'Allow' if allow else 'Disallow'}: {value.decode('utf-8', 'replace')}"
        raw = value.decode("latin-1")  # one character an octet: UTF-8 and Latin-1 files are escaped as they are
        rules = [cls._parse(allow, text, line, raw)]
        folder, slash, name = raw.rpartition("/")
        if allow and slash and name.startswith("index.htm"):
            rules.append(cls._parse(allow, text, line, f"{folder}/$"))
        return rules

    @classmethod
    def _parse(cls, allow: bool, text: str, line: int, raw: str) -> Rule:
        end = raw.endswith("$")
        parts = tuple(_STARS.split(normal(raw[:-1] if end else raw)))
        length = sum(map(len, parts)) + len(parts) - 1 + end
        return cls(allow, text, line, parts, end, (length, allow), _gram(max(parts, key=len)))

    def matches(self, path: str) -> bool:
        """Whether a glob (a rule with a star) matches: finds from left to right are exact, and never go back."""
        first, last = self.parts[0], self.parts[-1]
        if not path.startswith(first):
            return False
        at = len(first)
        for part in self.parts[1:-1]:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        if self.end:
            return len(path) - at >= len(last) and path.endswith(last)
        return path.find(last, at) >= 0


class RuleSet:
    """The merged rules of the groups that concern one agent."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._prefixes: dict[str, Rule] = {}
        self._exact: dict[str, Rule] = {}
        globs: dict[tuple[tuple[str, ...], bool], Rule] = {}
        for rule in rules:
            if rule.end and len(rule.parts) == 1:
                _keep(self._exact, rule.parts[0], rule)
            elif rule.parts[1:] in ((), ("",)):
                _keep(self._prefixes, rule.parts[0], rule)
            else:
                _keep(globs, (rule.parts, rule.end), rule)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._globs = sorted(globs.values(), key=_RANK, reverse=True)
        self._by_gram: dict[str, list[int]] = {}
        for place, rule in enumerate(self._globs):
            self._by_gram.setdefault(rule.gram, []).append(place)
        self._sizes = {len(gram) for gram in self._by_gram}

    def decide(self, paths: tuple[str, ...]) -> Rule | None:
        """The rule that decides for a URL, given the forms of its path (`targets`), or None when no rule matches."""
        best: Rule | None = None
        finds = MAX_FINDS
        for path in paths:
            best, finds = self._glob(path, self._literal(path, best), finds)
        return best

    def _literal(self, path: str, best: Rule | None) -> Rule | None:
        exact = self._exact.get(path)
        if exact and (best is None or exact.rank > best.rank):
            best = exact
        for length in self._lengths:
            if length > len(path):
                break
            rule = self._prefixes.get(path[:length])
            if rule and (best is None or rule.rank > best.rank):
                best = rule
        return best

    def _glob(self, path: str, best: Rule | None, finds: int) -> tuple[Rule | None, int]:
        """The deciding rule so far, and how many finds are left."""
        for rule in self._likely(path):
            if best is not None and best.rank >= rule.rank:
                break
            finds -= min(len(rule.parts), len(path))  # each part takes a character
            if finds < 0:  # undecided, and no time to go on: no is the polite answer
                return replace(rule, allow=False, text="Disallow: (too many wildcards to try)"), 0
            if rule.matches(path):
                return rule, finds
        return best, finds

    def _likely(self, path: str) -> Iterable[Rule]:
        """The globs worth trying, first the one that would decide."""
        if len(self._globs) <= _FEW:
            return self._globs
        grams = {path[at : at + size] for size in self._sizes for at in range(len(path) - size + 1)}
        places = chain.from_iterable(self._by_gram[gram] for gram in self._by_gram.keys() & grams)
        return [self._globs[place] for place in sorted(places)]


def targets(url: str) -> tuple[str, ...]:
    """The path and query of a URL, normal, in the forms a rule may name it by; never raises.

    RFC 9309 §2.2.2 counts ':' and '/' in a query as equal to their escapes, so such a query comes in both forms.
    """
    if not url.isascii():
        url = url.encode("utf-8", "replace").decode("latin-1")
    head = _HEAD.match(url)
    path = url[head.end() if head else 0 :].partition("#")[0]
    path = normal(path if path.startswith("/") else "/" + path).replace("*", "%2A")
    before, mark, query = path.partition("?")
    if not mark or not (":" in query or "/" in query or "%3A" in query or "%2F" in query):
        return (path,)
    plain = query.replace("%3A", ":").replace("%2F", "/")
    escaped = query.replace(":", "%3A").replace("/", "%2F")
    return tuple(dict.fromkeys((path, f"{before}?{plain}", f"{before}?{escaped}")))


def normal(text: str) -> str:
    """One spelling: escapes of unreserved characters undone, others in capitals, what is no URL character escaped."""
    if "%" in text:
        text = _ESCAPE.sub(_unescape, text)
    return _SPECIAL.sub(_escape, text) if _SPECIAL.search(text) else text


def _gram(part: str) -> str:
    """Few sizes keep the index of a URL small; six characters tell 20,000 rules apart, three would not."""
    return part[:6] if len(part) >= 6 else part[:3]


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _keep(rules: dict[Any, Rule], key: Any, rule: Rule) -> None:
    """Of rules with one pattern the first Allow, else the first."""
    if key not in rules or rule.rank > rules[key].rank:
        rules[key] = rule
