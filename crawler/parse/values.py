"""The small languages inside attributes and headers: srcset, refresh, Link, robots directives. Strings in, values out.

All run in time linear in their input (FAULTS P9) and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = "\t\n\x0c\r "

# --- srcset (HTML §4.8.4.3.2) ---

_SRC_GAP = re.compile(r"[\t\n\x0c\r ,]*")
_SRC_URL = re.compile(r"[^\t\n\x0c\r ]+")
_SRC_MARK = re.compile(r"[\t\n\x0c\r ,(]")
_WIDTH = re.compile(r"[0-9]+w")
_HEIGHT = re.compile(r"[0-9]+h")
_DENSITY = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?x")


def srcset(value: str) -> Iterator[str]:
    """The URLs of a srcset, in order; candidates with contradicting descriptors are left out, as browsers do."""
    at, descriptors = 0, list[str]()
    while True:
        at = _SRC_GAP.match(value, at).end()  # type: ignore[union-attr]  # matches the empty string
        match = _SRC_URL.match(value, at)
        if match is None:
            return
        url, at, descriptors = match.group(), match.end(), []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(value, at)
        if _consistent(descriptors):
            yield url


def _descriptors(value: str, at: int) -> tuple[list[str], int]:
    """The words up to the comma that ends a candidate; a comma in brackets does not."""
    words, start = [], at
    while (match := _SRC_MARK.search(value, at)) is not None:
        at = match.end()
        if match.group() == "(":
            close = value.find(")", at)
            at = close + 1 if close >= 0 else len(value)
            continue
        if match.start() > start:
            words.append(value[start : match.start()])
        start = at
        if match.group() == ",":
            return words, at
    if start < len(value):
        words.append(value[start:])
    return words, len(value)


def _consistent(words: list[str]) -> bool:
    """At most one width or density, height only with a width, none of them zero. Unknown words are passed over."""
    widths = [w for w in words if _WIDTH.fullmatch(w)]
    heights = [w for w in words if _HEIGHT.fullmatch(w)]
    densities = [w for w in words if _DENSITY.fullmatch(w) and (w[0] != "-" or not w.strip("-0.x"))]
    if any(not w[:-1].strip("0") for w in widths + heights):
        return False
    if len(widths) > 1 or len(heights) > 1 or len(densities) > 1 or (heights and not widths):
        return False
    return not (densities and (widths or heights))


# --- refresh (HTML §4.2.5.3 "shared declarative refresh steps") ---

_DELAY = re.compile(r"[\t\n\x0c\r ]*([0-9]*)([0-9.]*)")
_REFRESH_GAP = re.compile(r"[\t\n\x0c\r ]*[;,]?[\t\n\x0c\r ]*")
_REFRESH_URL = re.compile(r"url[\t\n\x0c\r ]*=[\t\n\x0c\r ]*", re.IGNORECASE)


def refresh(value: str) -> tuple[int, str] | None:
    """Delay (whole s) and target of a refresh; target "" reloads the page itself. None: no refresh at all."""
    match = _DELAY.match(value)
    if match is None or not (match.group(1) or match.group(2).startswith(".")):
        return None
    rest = value[match.end() :]
    if rest and rest[0] not in _SPACE + ";,":
        return None
    rest = rest[_REFRESH_GAP.match(rest).end() :]  # type: ignore[union-attr]  # matches the empty string
    if named := _REFRESH_URL.match(rest):
        rest = rest[named.end() :]
    if rest[:1] in ("'", '"'):
        rest = rest[1:].partition(rest[0])[0]
    return int(match.group(1)[:9] or 0), rest.strip(_SPACE)


# --- Link header (RFC 8288 §3) ---

_LINK_CAP = 16_384  # characters of one header; more is no one's honest pagination


def link_header(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Target and parameters (names lower case, the first of each) of every link in a Link header."""
    for part in _split(value[:_LINK_CAP], ","):
        target, *parameters = _split(part, ";")
        target = target.strip(_SPACE)
        if not (target.startswith("<") and target.endswith(">")):
            continue
        found: dict[str, str] = {}
        for parameter in parameters:
            name, _, text = parameter.partition("=")
            found.setdefault(name.strip(_SPACE).lower(), _unquoted(text.strip(_SPACE)))
        yield target[1:-1].strip(_SPACE), found


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand neither in quotes nor in angle brackets."""
    parts, start, until, escaped = [], 0, "", False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif until:
            escaped = char == "\\" and until == '"'
            until = "" if char == until else until
        elif char in '"<':
            until = '"' if char == '"' else ">"
        elif char == separator:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


# --- robots directives (developers.google.com/search/docs/crawling-indexing/robots-meta-tag) ---

_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_PLAIN = frozenset({
    "noindex", "nofollow", "none", "noarchive", "nosnippet", "nocache", "noimageindex", "notranslate", "noai",
    "noimageai", "indexifembedded", "noodp", "noydir",
})  # fmt: skip
_AGENT = re.compile(r"[a-z*][a-z0-9_.*-]*")


def directives(value: str, agent: str | None = None) -> set[str]:
    """The restricting directives of a robots meta tag or, with ``agent`` (lower case), of an X-Robots-Tag header.

    In a header ``name:`` makes what follows hold for that crawler only. ``none`` becomes ``nofollow`` and ``noindex``.
    """
    found, ours = set(), True
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        name = name.strip(_SPACE)
        if colon and agent is not None and name not in _VALUED and _AGENT.fullmatch(name):
            ours = name in (agent, "*")
            name = rest.strip(_SPACE)
        if ours and name in _PLAIN:
            found.add(name)
    if "none" in found:
        found = (found - {"none"}) | {"nofollow", "noindex"}
    return found
