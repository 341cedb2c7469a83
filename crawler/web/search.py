"""Pages by the words in their text, from the crawl's index; and how far that index is."""

from __future__ import annotations

import sqlite3
from typing import Any

from crawler.progress import plural
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, Elsewhere, Shown, address
from crawler.web.parts import field, filters, inside, outside
from storage.index import RANKED, Hit, behind
from storage.index import search as searching

SHOWN = 50


def search(asked: Asked) -> Shown:
    """A URL is shown what is known of it; words are looked for."""
    if asked["q"].startswith(("http://", "https://")):
        raise Elsewhere(address("/page", url=asked["q"]))
    late = behind(asked.reader.db, "text")
    parts: list[Any] = [tag("h1", "Search"), filters(asked, field("words in the text", "q", asked["q"]), words="Search")]
    if late is None or late:
        parts.append(offer(asked, "The text of the pages is not indexed yet." if late is None
                           else f"{plural(late, 'request')} not in the index yet."))  # fmt: skip
    if asked["q"] and late is not None:
        parts.append(_found(asked))
    if asked["q"]:
        parts.append(tag("p", tag("a", "Look in URLs and titles instead", href=address("/pages", q=asked["q"]))))
    else:
        parts.append(tag("p", "“two words” in quotes are a phrase; begin* finds the beginning of words.", class_="soft"))
    return Shown("Search", joined(*parts), live=bool(asked.indexing))


def _found(asked: Asked) -> Safe:
    words = terms(asked["q"])
    try:
        hits, matches = searching(asked.reader.db, words, SHOWN) if words else ([], 0)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise
        return tag("p", f"The index cannot be searched: {error}.", class_="bad")
    many = f"More than {RANKED:,} pages" if matches >= RANKED else plural(matches, "page")
    told = f"{many}; the best {len(hits):,} are shown." if matches > len(hits) else f"{many}."
    return joined(tag("p", told, class_="soft"), tag("ol", *(_hit(hit) for hit in hits), class_="hits") if hits else None)


def _hit(hit: Hit) -> Safe:
    where = tag("p", foreign(hit.url), " ", outside(hit.url), class_="url soft")
    return tag("li", tag("h2", inside(hit.url, hit.title or "(no title)")), where, tag("p", foreign(hit.snippet)))


def terms(text: str) -> list[str]:
    """The words and "phrases" of a search, as `storage.index.search` wants them."""
    parts = text.replace("“", '"').replace("”", '"').split('"')
    found = [word for i, piece in enumerate(parts) for word in ([piece.strip()] if i % 2 else piece.split())]
    return [word for word in found if word.strip("*")]


def offer(asked: Asked, sentence: str) -> Safe:
    """What is not indexed, and a button that has it done; or how that goes."""
    button = tag("button", "Bring the index up to date")
    back = tag("input", type="hidden", name="back", value=asked.at())
    told = tag("p", sentence, " ", tag("b", asked.indexing) if asked.indexing else None)
    return tag("form", told, button, back, method="post", action="/index", class_="offer", data_part="index")
