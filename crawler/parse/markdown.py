"""Markdown of a page (CommonMark, with GitHub's tables): headings, paragraphs, lists, quotes, code, tables, links, images.

Knows a tree by its methods only. What a page wrote as text is text in Markdown too: what would be a sign is escaped, and
no HTML comes through. Elements nested deeper than anybody reads are taken as their text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from crawler.parse.article import BLOCKS, DEEP, flat, furniture, main_part
from crawler.url import InvalidUrl, canonical

_SIGN = re.compile(r"[\\`*\[\]<]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|&(?=[#\w])")
_START = re.compile(r"(#{1,6}(?= |$)|[+-](?= |$)|>|=+$|-+$|\d{1,9}(?=[.)](?: |$)))")
_CLOSING = re.compile(r"(?:\A|(?<= ))#+\Z")  # at a heading's end it would be taken for the end
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~"}
_CODE = frozenset({"code", "kbd", "samp", "tt"})


def bracketed(url: str) -> str:
    """A URL as it may stand in brackets."""
    return f"<{url}>" if "(" in url or ")" in url or " " in url else url


def markdown(tree: Any, url: str, written: Callable[[str], str] = bracketed) -> str:
    """The main part of a page, its links as full URLs, ``written`` as that says."""
    part = main_part(tree)
    if part is None:
        return ""
    base = tree.css_first("base[href]")
    with suppress(InvalidUrl):
        url = canonical(base.attributes["href"] or "", url) if base is not None else url
    return "\n\n".join(Markdown(url, written=written).blocks(part, 0))


class Markdown:
    """Turns elements into blocks of Markdown. ``base``: what links are resolved against; ``skip``: what is left out;
    ``written``: a URL as it stands in brackets."""

    def __init__(
        self, base: str, skip: Callable[[Any], bool] = furniture, written: Callable[[str], str] = bracketed
    ) -> None:
        self._base, self._skip, self._written = base, skip, written

    def blocks(self, node: Any, depth: int) -> Iterator[str]:
        """The blocks in an element; what stands between them makes blocks of its own."""
        if depth > DEEP:
            yield from _paragraph(_escaped(flat(node.text())))
            return
        run: list[str] = []
        for child in node.iter(include_text=True):
            if child.tag in BLOCKS:
                yield from _paragraph(_joined(run))
                run = []
                if not self._skip(child):
                    yield from self._block(child, depth + 1)
            else:
                run.append(self._inline(child, depth + 1))
        yield from _paragraph(_joined(run))

    def _block(self, node: Any, depth: int) -> Iterator[str]:
        tag = node.tag
        if tag in ("ul", "ol"):
            yield from _whole("\n".join(self._items(node, tag == "ol", depth)))
        elif tag == "pre":
            yield from _fenced(node.text())
        elif tag == "blockquote":
            quoted = "\n\n".join(self.blocks(node, depth))
            yield from _whole("\n".join(f"> {line}".rstrip() for line in quoted.split("\n")) if quoted else "")
        elif tag == "table":
            yield from self._table(node, depth)
        elif tag == "hr":
            yield "---"
        elif len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            text = _CLOSING.sub(r"\\\g<0>", flat(self._run(node, depth)))
            yield from _whole(f"{'#' * int(tag[1])} {text}" if text else "")
        else:
            yield from self.blocks(node, depth)

    def _items(self, node: Any, ordered: bool, depth: int) -> Iterator[str]:
        number = 1
        for child in node.iter(include_text=True):
            sign = f"{number}. " if ordered else "- "
            lines = "\n\n".join(self._item(child, depth)).split("\n")
            if lines != [""]:
                yield sign + "\n".join([lines[0], *(" " * len(sign) + line if line else "" for line in lines[1:])])
                number += 1

    def _item(self, node: Any, depth: int) -> Iterator[str]:
        """What stands in a list, be it in an ``li`` or not."""
        if node.tag not in BLOCKS:
            return _paragraph(self._inline(node, depth))
        if self._skip(node):
            return iter(())
        return self.blocks(node, depth) if node.tag == "li" else self._block(node, depth)

    def _table(self, node: Any, depth: int) -> Iterator[str]:
        """A table of data as a table; one that holds blocks, or other tables, was made for the layout: its blocks."""
        rows = [row for row in node.css("tr") if not self._skip(row)]
        cells = [[cell for cell in row.iter() if cell.tag in ("td", "th")] for row in rows]
        width = max(map(len, cells), default=0)
        if width < 2 or len(rows) < 2 or node.css_first("table table, td p, td div, td ul, td h1, td h2, td pre"):
            yield from self.blocks(node, depth)
            return
        lines = [[flat(self._run(cell, depth)).replace("|", "\\|") for cell in row] for row in cells]
        for caption in node.css("caption"):
            yield from self.blocks(caption, depth)
        lines[0] += [""] * (width - len(lines[0]))  # of the others a reader fills up what is missing
        head, *rest = [f"| {' | '.join(line)} |" for line in lines]
        yield "\n".join([head, f"|{' --- |' * width}", *rest])

    # --- within a line ---

    def _run(self, node: Any, depth: int) -> str:
        if depth > DEEP:
            return _escaped(flat(node.text()))
        return _joined([self._inline(child, depth + 1) for child in node.iter(include_text=True)])

    def _inline(self, node: Any, depth: int) -> str:
        tag = node.tag or "-"
        if tag == "-text":
            return _escaped(_spaced(node.text_content or ""))
        if tag[0] in "-!_" or self._skip(node):
            return ""
        return self._element(tag, node, depth)

    def _element(self, tag: str, node: Any, depth: int) -> str:
        if tag == "br":
            return "\n"
        if tag == "img":
            return self._image(node)
        if tag in _CODE:
            return _code(flat(node.text()))
        text = self._run(node, depth)
        if tag == "a":
            return self._link(text, node.attributes.get("href"))
        return _marked(text, _MARKS[tag]) if tag in _MARKS else text

    def _link(self, text: str, href: str | None) -> str:
        url = self._url(href)
        return _marked(text, "[", f"]({url})") if url and flat(text) else text

    def _image(self, node: Any) -> str:
        attributes = node.attributes
        url, alt = self._url(attributes.get("src")), _escaped(flat(attributes.get("alt") or ""))
        return f"![{alt}]({url})" if url and alt else alt

    def _url(self, href: str | None) -> str:
        """Where a web link leads, fit to stand in brackets; "" for a fragment of the page and for what is no web link."""
        if not href or href.startswith("#"):
            return ""
        try:
            url = canonical(href, self._base)
        except InvalidUrl:
            return ""
        if not url.startswith(("http://", "https://", "mailto:")):
            return ""
        return self._written(url)


def _spaced(text: str) -> str:
    """White space as a browser shows it: collapsed, kept at the ends."""
    inner = " ".join(text.split())
    if not inner:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + inner + (" " if text[-1].isspace() else "")


def _escaped(text: str) -> str:
    return _SIGN.sub(r"\\\g<0>", text)


def _joined(pieces: list[str]) -> str:
    """Signs of two neighbours would be read as one."""
    text = ""
    for piece in pieces:
        apart = piece[:1] in ("`", "*", "~") and text.endswith(piece[0]) and not text.endswith("\\" + piece[0])
        text += f" {piece}" if apart else piece
    return text


def _paragraph(run: str) -> Iterator[str]:
    """The lines of a paragraph, with hard breaks between them."""
    yield from _whole("\\\n".join(_begun(line) for part in run.split("\n") if (line := flat(part))))


def _begun(line: str) -> str:
    """What would begin a heading, a list or a quote is escaped."""
    found = _START.match(line)
    if found is None:
        return line
    return f"{found[0]}\\{line[found.end():]}" if line[0].isdigit() else f"\\{line}"


def _whole(block: str) -> Iterator[str]:
    if block:
        yield block


def _marked(text: str, sign: str, end: str | None = None) -> str:
    """Signs close to the words: white space within them would make them letters."""
    inner = " ".join(text.split())
    if not inner or (end is None and inner.startswith(sign) and inner.endswith(sign)):
        return text
    return f"{' ' if text[0].isspace() else ''}{sign}{inner}{end or sign}{' ' if text[-1].isspace() else ''}"


def _code(text: str) -> str:
    if not text:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _fenced(text: str) -> Iterator[str]:
    text = text.strip("\n").rstrip()
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield from _whole(f"{fence}\n{text}\n{fence}" if text else "")
