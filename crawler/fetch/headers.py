"""The headers we send, and the headers we keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from crawler.fetch.decode import ACCEPT_ENCODING
from crawler.spec import VERSION, CrawlSpec
from storage.model import Before

KEPT = 128  # headers of a response (H5)
LONGEST = 65_536  # bytes of one
ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

Headers = tuple[tuple[str, str], ...]

_TAG = re.compile(r"[\x21-\x7e]{1,256}")
_DATE = re.compile(r"[\x20-\x7e]{1,64}")
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")
_TAGS = frozenset({"etag", "if-none-match"})
CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
VALIDATORS = _TAGS | {"last-modified", "if-modified-since"}
"""What a server says of a version and gets back when it is asked again (H16)."""


def sent_to_all(spec: CrawlSpec) -> dict[str, str]:
    """Who we are and what we can read (L5). `From` where the contact is a mail address (RFC 9110 §10.1.2)."""
    headers = {"User-Agent": spec.agent, "Accept": ACCEPT, "Accept-Encoding": ACCEPT_ENCODING}
    mail = (spec.contact or "").removeprefix("mailto:")
    if re.fullmatch(r"[^@\s:/]+@[^@\s:/]+", mail):
        headers["From"] = mail
    return headers


def sent_by_run(settings: Mapping[str, Any], version: str) -> dict[str, str]:
    """The same of a run that is over, from its stored settings and the version that made it."""
    spec = CrawlSpec(contact=settings.get("contact"), user_agent=settings.get("user_agent"))
    headers = sent_to_all(spec)
    if spec.user_agent is None:
        headers["User-Agent"] = spec.agent.replace(VERSION, version, 1)
    return headers


def sent_to_seeds(spec: CrawlSpec) -> dict[str, str]:
    """The user's own headers: they go to the seeds' origins only, they may be secrets (U1)."""
    pairs = (line.partition(":") for line in spec.header)
    return {name: value.strip() for name, _, value in pairs}


def merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Headers of which a later one takes the place of an earlier, however its name is spelled."""
    found = {name.lower(): (name, value) for part in parts for name, value in part.items()}
    return dict(found.values())


def sendable(name: str, value: str) -> bool:
    """Whether a header may go out, or a validator be kept for that: the web must not write our requests (H16)."""
    name = name.lower()
    if name not in VALIDATORS:
        return _CONTROL.search(value) is None
    return (_TAG.fullmatch(value) if name in _TAGS else _DATE.fullmatch(value)) is not None


def conditions(before: Before | None) -> dict[str, str]:
    """The headers that ask for a page only if it is another than the stored one (RFC 9110 §13.1.2, §13.1.3)."""
    if before is None or before.headers is None:
        return {}
    known: list[tuple[str, str]] = json.loads(before.headers)
    found = [(CONDITIONS.get(name.lower()), value) for name, value in known]
    return {name: value for name, value in found if name and sendable(name, value)}


def kept(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The first 128 headers as text that SQLite takes: no surrogates, no NUL (H12), at most 64 KiB each."""
    return tuple([(name[:LONGEST].decode("latin-1"), text(value)) for name, value in islice(raw, KEPT)])


def named(headers: Headers, names: Sequence[str]) -> list[tuple[str, str]]:
    """The headers of these names (lower case), last first, so that `dict` keeps the first of several."""
    return [(low, value) for name, value in reversed(headers) if (low := name.lower()) in names]


def text(raw: bytes) -> str:
    """A header's bytes as text: UTF-8 where they are that, else ISO 8859-1 (RFC 9110 §5.5)."""
    raw = raw[:LONGEST]
    try:
        value = raw.decode()
    except UnicodeDecodeError:
        value = raw.decode("latin-1")
    return value.replace("\0", "\ufffd") if "\0" in value else value
