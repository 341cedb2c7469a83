"""One URL: what became of it, how it was found, what it said, what it links to and what links to it."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from crawler.cli.explain import Explanation, explanation
from crawler.progress import plural
from crawler.report import words
from crawler.report.markup import Safe, foreign, joined, lines, tag
from crawler.web.asked import Asked, BadRequest, Shown, address
from crawler.web.parts import Column, facts, inside, outside, section, table

if TYPE_CHECKING:
    from storage.reader import Body

FEW = 20  # links each way that are shown on the page itself
LONGEST = 20_000  # characters of a body that are shown on the page itself
FOUND = "SELECT u.id FROM url u JOIN origin o ON o.id = u.origin WHERE o.name = ? AND u.path = ?"
PAGE = """SELECT status, mime, charset, title, size, fetched_at, elapsed_ms, digest, parse, truncated, robots, data
FROM pages WHERE id = ?"""
OUT = """SELECT o.name || u.path, l.kind, l.rel, l.text, u.outcome, u.reason FROM link l CROSS JOIN url u ON u.id = l.dst
JOIN origin o ON o.id = u.origin WHERE l.src = ? ORDER BY l.dst, l.kind LIMIT ?"""
IN = """SELECT o.name || u.path, l.kind, l.rel, l.text, u.outcome, u.reason FROM link l CROSS JOIN url u ON u.id = l.src
JOIN origin o ON o.id = u.origin WHERE l.dst = ? LIMIT ?"""
TEXT = "SELECT body FROM derived.text WHERE rowid = ?"
OUTCOMES = {"page": "a page", "redirect": "a redirect", "failure": "failed", "skipped": "skipped", "sitemap": "a sitemap"}
PATIENCE = 3.0  # s to look for the links to a page
MOST = 10_000  # links that are listed
LINK = (Column("URL"), Column("words of the link"), Column("kind", short=True), Column("which is", short=True))


def page(asked: Asked) -> Shown:
    told = explanation(asked.reader, _url(asked))
    number = _number(asked, told.url)
    if number is None:
        return Shown(told.url, joined(_head(told, None), _verdict(told)))
    body = _body(asked, told.url)
    row = next(iter(asked.rows(PAGE, (number,))), None)
    title = row[3] if row else None
    content = joined(
        _head(told, title), tag("div", _verdict(told), _facts(row), class_="two"), _found(told),
        tag("div", _attempts(asked, told), _headers(body), class_="two"), _data(row),
        _text(asked, number), _source(told.url, body),
        *(_links(asked, number, told.url, way) for way in ("out", "in")),
    )  # fmt: skip
    return Shown(title or told.url, content)


def links(asked: Asked) -> Shown:
    """All links of a page, one way."""
    url = explanation(asked.reader, _url(asked)).url
    number = _number(asked, url)
    if number is None:
        raise BadRequest("The crawl never met this URL.", 404)
    way = "in" if asked["way"] == "in" else "out"
    title = "Links to it" if way == "in" else "Links on it"
    return Shown(title, joined(tag("h1", title), tag("p", inside(url)), _table(asked, number, way, MOST)[0]))


def _url(asked: Asked) -> str:
    if not asked["url"]:
        raise BadRequest("Which URL? This address names none.")
    return asked["url"]


def _number(asked: Asked, url: str) -> int | None:
    from crawler.url import InvalidUrl, admit

    try:
        place = admit(url)
    except InvalidUrl:
        return None
    found = asked.rows(FOUND, (place.origin, place.path))
    return found[0][0] if found else None


def _body(asked: Asked, url: str) -> Body | None:
    from crawler.url import admit

    return asked.reader.body(admit(url))


def body_text(asked: Asked) -> str:
    """The whole stored body as text; BadRequest when there is none."""
    from crawler.url import InvalidUrl

    try:
        body = _body(asked, _url(asked))
    except InvalidUrl:
        body = None
    if body is None or body.content is None:
        raise BadRequest("Nothing is stored for this URL.", 404)
    return decoded(body)


def decoded(body: Body) -> str:
    from crawler.parse.charset import decode

    return decode(body.content or b"", f"{body.mime or 'text/html'}; charset={body.charset or ''}")[0]


def _head(told: Explanation, title: str | None) -> Safe:
    shown = tag("span", foreign(told.url), class_="url")
    return joined(tag("h1", foreign(title or told.url)), tag("p", shown, " ", outside(told.url)))


def _verdict(told: Explanation) -> Safe:
    return facts(("verdict", foreign(told.verdict)), ("next", told.next), ("scope", foreign(told.scope)),
                 ("robots.txt", foreign(told.robots)), ("depth", told.depth))  # fmt: skip


def _facts(row: tuple[Any, ...] | None) -> Safe | None:
    if row is None:
        return None
    status, mime, charset, _, size, at, ms, digest, parse, truncated, robots, _ = row
    return facts(
        ("status", words.answered(status)), ("kind", foreign(mime) if mime else None),
        ("charset", foreign(charset) if charset else None), ("size", f"{size:,} bytes" if size is not None else None),
        ("fetched", f"{at[:19].replace('T', ' ')} UTC"), ("time", f"{ms:,} ms"),
        ("not whole", words.partly(parse, truncated)), ("its robots words", foreign(robots) if robots else None),
        ("SHA-256", tag("code", digest) if digest else None),
    )  # fmt: skip


def _found(told: Explanation) -> Safe | None:
    """The hop path, from the seed on."""
    steps = []
    for hop in told.found:
        how = hop["kind"] or ("robots.txt" if hop["url"].endswith("/robots.txt") else "seed")
        steps.append(tag("li", tag("span", how, class_="kind"), tag("q", foreign(hop["text"])) if hop["text"] else None, " ",
                         inside(hop["url"])))  # fmt: skip
    return section("How it was found", tag("ol", *steps, class_="path"), id="found") if steps else None


def _attempts(asked: Asked, told: Explanation) -> Safe | None:
    rows = [[a["at"][:19].replace("T", " "), words.answered(a["status"]) if a["status"] else words.failed(a["reason"]),
             f"{a['elapsed_ms']:,} ms"] for a in reversed(told.attempts[-FEW:])]  # fmt: skip
    if not rows:
        return None
    named = f"{plural(len(told.attempts), 'attempt')}, the latest first"
    columns = [Column("at (UTC)"), Column("answer", short=True), Column("time", number=True)]
    shown = table(asked, columns, rows, label=named, kind="wide fit")
    return section("History", shown, more=tag("small", named), id="history")


def _headers(body: Body | None) -> Safe | None:
    if body is None or not body.headers:
        return None
    return section("Headers", facts(*((foreign(name), foreign(value)) for name, value in body.headers)), id="headers")


def _data(row: tuple[Any, ...] | None) -> Safe | None:
    if row is None or not row[11]:
        return None
    try:
        shown = json.dumps(json.loads(row[11]), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        shown = row[11]
    return section("Data", _pre(shown), id="data")


def _text(asked: Asked, number: int) -> Safe | None:
    """What a reader of the page reads, if the index is there (`crawler index`)."""
    try:
        found = asked.rows(TEXT, (number,))
    except sqlite3.OperationalError:
        return None
    return section("Text", _pre(found[0][0], "prose"), id="text") if found and found[0][0] else None


def _source(url: str, body: Body | None) -> Safe | None:
    if body is None or body.content is None:
        return None
    if b"\0" in body.content[:1000]:
        return section("Body", tag("p", f"{words.size(len(body.content))} that are no text; crawler show gives them."), id="body")
    return section("Body", _pre(decoded(body)), more=tag("a", "whole", href=address("/body", url=url)), id="body")


def _pre(text: str, kind: str | None = None) -> Safe:
    cut = tag("p", f"The first {LONGEST:,} of {len(text):,} characters.", class_="soft") if len(text) > LONGEST else None
    return joined(tag("pre", lines(text[:LONGEST]), class_=kind, tabindex="0"), cut)


def _links(asked: Asked, number: int, url: str, way: str) -> Safe:
    content, n = _table(asked, number, way, FEW)
    title = "Links to it" if way == "in" else "Links on it"
    more = tag("a", "all", href=address("/links", url=url, way=way)) if n > FEW else None
    return section(title, content, more=more, id=f"links-{way}")


def _table(asked: Asked, number: int, way: str, most: int) -> tuple[Safe, int]:
    """The first links, and how many were found, one more at most than are shown. Links to a page are looked for among all
    links; where that takes too long, it says so."""
    found, whole = list[tuple[Any, ...]](), True
    try:
        with asked.within(PATIENCE if most == FEW else 60.0):
            for row in asked.reader.db.execute(IN if way == "in" else OUT, (number, most + 1)):
                found.append(row)
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        whole = False
    rows = [[inside(url), foreign(text), kind if rel in (None, kind) else f"{kind} {rel}", _outcome(outcome, reason)]
            for url, kind, rel, text, outcome, reason in found[:most]]  # fmt: skip
    note = None if whole else tag("p", "There may be more: looking through all links took too long. ", class_="bad")
    cut = tag("p", f"These are the first {most:,}.", class_="soft") if len(found) > most else None
    return joined(table(asked, LINK, rows, label="Links"), cut, note), len(found) if whole else most + 1


def _outcome(outcome: str | None, reason: str | None) -> Safe | str:
    if outcome == "failure":
        return tag("span", words.failed(reason), class_="bad")
    return f"skipped: {words.skipped(reason)}" if outcome == "skipped" else OUTCOMES.get(outcome or "", "not fetched")
