"""Stored pages, parsed again as they were in the crawl: in the workers, under their limits. Nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from crawler.visit import Extract
from storage.codec import UNREADABLE, unpack

KILLERS = ("timeout", "memory", "crash")  # what a page did to its parse worker in the crawl; it would do it again


class Stored(NamedTuple):
    """A fetch's page: its URL, its headers (JSON), why it was not parsed, and its body as it is packed."""

    url: str
    headers: str | None
    parse: str | None
    codec: str | None
    packed: bytes | None


class Parser(Protocol):
    """The parse workers."""

    async def parse(
        self, body: bytes, url: str, content_type: str | None = ..., headers: Sequence[tuple[str, str]] = ...
    ) -> Extract: ...


async def parsed(pool: Parser, page: Stored) -> Extract:
    """What the crawl would find in the page now; ``parse`` of it says why nothing. What killed a worker is not tried again."""
    if page.codec is None or page.packed is None:
        return Extract(parse="no body is stored")
    if page.parse is not None and (page.parse in KILLERS or page.parse.startswith("skipped")):
        return Extract(parse=page.parse)
    try:
        body = unpack(page.codec, page.packed)
    except UNREADABLE as error:
        return Extract(parse=f"error: the stored body cannot be read: {error}")
    headers = [(name, value) for name, value in json.loads(page.headers or "[]")]
    kind = ", ".join(value for name, value in headers if name.lower() == "content-type") or None
    return await pool.parse(body, page.url, kind, headers)
