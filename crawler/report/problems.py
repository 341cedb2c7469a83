"""What is worth a person's time in a crawl: each problem says what it is, why it matters, what to do, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crawler.progress import plural
from crawler.report import words
from crawler.report.chains import Chain, chains
from crawler.report.facts import of_all, place, rows
from crawler.report.markup import Safe, foreign, joined, link, table, tag

if TYPE_CHECKING:
    from storage.reader import Reader

SHOWN = 20  # rows of a table
REFERRERS = 5  # pages named for a broken link
SLOW_MS, LARGE = 2_000, 1_000_000

BROKEN = "CREATE TEMP TABLE broken (url INTEGER PRIMARY KEY, rank INTEGER, n INTEGER)"
CHOOSE_BROKEN = """INSERT INTO temp.broken SELECT u.id, row_number() OVER (ORDER BY coalesce(i.n, 0) DESC, u.id), coalesce(i.n, 0)
FROM main.url u LEFT JOIN temp.inlink i ON i.url = u.id WHERE u.outcome = 'failure' ORDER BY 2 LIMIT ?"""
BROKEN_ROWS = """SELECT u.id, o.name || u.path, u.reason, f.status, b.n, u.seed, u.due_at IS NOT NULL
FROM temp.broken b JOIN main.url u ON u.id = b.url JOIN main.origin o ON o.id = u.origin
LEFT JOIN main.fetch f ON f.id = u.last ORDER BY b.rank"""
REFERRER = """SELECT dst, src, text FROM main.link WHERE src <> dst AND kind <> 'canonical'
  AND dst IN (SELECT url FROM temp.broken)"""
TITLES = """SELECT title, count(*), min(id), max(id), count(*) OVER (), sum(count(*)) OVER () FROM temp.page
WHERE title <> '' GROUP BY host, title HAVING count(*) > 1 ORDER BY 2 DESC, 3 LIMIT ?"""
BODIES = """SELECT b.size, p.n, p.a, p.z, p.groups, p.pages FROM (
  SELECT body, count(*) AS n, min(id) AS a, max(id) AS z, count(*) OVER () AS groups, sum(count(*)) OVER () AS pages
  FROM temp.page WHERE body IS NOT NULL GROUP BY body HAVING count(*) > 1 ORDER BY 2 DESC, 3 LIMIT ?) p
JOIN main.body b ON b.id = p.body ORDER BY 2 DESC, 3"""
UNTITLED = """SELECT id, coalesce(size, 0), count(*) OVER () FROM temp.page
WHERE mime IN ('text/html', 'application/xhtml+xml') AND parse IS NULL AND coalesce(trim(title), '') = ''
ORDER BY id LIMIT ?"""
SLOW = "SELECT id, elapsed_ms, size, count(*) OVER () FROM temp.page WHERE elapsed_ms >= ? ORDER BY 2 DESC, 1 LIMIT ?"
BIG = """SELECT p.id, p.size, b.size, p.mime, p.pages FROM (
  SELECT id, size, body, mime, count(*) OVER () AS pages FROM temp.page WHERE size >= ? ORDER BY size DESC, id LIMIT ?) p
LEFT JOIN main.body b ON b.id = p.body ORDER BY 2 DESC, 1"""
ORPHANS = """SELECT p.id, p.title, count(*) OVER () FROM temp.page p LEFT JOIN temp.inlink i ON i.url = p.id
WHERE p.seed = 0 AND i.url IS NULL ORDER BY p.id LIMIT ?"""
CUT = """SELECT id, parse, truncated, count(*) OVER () FROM temp.page
WHERE parse IS NOT NULL OR truncated IS NOT NULL ORDER BY id LIMIT ?"""
TROUBLE = """SELECT host, trouble, robots_status, queued, failures, count(*) OVER () FROM hosts
WHERE trouble IS NOT NULL OR robots_status = 'unreachable' ORDER BY queued + failures DESC, host LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem. ``count`` is how many there are; ``where`` a table of the first of them."""

    anchor: str
    title: str
    count: int
    found: str  # how many, in words
    why: str
    todo: str
    query: str  # the ready-made question that has all of them (storage.questions)
    where: Safe


def problems(reader: Reader) -> list[Problem]:
    """Every kind of problem, the weightiest first; a count of 0: the file has none."""
    return [look(reader) for look in LOOKS]


def _pages(reader: Reader, heads: list[str], found: list[list[Any]]) -> Safe:
    """A table whose first cell is a URL's number."""
    numeric = frozenset(i for i, head in enumerate(heads) if head in ("pages", "links", "time", "size", "received", "queued"))
    return table(heads, [[link(place(reader, row[0])), *row[1:]] for row in found], numeric)


def broken(reader: Reader) -> Problem:
    count = reader.counts().failures
    reader.db.execute(BROKEN)
    found = []
    if count:
        reader.db.execute(CHOOSE_BROKEN, (SHOWN,))
        named = _referrers(reader)
        for url, name, reason, status, n, seed, again in rows(reader, BROKEN_ROWS):
            why = words.failed(reason, status) + (" (is tried again)" if again else "")
            found.append([link(name), why, f"{n:,}", _named(reader, named.get(url, []), n, seed)])
    return Problem(
        "broken", "Broken links", count, f"{words.addresses(count)} gave an error instead of a page",
        "Whoever follows such a link is stuck, and search engines think less of the pages that hold it.",
        "Correct the link on the pages named, or bring the missing page back, or redirect its address to where it went.",
        "broken-links",
        table(["address", "what happens", "pages", "stands on"], found, frozenset({2})),
    )  # fmt: skip


def _referrers(reader: Reader) -> dict[int, list[tuple[int, str]]]:
    """The first pages that link to each of the chosen, from one look through all links: no index leads from target to page."""
    found: dict[int, list[tuple[int, str]]] = {}
    for dst, src, text in reader.query(REFERRER)[1]:
        here = found.setdefault(dst, [])
        if len(here) < REFERRERS:
            here.append((src, text))
    return found


def _named(reader: Reader, named: list[tuple[int, str]], n: int, seed: bool) -> Safe:
    lines = [tag("li", link(place(reader, src)), " as “", foreign(text), "”") if text and text.strip()
             else tag("li", link(place(reader, src))) for src, text in named]  # fmt: skip
    if n > len(named):
        lines.append(tag("li", f"and {plural(n - len(named), 'more page')}"))
    if seed:
        lines.append(tag("li", "a start of this crawl"))
    return tag("ul", *lines)


def redirected(reader: Reader) -> Problem:
    found, all_of_them = chains(reader)
    loops = sum(chain.loop for chain in found)
    return Problem(
        "redirects", "Redirect chains and loops", len(found),
        f"{'' if all_of_them else 'At least '}{plural(len(found) - loops, 'chain')} of two redirects or more, "
        f"{plural(loops, 'loop')}",
        "Each redirect costs a visitor another wait. A loop never arrives: browsers give up on it with an error.",
        "Let the first address redirect straight to the last one, and link to the last one.",
        "redirect-chains",
        table(["from", "on the way", "arrives at"], [_chain(chain) for chain in found if chain.urls]),
    )  # fmt: skip


def _chain(chain: Chain) -> list[Any]:
    first, *between = [link(url) for url in chain.urls]
    end = "never: it goes round in a circle" if chain.loop else joined(between.pop(), " ", _end(chain))
    return [first, tag("ol", *(tag("li", hop) for hop in between)), end]


def _end(chain: Chain) -> Safe | None:
    if chain.outcome == "failure":
        return tag("em", f"which does not work: {words.failed(chain.reason, chain.status)}")
    return tag("em", f"which was left out: {words.skipped(chain.reason)}") if chain.outcome == "skipped" else None


def same_titles(reader: Reader) -> Problem:
    found = rows(reader, TITLES, SHOWN)
    groups, pages = of_all(found, 4), of_all(found, 5)
    return Problem(
        "titles", "Pages with the same title", groups,
        f"{plural(pages, 'page')} share {plural(groups, 'title')} with another page of the same host",
        "In search results, bookmarks and tabs nobody can tell these pages apart.",
        "Give each page a title of its own; where the pages are the same, see the part above.",
        "duplicate-titles",
        table(["title", "pages", "for example"], [[foreign(t), f"{n:,}", _two(reader, a, z)] for t, n, a, z, *_ in found],
              frozenset({1})),
    )  # fmt: skip


def same_bodies(reader: Reader) -> Problem:
    found = rows(reader, BODIES, SHOWN)
    groups, pages = of_all(found, 4), of_all(found, 5)
    return Problem(
        "bodies", "Pages that are the same, byte for byte", groups,
        f"{plural(pages, 'page')} are copies of one another, in {plural(groups, 'group')}",
        "The same page at several addresses divides its links and its readers, and is fetched again for nothing.",
        "Choose one address and redirect the others to it, or name it with rel=canonical. Many copies of a short page are "
        "often an error page that answers 200.",
        "exact-duplicates",
        table(["for example", "pages", "size"], [[_two(reader, a, z), f"{n:,}", words.size(size)] for size, n, a, z, *_ in found],
              frozenset({1, 2})),
    )  # fmt: skip


def _two(reader: Reader, a: int, z: int) -> Safe:
    return tag("ul", tag("li", link(place(reader, a))), tag("li", link(place(reader, z))))


def untitled(reader: Reader) -> Problem:
    found = rows(reader, UNTITLED, SHOWN)
    count = of_all(found, 2)
    return Problem(
        "untitled", "Pages without a title", count, f"{plural(count, 'HTML page')} without a title",
        "Search results and browser tabs show a bare address, and screen readers have nothing to announce.",
        "Give each page a <title> that says what it is about.",
        "missing-titles",
        _pages(reader, ["page", "size"], [[url, words.size(size)] for url, size, _ in found]),
    )  # fmt: skip


def slow(reader: Reader) -> Problem:
    found = rows(reader, SLOW, SLOW_MS, SHOWN)
    count = of_all(found, 3)
    return Problem(
        "slow", "Slow pages", count, f"{plural(count, 'page')} took {SLOW_MS / 1000:g} s or longer",
        "Visitors leave while they wait, and a crawler that is polite gets through fewer pages.",
        "See what these pages wait for: a database, another server, or their own size.",
        "slow-pages",
        _pages(reader, ["page", "time", "received"], [[u, f"{ms / 1000:.1f} s", words.size(size)] for u, ms, size, _ in found]),
    )  # fmt: skip


def large(reader: Reader) -> Problem:
    found = rows(reader, BIG, LARGE, SHOWN)
    count = of_all(found, 4)
    return Problem(
        "large", "Large pages and files", count, f"{words.addresses(count)} sent 1 MB or more",
        "On a telephone they are slow and may cost money; each fetch of them loads your server.",
        "Compress text (gzip, brotli), shrink pictures, and divide very long pages.",
        "large-pages",
        _pages(reader, ["address", "received", "size", "kind"],
               [[u, words.size(wire), words.size(size), foreign(mime)] for u, wire, size, mime, _ in found]),
    )  # fmt: skip


def orphans(reader: Reader) -> Problem:
    found = rows(reader, ORPHANS, SHOWN)
    count = of_all(found, 2)
    return Problem(
        "orphans", "Orphans: pages that no page links to", count, f"{plural(count, 'page')} known from a sitemap only",
        "A visitor cannot get there by following links, and search engines take such a page for unimportant.",
        "Link to it from a page where a reader would look for it, or take it out of the sitemap.",
        "orphans",
        _pages(reader, ["page", "title"], [[url, foreign(title)] for url, title, _ in found]),
    )  # fmt: skip


def cut(reader: Reader) -> Problem:
    found = rows(reader, CUT, SHOWN)
    count = of_all(found, 3)
    return Problem(
        "cut", "Pages that were read only in part", count, f"{plural(count, 'page')} cut short or not wholly parsed",
        "Links in the part that is missing were not followed, so this crawl may lack what they lead to.",
        "If these pages matter, raise --max-body or --timeout and crawl again.",
        "not-parsed",
        _pages(reader, ["page", "why"], [[url, words.partly(parse, truncated)] for url, parse, truncated, _ in found]),
    )  # fmt: skip


def trouble(reader: Reader) -> Problem:
    found = rows(reader, TROUBLE, SHOWN)
    count = of_all(found, 5)
    closed = "robots.txt cannot be reached, so nothing may be fetched"
    return Problem(
        "hosts", "Hosts in trouble", count, f"{plural(count, 'host')} gave trouble",
        "What is on them is missing from this crawl.",
        "Look whether they answer in a browser; crawler resume tries again what is still queued.",
        "hosts",
        table(["host", "what is wrong", "queued"],
              [[foreign(host), foreign(what or (closed if robots == "unreachable" else "")), f"{queued:,}"]
               for host, what, robots, queued, *_ in found], frozenset({2})),
    )  # fmt: skip


LOOKS: tuple[Callable[[Reader], Problem], ...] = (
    broken, redirected, trouble, cut, same_bodies, same_titles, untitled, orphans, slow, large,
)  # fmt: skip
