"""Text from the web on its way to a terminal or a log: nothing in it can draw, and nothing secret is in it."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # C0, DEL, C1, bidi controls (FAULTS O1)
_SECRET = re.compile(r"([?&][^=&#]*(?:token|key|sig|passw|session|auth|secret)[^=&#]*=)[^&#]+", re.IGNORECASE)


def printable(text: str) -> str:
    """The text on one line, every control character shown as ``\\xNN`` or ``\\uNNNN``."""
    return _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def discreet(url: str) -> str:
    """A URL for a log or a terminal: printable, values of what looks like a secret shown as ``…`` (FAULTS V1)."""
    return printable(_SECRET.sub(r"\1…", url))
