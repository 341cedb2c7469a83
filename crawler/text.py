"""Text from the web on its way to a terminal or a log: nothing in it can draw, and nothing secret is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_UNSAFE = re.compile(  # C0, DEL, C1, bidi controls (FAULTS O1); halves of characters, which no stream takes
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NAME = re.compile(r"[?&;]([^=&;#?]*)=")  # of a query's parameter
_VALUE = re.compile(r"[^&;#\s]*")
_SECRET = re.compile(
    r"token|key|sig|passw|pwd|sess|auth|secret|credential|otp|\A(?:sid|pass|pin|code|jwt)\Z", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=//)[^/?#\s<>\"\\]*@")
_SLASHES = re.compile(r"[/\\]{2,}")
_HOST_ENDS = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]+)?(?=[/?#]|\Z)")


def printable(text: str, *, tabs: bool = False) -> str:
    """The text on one line, every control character (but ``tabs``) shown as ``\\xNN`` or ``\\uNNNN``."""
    return "\t".join(_UNSAFE.sub(_shown, part) for part in text.split("\t")) if tabs else _UNSAFE.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    n = ord(found[0])
    return f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}"


def discreet(url: str) -> str:
    """A URL for a log or a terminal: printable, values of what looks like a secret shown as ``…`` (FAULTS V1)."""
    return printable(_without_secrets(_USERINFO.sub("…@", anonymous(url, "…@"))))


def _without_secrets(url: str) -> str:
    """One look from left to right: a pattern that names the secrets took quadratic time (FAULTS P9)."""
    kept, at = "", 0
    for name in _NAME.finditer(url):
        if name.start() < at or not _SECRET.search(name[1]):
            continue
        end = _VALUE.match(url, name.end()).end()  # type: ignore[union-attr]  # matches the empty string
        if end > name.end():
            kept, at = f"{kept}{url[at : name.end()]}…", end
    return kept + url[at:]


def anonymous(url: str, mark: str = "") -> str:
    """A URL as a person typed it, without ``user:password@``, whatever they hold (FAULTS U9, V1).

    Where no plain host follows the slashes, all to the last ``@`` goes: a quote or a ``#`` in a password hides none of it.
    """
    slashes = _SLASHES.search(url) if "@" in url else None
    if slashes is None or _HOST_ENDS.match(url, slashes.end()):
        return url
    _, at, rest = url[slashes.end() :].rpartition("@")
    return url[: slashes.end()] + (mark if at else "") + rest


def without_userinfo(text: str) -> str:
    """The text with ``user:password@`` taken out of its URLs: for what is stored (FAULTS U9, V1)."""
    return _USERINFO.sub("", text)


def near_miss(word: str, known: Iterable[str]) -> str:
    """" (did you mean …?)" when the word is nearly one of those that are known, else ""."""
    found = get_close_matches(word, list(known), 1)
    return f" (did you mean {found[0]!r}?)" if found else ""
