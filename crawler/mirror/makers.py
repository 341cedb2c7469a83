"""What pages are made into: a copy to browse offline, or Markdown. The parts that a parse worker found, joined."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

from crawler.mirror import rewrite
from crawler.mirror.files import Files, Page
from crawler.mirror.names import file_of, href
from crawler.parse.css import rewritten
from crawler.parse.markdown import bracketed
from crawler.parse.mime import HTML
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.url import InvalidUrl, canonical
from storage.export.warc import date

FRONT, LIST = "index.html", "pages.jsonl"  # of our own in a folder: what to open, and what there is
MOST_ENTRIES = 1_000
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])  # left out: Markdown is read in terminals (FAULTS O1)


class Mirror:
    """Each page under a name of its own, links between pages relative, all others absolute."""

    extractor = "crawler.mirror.rewrite:rewriting " + '"html"'

    def name_of(self, url: str, mime: str | None) -> str | None:
        return file_of(url, mime)

    def whole(self, page: Page, data: dict[str, Any], files: Files) -> bytes:
        return _joined(page, data, files).encode("utf-8", "replace")

    def plain(self, page: Page, body: bytes, files: Files) -> bytes:
        """A style sheet's links are written anew too; all else stays as it came."""
        if page.mime != "text/css":
            return body
        become = _target(page, files)

        def other(link: str) -> str | None:
            if link.startswith(("data:", "#")) or {*'"<>\\\n'} & {*link}:
                return None
            try:
                url = canonical(link.encode("latin-1").decode("utf-8", "replace"), page.url)
            except (InvalidUrl, UnicodeEncodeError):
                return None
            return become(url) + "".join(link.partition("#")[1:])

        return rewritten(body.decode("latin-1"), other).encode("latin-1", "replace")

    def raw(self, page: Page, body: bytes, note: str) -> bytes:
        return body

    def front(self, files: Files, crawl: str) -> bytes:
        """A page to open first: it leads to where the crawl began."""
        found = [(url, href(name, FRONT)) for url in files.entries(MOST_ENTRIES) if (name := files.find(url))]
        return joined(
            Safe("<!DOCTYPE html>"),
            tag("meta", charset="utf-8"),
            tag("title", f"Copy of {crawl}"),
            tag("meta", http_equiv="refresh", content=f"0; url={found[0][1]}") if len(found) == 1 else None,
            tag("h1", f"Copy of {crawl}"),
            tag("p", f"{len(files):,} files; {LIST} lists them."),
            tag("ul", *(tag("li", tag("a", foreign(url), href=link)) for url, link in found)),
        ).encode("utf-8", "replace")


class Markdown:
    """HTML pages as Markdown, with what is known of them in front (YAML)."""

    extractor = "crawler.mirror.rewrite:rewriting " + '"markdown"'

    def name_of(self, url: str, mime: str | None) -> str | None:
        return file_of(url, mime).rpartition(".")[0] + ".md" if mime in HTML else None

    def whole(self, page: Page, data: dict[str, Any], files: Files) -> bytes:
        text = _joined(page, data, files).translate(CONTROLS)
        return f"{_front(page)}{text}\n".encode("utf-8", "replace")

    def plain(self, page: Page, body: bytes, files: Files) -> bytes:
        raise AssertionError("only HTML has a name")

    def raw(self, page: Page, body: bytes, note: str) -> bytes:
        return _front(page, note).encode("utf-8", "replace") + body


def _joined(page: Page, data: dict[str, Any], files: Files) -> str:
    """The parts with each URL as it is to be. Raises KeyError, TypeError when they are none."""
    become, parts = _target(page, files), [*data["parts"]]
    for n in range(1, len(parts), 2):
        kind, url = parts[n][:1], parts[n][1:]
        found = url if kind == rewrite.KEPT else become(url)
        parts[n] = escape(found) if kind in rewrite.ATTRIBUTES else bracketed(found) if kind == rewrite.TEXT else found
    return "".join(parts)


def _target(page: Page, files: Files) -> Callable[[str], str]:
    """Where a URL leads from the file of a page."""

    def become(url: str) -> str:
        name = files.find(url)
        return url if name is None else href(name, page.name)

    return become


def _front(page: Page, note: str | None = None) -> str:
    known = {"url": page.url, "title": page.title, "fetched_at": date(page.at), "note": note}
    return "---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in known.items() if value) + "---\n\n"
