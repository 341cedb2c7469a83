"""The name of the file that a URL becomes: one that every file system takes, and that nobody on the web chooses.

`http://example.org/a/b?page=2` (HTML) is `example.org/a/b@page=2.html`. Two URLs may come to one name: whoever gives names
asks `key`, and then for `another`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from mimetypes import MimeTypes
from urllib.parse import quote, unquote_to_bytes

LONGEST = 100  # bytes of a part of a name; file systems take 255
DEEPEST = 200  # bytes of a whole name: Windows takes 260, its own folder included
_TYPES = MimeTypes(filenames=())  # those of Python alone: the same on each machine
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
_EXACT = {  # a browser that opens a file knows these by their ending alone
    "text/html": (".html", ".htm"),
    "application/xhtml+xml": (".html", ".htm"),
    "text/css": (".css",),
    "text/javascript": (".js", ".mjs"),
    "application/javascript": (".js", ".mjs"),
    "application/x-javascript": (".js", ".mjs"),
    "image/svg+xml": (".svg",),
}
_OTHERS = {"image/webp": ".webp", "font/woff2": ".woff2", "font/woff": ".woff", "image/x-icon": ".ico",
           "image/vnd.microsoft.icon": ".ico", "image/avif": ".avif", "text/markdown": ".md",
           "application/octet-stream": ""}  # fmt: skip


def file_of(url: str, mime: str | None) -> str:
    """Where a canonical http(s) URL goes, below the folder of the export; with `/` between its parts."""
    host, _, rest = url.partition("://")[2].partition("/")
    path, mark, query = rest.partition("?")
    *folders, name = path.split("/")
    name = _ended((_safe(name) if name else "index") + (f"@{_text(query)}" if mark else ""), mime or "")
    parts = [_safe(host), *(_safe(folder) for folder in folders), _short(name)]
    whole = "/".join(part or "_" for part in parts)
    if len(whole.encode()) <= DEEPEST:
        return whole
    return f"{parts[0]}/{_hash(url)}{_ending(parts[-1])}"


def key(name: str) -> str:
    """Equal for two names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def another(name: str, url: str) -> str:
    """The name for a URL whose own is taken."""
    ending = _ending(name)
    return f"{name.removesuffix(ending)}~{_hash(url)}{ending}"


def href(name: str, start: str) -> str:
    """The relative URL that leads from the file ``start`` to the file ``name``."""
    here, there = start.split("/")[:-1], name.split("/")
    same = 0
    while same < min(len(here), len(there) - 1) and here[same] == there[same]:
        same += 1
    return quote("../" * (len(here) - same) + "/".join(there[same:]), safe="/-._~@=,+!$")


def _ended(name: str, mime: str) -> str:
    """With an ending that says what it is, where it has none or a browser would take it for something else."""
    ending = _ending(name)
    if mime in _EXACT:
        return name if ending.lower() in _EXACT[mime] else name + _EXACT[mime][0]
    known = _OTHERS.get(mime, _TYPES.guess_extension(mime) or (".xml" if mime.endswith("xml") else ""))
    return name if ending and ending.lower() not in (".html", ".htm") else name + known


def _safe(part: str) -> str:
    """Never empty for what is not, nor `.`, `..`, hidden, a device of Windows, or longer than a file system takes."""
    text = _text(part)
    if text and (text.startswith(".") or _DEVICE.fullmatch(text)):
        text = f"_{text}"
    return _short(text)


def _text(part: str) -> str:
    """Escapes undone where they are text; what a file system or a terminal would stumble over is `_`."""
    raw = unquote_to_bytes(part)
    try:
        text = unicodedata.normalize("NFC", raw.decode())
    except UnicodeDecodeError:
        text = part
    text = "".join(char if char.isprintable() else "_" for char in _UNSAFE.sub("_", text))
    return re.sub(r"[. ]\Z", "_", text)


def _short(part: str) -> str:
    if len(part.encode()) <= LONGEST:
        return part
    ending = _ending(part)
    return f"{part.encode()[: LONGEST - 20].decode(errors='ignore')}~{_hash(part)}{ending}"


def _ending(name: str) -> str:
    found = _ENDING.search(name)
    return found[0] if found else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
