"""What a body holds, found out in processes that may die. Here is what those who only start them need to know."""

from __future__ import annotations

SITEMAP_SIZE = 50 << 20  # bytes of a sitemap, unpacked (sitemaps.org; R10)
OUT_OF_MEMORY = 86  # exit status of a parse worker; any number the interpreter does not use itself


class BadExtractor(ValueError):
    """The user's extractor cannot be loaded; the message says why."""
