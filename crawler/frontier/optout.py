"""Signals by which a site reserves its pages from AI use, and what `--respect-ai-optout` makes of them (FAULTS L9).

Sources: draft-ietf-aipref-attach (Content-Usage), contentsignals.org (Content-Signal), W3C TDMRep (tdm-reservation), and
the robots directives noai and noimageai. All of them are stored as they came, whether they are respected or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from crawler.visit import Extract, Outcome

_REFUSED = re.compile(r"(?:ai|ai-train|ai-input|train-ai|train-genai|genai)[ \t]*=[ \t]*no?", re.IGNORECASE)
_SIGNALS = ("content-usage", "content-signal")
_SAID = ("hreflang", "description", "tdm-reservation", "tdm-policy")  # about the page, for machines


def reserved(outcome: Outcome, extract: Extract, robots: Iterable[str] = ()) -> str | None:
    """The signal that reserves this page from AI use, or None. ``robots``: the values of those lines in robots.txt."""
    image = (extract.mime or "").startswith("image/")
    for directive in ("noai", "noimageai") if image else ("noai",):
        if directive in extract.robots:
            return directive
    if (outcome.header("tdm-reservation") or extract.data.get("tdm-reservation") or "").strip() == "1":
        return "tdm-reservation"
    said = [(name, value) for name in _SIGNALS if (value := outcome.header(name))]
    said += [("robots.txt", value) for value in robots]
    return next((f"{name} {value}" for name, value in said if _refuses(value)), None)


def _refuses(value: str) -> bool:
    close = "=".join(map(str.strip, value.split("=")))  # as a pattern, `\s*=` took a second for 20 kB of blanks (P9)
    return any(_REFUSED.fullmatch(part.strip(" \t\"")) for part in re.split("[,; ]", close))


def withheld(extract: Extract, why: str) -> Extract:
    """The page without its body, and without what was taken out of it: what it was is said by digest and size, what it
    linked to stays."""
    data = {k: v for k, v in extract.data.items() if k in _SAID} | {"digest": extract.digest.hex(), "size": extract.size}
    return replace(extract, digest=b"", packed=b"", parse=f"body withheld: {why}", data=data)
