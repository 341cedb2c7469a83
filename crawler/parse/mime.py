"""What kind of thing a body is: the Content-Type header, and a subset of MIME sniffing where the header does not say.

Source: WHATWG MIME Sniffing (mimesniff.spec.whatwg.org) §4.4 "parsing a MIME type" and §7 "sniffing".
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPACE = " \t\n\r"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTABLE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

HTML = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_UNKNOWN = frozenset({"unknown/unknown", "application/unknown", "*/*"})

_SNIFF_BYTES = 1445  # what the standard's "resource header" holds
_MARKUP = re.compile(
    rb"<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[ >]|<!--", re.IGNORECASE
)
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"\xef\xbb\xbf", "text/plain"),
    (b"\xfe\xff", "text/plain"),
    (b"\xff\xfe", "text/plain"),
)
_ANY_TAG = re.compile(rb"<[A-Za-z]")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


@lru_cache(maxsize=1024)  # a crawl meets few distinct values, each of them thousands of times
def content_type(value: str) -> tuple[str | None, str | None]:
    """The essence ("text/html", lower case) and charset parameter of a Content-Type; None for what is not there.

    A value that is no MIME type gives (None, None). Never raises.
    """
    essence, _, rest = value.strip(_SPACE).partition(";")
    essence = essence.rstrip(_SPACE)
    major, slash, minor = essence.partition("/")
    if not (slash and _TOKEN.fullmatch(major) and _TOKEN.fullmatch(minor)):
        return None, None
    return essence.lower(), _charset(rest)


def _charset(rest: str) -> str | None:
    """The first well-formed ``charset`` among the parameters (the text after the first semicolon)."""
    while rest:
        name, value, rest = _parameter(rest.lstrip(_SPACE))
        if name == "charset" and value and _QUOTABLE.fullmatch(value):
            return value
    return None


def _parameter(text: str) -> tuple[str, str, str]:
    """One parameter and what follows its semicolon."""
    name = re.match(r"[^;=]*", text).group()  # type: ignore[union-attr]  # matches everywhere
    after = text[len(name) :]
    if not after.startswith("="):
        return name.lower(), "", after[1:]
    if after.startswith('="'):
        value, after = _quoted(after[2:])
        return name.lower(), value, after.partition(";")[2]
    value, _, rest = after[1:].partition(";")
    return name.lower(), value.rstrip(_SPACE), rest


def _quoted(text: str) -> tuple[str, str]:
    """An HTTP quoted string whose opening quote is gone; an unclosed one runs to the end."""
    value: list[str] = []
    escaped = False
    for at, char in enumerate(text):
        if char == '"' and not escaped:
            return "".join(value), text[at + 1 :]
        if char == "\\" and not escaped:
            escaped = True
            continue
        value.append(char)
        escaped = False
    return "".join(value), ""


def sniff(header: str | None, body: bytes) -> str:
    """The media type of a body: its Content-Type, unless that says nothing or calls bytes text. Never raises."""
    essence = content_type(header)[0] if header else None
    if essence is None or essence in _UNKNOWN:
        return _guess(body[:_SNIFF_BYTES])
    if essence == "text/plain" and _looks_binary(body[:_SNIFF_BYTES]):
        return "application/octet-stream"  # §7.2: servers call what they do not know text/plain
    return essence


def _guess(head: bytes) -> str:
    text = head.lstrip(b"\t\n\x0c\r ")
    if _MARKUP.match(text):
        return "text/html"
    if text.startswith(b"<?xml"):
        return "application/xhtml+xml" if b"<html" in text else "text/xml"
    for magic, essence in _MAGIC:
        if head.startswith(magic):
            return essence
    if head[:4] == b"RIFF" and head[8:14] == b"WEBPVP":
        return "image/webp"
    if _looks_binary(head):
        return "application/octet-stream"
    return "text/html" if _ANY_TAG.search(head) else "text/plain"  # the standard stops at the 17 elements above


def _looks_binary(head: bytes) -> bool:
    return not head.startswith((b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")) and _BINARY.search(head) is not None
