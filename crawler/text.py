"""Text from the web on its way to a terminal or a log: nothing in it can draw, and nothing secret is in it."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # C0, DEL, C1, bidi controls (FAULTS O1)
_SECRET = re.compile(
    r"([?&;](?:[^=&;#]*(?:token|key|sig|passw|pwd|sess|auth|secret|credential|otp)[^=&;#]*|sid|pass|pin|code|jwt)=)[^&;#\s]+",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=//)[^/?#\s<>\"\\]*@")


def printable(text: str) -> str:
    """The text on one line, every control character shown as ``\\xNN`` or ``\\uNNNN``."""
    return _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def discreet(url: str) -> str:
    """A URL for a log or a terminal: printable, values of what looks like a secret shown as ``…`` (FAULTS V1)."""
    return printable(_SECRET.sub(r"\1…", _USERINFO.sub("…@", url)))


def without_userinfo(text: str) -> str:
    """The text with ``user:password@`` taken out of its URLs: for what is stored (FAULTS U9, V1)."""
    return _USERINFO.sub("", text)
