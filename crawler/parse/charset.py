"""From bytes to text as browsers do it (WHATWG Encoding; HTML §13.2.3.2). Never an exception, whatever the server says.

Only labels of the WHATWG table are known. A server's string never reaches `codecs.lookup`, which would import modules
by name and knows codecs that are no charsets (zip, rot13, idna).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import lru_cache

import webencodings  # type: ignore[import-untyped]
from webencodings.labels import LABELS  # type: ignore[import-untyped]

from crawler.parse.mime import content_type as parse_content_type

PRESCAN = 1024  # bytes in which a page must declare its charset (HTML §4.2.5.4)

_Decoder = Callable[[bytes, str], tuple[str, int]]
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16be"), (b"\xff\xfe", "utf-16le"))

# Python's cp1252 has five holes that the standard's table maps to the C1 controls of the same number.
_CP1252 = "".join(bytes((n,)).decode("cp1252", "ignore") or chr(n) for n in range(256))


def _windows_1252(body: bytes, errors: str) -> tuple[str, int]:
    return codecs.charmap_decode(body, errors, _CP1252)


@lru_cache(maxsize=64)  # there are 40 encodings
def _decoder(name: str) -> _Decoder:
    if name == "windows-1252":
        return _windows_1252
    if name == "gbk":
        name = "gb18030"  # the standard's gbk decoder is gb18030's; Python's gbk lacks the euro and four-byte forms
    encoding = webencodings.lookup(name)
    assert encoding is not None, name  # names come from the same table
    return encoding.codec_info.decode  # type: ignore[no-any-return]


def encoding_of(label: str) -> str | None:
    """The encoding a label stands for (lower case, as ``windows-1252`` for ``latin1``), or None for no label at all."""
    return LABELS.get(label.strip("\t\n\x0c\r ").lower()) if len(label) < 64 else None


def decode(body: bytes, content_type: str | None = None) -> tuple[str, str]:
    """The text of an HTML body and the name of its encoding (lower case WHATWG name). Never raises.

    In order: byte order mark, the charset of the Content-Type header, a declaration in the first 1,024 bytes, UTF-8 if
    the whole body is valid, else windows-1252. What an encoding cannot hold becomes U+FFFD.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return _decoder(name)(body[len(mark) :], "replace")[0], name
    name_or_none = from_header(content_type) or prescan(body[:PRESCAN])
    if name_or_none:
        return _decoder(name_or_none)(body, "replace")[0], name_or_none
    return _undeclared(body)


def from_header(content_type: str | None) -> str | None:
    """The encoding a Content-Type header names, if it names a known one."""
    label = parse_content_type(content_type)[1] if content_type else None
    return encoding_of(label) if label else None


def _undeclared(body: bytes) -> tuple[str, str]:
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if _only_cut_short(body, error):
            return body.decode("utf-8", "replace"), "utf-8"
    return _windows_1252(body, "replace")[0], "windows-1252"


def _only_cut_short(body: bytes, error: UnicodeDecodeError) -> bool:
    """A body capped in the middle of a character is still UTF-8, if it showed other such characters before."""
    return error.reason == "unexpected end of data" and not body[: error.start].isascii()


def sniff_xml(head: bytes) -> tuple[str, int]:
    """The encoding of an XML or plain text file by its first bytes, and the length of its byte order mark.

    In order: the mark, UTF-16 without one (XML 1.0 appendix F), the XML declaration, UTF-8.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name, len(mark)
    if head.startswith(b"<\0"):
        return "utf-16le", 0
    if head.startswith(b"\0<"):
        return "utf-16be", 0
    return _xml(head.lstrip()) or "utf-8", 0


def incremental(name: str) -> Callable[[bytes, bool], str]:
    """A decoder for pieces of a text: told whether this is the last; what the encoding cannot hold becomes U+FFFD."""
    if name == "windows-1252":
        return lambda piece, last: _windows_1252(piece, "replace")[0]
    encoding = webencodings.lookup("gb18030" if name == "gbk" else name)
    assert encoding is not None, name  # names come from the same table
    return encoding.codec_info.incrementaldecoder("replace").decode  # type: ignore[no-any-return]


# --- The prescan (HTML §13.2.3.2 "prescan a byte stream to determine its encoding") ---

_ATTRIBUTE = re.compile(
    rb"[\t\n\x0c\r /]*(=?[^\t\n\x0c\r =/>]*)[\t\n\x0c\r ]*"
    rb"(?:=[\t\n\x0c\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\x0c\r >]*)))?"
)
_META = re.compile(rb"<meta[\t\n\x0c\r /]", re.IGNORECASE)
_TAG = re.compile(rb"</?[A-Za-z][^\t\n\x0c\r >]*")
_BOGUS = re.compile(rb"<[!/?]")
_PRAGMA_CHARSET = re.compile(
    rb"charset[\t\n\x0c\r ]*=[\t\n\x0c\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\"'\t\n\x0c\r ;][^\t\n\x0c\r ;]*))",
    re.IGNORECASE,
)
_XML = re.compile(rb"<\?xml[\t\n\x0c\r ][^>]*?encoding[\x00-\x20]*=[\x00-\x20]*(?:\"([^\"> ]*)\"|'([^'> ]*)')")


def prescan(head: bytes) -> str | None:
    """The encoding declared in the first bytes of a page by meta or an XML declaration, if any."""
    if head.startswith(b"<\x00?\x00x\x00"):
        return "utf-16le"
    if head.startswith(b"\x00<\x00?\x00x"):
        return "utf-16be"
    at = head.find(b"<")
    while at >= 0:
        found, at = _step(head, at)
        if found:
            return _as_declared(found)
        at = head.find(b"<", at) if at >= 0 else -1
    return _xml(head)


def _step(head: bytes, at: int) -> tuple[str | None, int]:
    """What the markup at ``at`` declares, and where to go on (-1: the bytes ran out)."""
    if head.startswith(b"<!--", at):
        end = head.find(b"-->", at + 2)
        return None, end + 3 if end >= 0 else -1
    if meta := _META.match(head, at):
        attributes, end = _attributes(head, meta.end() - 1)
        return (_meta(attributes) if end >= 0 else None), end
    if tag := _TAG.match(head, at):
        return None, _attributes(head, tag.end())[1]
    if _BOGUS.match(head, at):
        return None, head.find(b">", at)
    return None, at + 1


def _attributes(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of the tag whose name ends at ``at``: the first of each name; and where the tag ends."""
    found: dict[bytes, bytes] = {}
    while True:
        match = _ATTRIBUTE.match(head, at)
        assert match is not None  # it matches the empty string
        name, quoted, single, bare = match.groups()
        at = match.end()
        if at >= len(head) or (bare and bare[:1] in b"\"'"):  # ran out, perhaps inside a quoted value
            return found, -1
        if not name:
            return found, at
        found.setdefault(name.lower(), quoted or single or bare or b"")


def _meta(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return encoding_of(attributes[b"charset"].decode("latin-1"))
    if attributes.get(b"http-equiv", b"").lower() != b"content-type":
        return None
    match = _PRAGMA_CHARSET.search(attributes.get(b"content", b""))
    return encoding_of(next(g for g in match.groups() if g is not None).decode("latin-1")) if match else None


def _xml(head: bytes) -> str | None:
    match = _XML.match(head)
    found = encoding_of((match.group(1) or match.group(2) or b"").decode("latin-1")) if match else None
    return _as_declared(found) if found else None


def _as_declared(name: str) -> str:
    """Markup that could be read byte by byte is not UTF-16, whatever it says of itself."""
    return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(name, name)
