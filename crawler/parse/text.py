"""The text of a page and its SimHash, for the index of a crawl file. An extractor: it runs in the parse workers."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

MAX_JSON = 240_000  # bytes: a worker lets an extractor return 256 KiB
SHINGLE = 3  # words
_SILENT = ["script", "style", "noscript", "template", "svg", "head"]
_BITS = [bytes(n >> bit & 1 for n in range(256)) for bit in range(8)]  # by bit: from a byte to that bit of it


def extract(tree: Any, url: str) -> dict[str, Any]:
    """``text`` as a reader sees it, on one line, ``cut`` when it is longer than an answer may be, and ``simhash``.

    ``tree`` None is a body that is no HTML; it has none of them.
    """
    if tree is None or tree.root is None:
        return {}
    tree.strip_tags(_SILENT)
    words = tree.root.text(separator=" ").split()
    text = " ".join(words)
    cut = False
    while len(json.dumps(text)) > MAX_JSON:
        text, cut = text[: len(text) * 3 // 4], True
    return {"text": text, "cut": cut, "simhash": simhash(words)}


def simhash(words: list[str]) -> int | None:
    """64 bits, signed, that differ the less the more of their word triples two texts share; None: too short to say.

    Charikar, "Similarity estimation techniques from rounding algorithms", 2002, over the set of three-word shingles.
    """
    low = [word.lower() for word in words]
    shingles = {" ".join(low[n : n + SHINGLE]) for n in range(len(low) - SHINGLE + 1)}
    if not shingles:
        return None
    hashes = b"".join(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest() for text in shingles)
    bits = 0
    for place in range(8):
        column = hashes[place::8]
        for bit, table in enumerate(_BITS):
            if column.translate(table).count(1) * 2 > len(shingles):
                bits |= 1 << (place * 8 + bit)
    return bits - (1 << 64) if bits >> 63 else bits
