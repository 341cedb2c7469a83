"""The first page: how the crawl stands, in figures and charts that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crawler.progress import duration, plural
from crawler.report import plots, words
from crawler.report.facts import BUSY_HOSTS, HISTOGRAMS, RUNS, SLOW_HOSTS, Histogram
from crawler.report.markup import Safe, foreign, joined, tag
from crawler.web.asked import Asked, Shown, address
from crawler.web.parts import Column, inside, section, table, when
from crawler.web.sheet import Sheet

POINTS = 80  # of the line over the whole crawl
RECENT = 300  # s
PAUSE = 60  # s without a request: the crawl rested, and its time is left out
MOST = 10_000  # ticks that are looked at one by one; of a longer crawl some are taken together
BINNED = {"depth": HISTOGRAMS[0], "size": HISTOGRAMS[1], "elapsed_ms": HISTOGRAMS[2]}
TICKS = "SELECT at / :width, sum(requests) FROM tick GROUP BY 1 ORDER BY 1"
LATELY = "SELECT at, requests FROM tick WHERE at > (SELECT max(at) FROM tick) - ? ORDER BY at"
ANSWERS = "SELECT status, reason, n FROM answer ORDER BY n DESC LIMIT 7"
KINDS = "SELECT mime, count(*) FROM page GROUP BY mime ORDER BY 2 DESC LIMIT 6"
LAST = """SELECT o.name || u.path, f.status, f.reason, f.outcome, f.elapsed_ms, f.at FROM fetch f CROSS JOIN url u ON u.id = f.url
JOIN origin o ON o.id = u.origin ORDER BY f.id DESC LIMIT 8"""
SEEDS = """SELECT o.name || u.path FROM url u JOIN origin o ON o.id = u.origin WHERE u.seed = 1 ORDER BY u.id LIMIT 4"""


def overview(asked: Asked) -> Shown:
    body = joined(
        tag("h1", asked.reader.path.name),
        tag("p", "Crawl of ", *_seeds(asked), class_="soft"),
        tag("div", _tiles(asked), _now(asked), data_part="now"),
        tag("div", *_charts(asked), class_="plots", data_part="charts"),
        tag("div", _last(asked), data_part="last"),
    )
    return Shown("Overview", body, live=True)


def _seeds(asked: Asked) -> list[Safe | str]:
    seeds = [row[0] for row in asked.rows(SEEDS)]
    named: list[Safe | str] = []
    for url in seeds[:3]:
        named += [", "] * bool(named) + [inside(url)]
    return [*named, " and more" * (len(seeds) > 3)] if named else ["nothing yet"]


def _tiles(asked: Asked) -> Safe:
    counts = asked.reader.counts()
    runs, requests, _, reused, received = (n or 0 for n in asked.rows(RUNS)[0])
    tiles = [
        ("pages", counts.pages, f"on {plural(counts.hosts, 'host')}", "/pages"),
        ("failures", counts.failures, "URLs without an answer to use", "/failures"),
        ("redirects", counts.redirects, "URLs that moved", "/redirects"),
        ("skipped", counts.skipped, "refused, each with its reason", "/skipped"),
        ("queued", counts.queued, "waiting, or to be tried again", address("/sql", name="next-in-queue")),
        ("requests", requests, f"{reused:,} on an open connection", None),
        ("received", words.size(received), f"in {plural(runs, 'run')}", None),
    ]
    return tag("dl", *(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, n: int | str, more: str, href: str | None) -> Safe:
    shown = n if isinstance(n, str) else f"{n:,}"
    return tag("div", tag("dt", name), tag("dd", tag("a", shown, href=href) if href else shown, tag("small", more)))


def _now(asked: Asked) -> Safe | None:
    """What the crawl says of itself while it runs; who gives it trouble."""
    run = asked.reader.run() if asked.reader.crawler() else None
    lines: list[Any] = []
    if run and run.progress:
        told = run.progress
        eta = told.get("eta")
        rate = tag("b", f"{told.get('rate', 0):g} pages/s")
        lines.append(tag("li", rate, " · bound by ", told.get("bound_by") or "nothing yet"))
        lines.append(tag("li", "time left: ", "unknown" if eta is None else duration(eta), f" · {told.get('eta_reason') or ''}"))
    for host, what in asked.reader.trouble().items():
        lines.append(tag("li", tag("b", "trouble: ", class_="bad"), foreign(host), ": ", foreign(what)))
    if asked.sheet.missing:
        left = plural(asked.sheet.missing, "request")
        lines.append(tag("li", f"reading the file: {left} to go; charts and lists grow until then"))
    return tag("ul", *lines, class_="now") if lines else None


def _charts(asked: Asked) -> list[Safe]:
    sheet = asked.sheet
    width = 1 + sheet.rows("SELECT count(*) FROM tick")[0][0] // MOST
    recent, whole = curve(sheet.rows(LATELY, (RECENT,))), curve(sheet.rows(TICKS, {"width": width}), width)
    answers = [(words.failed(reason, status or None) if not 0 < status < 400 else words.answered(status), n)
               for status, reason, n in sheet.rows(ANSWERS)]  # fmt: skip
    return [
        plots.line("Requests a second, lately", thinned(recent), ("", "now"), f"the last {duration(len(recent))}"),
        plots.line("Requests a second, all the time", thinned(whole), ("0", duration(len(whole) * width)),
                   "time spent crawling, without pauses"),
        plots.bars("What was answered (each attempt)", answers),
        *(plots.columns(told.title, binned(sheet, column, told), told.axis) for column, told in BINNED.items()),
        plots.bars("Pages by kind", [(mime or "not said", n) for mime, n in sheet.rows(KINDS)]),
        plots.bars("Hosts with most pages", asked.rows(BUSY_HOSTS)),
        plots.bars("Slowest hosts (usual time to answer)", asked.rows(SLOW_HOSTS), " ms"),
    ]  # fmt: skip


def _last(asked: Asked) -> Safe:
    rows = [
        [when(at), inside(url), words.failed(reason, status) if reason else words.answered(status or 0), f"{ms:,} ms"]
        for url, status, reason, _, ms, at in asked.rows(LAST)
    ]
    columns = (Column("at (UTC)"), Column("URL"), Column("answer", short=True), Column("time", number=True))
    return section("Latest requests", table(asked, columns, rows, label="Latest requests"))


def curve(ticks: Sequence[tuple[Any, ...]], width: int = 1) -> list[float]:
    """Requests a second in each tick (number, requests) of ``width`` s, in order; pauses are left out, and so is the tick that
    may not be over."""
    found: list[float] = []
    last = None
    for at, n in ticks:
        gap = at - last - 1 if last is not None else 0
        found += [0.0] * (gap if gap * width < PAUSE else 0)
        found.append(n / width)
        last = at
    return found[:-1] if len(found) > 1 else found


def thinned(values: Sequence[float]) -> list[float]:
    """At most `POINTS` values, each the mean of as many."""
    each = -(-len(values) // POINTS) or 1
    return [sum(values[i : i + each]) / len(values[i : i + each]) for i in range(0, len(values), each)]


def binned(sheet: Sheet, column: str, told: Histogram) -> list[tuple[str, int]]:
    """The pages in each bin, counted along the column's index."""
    lows, highs = (0, *told.edges), (*told.edges, 1 << 62)
    counts = [f"SELECT {i}, count(*) FROM page WHERE {column} >= {low} AND {column} < {high}"  # noqa: S608 - of constants
              for i, (low, high) in enumerate(zip(lows, highs, strict=True))]  # fmt: skip
    counted = dict(sheet.rows(" UNION ALL ".join(counts)))
    return [(name, counted[i]) for i, name in enumerate(told.names)] if any(counted.values()) else []
