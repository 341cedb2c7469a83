"""The report as one HTML page: no script, nothing from elsewhere, and a policy that would forbid both (FAULTS O3)."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from crawler.progress import duration, plural
from crawler.report import facts, plots, words
from crawler.report.markup import Safe, joined, link, table, tag
from crawler.report.problems import SHOWN, Problem, problems
from crawler.spec import VERSION

if TYPE_CHECKING:
    from storage.reader import Reader


def page(reader: Reader, now: float) -> str:
    """The whole report of a file as it stands; ``now``: Unix s, when it was made. Raises sqlite3.Error for a file that fails."""
    with facts.snapshot(reader):
        found = problems(reader)
        title = f"Crawl report: {reader.path.name}"
        told = (_look(found), _plots(reader), _problems(found, reader.path.name), _reasons(reader))
        body = joined(_head(reader, title), *told, _foot(now))
    style = Safe("".join(files("crawler.report").joinpath(name).read_text("utf-8") for name in ("style.css", "plots.css")))
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    head = tag("head", tag("meta", charset="utf-8"), tag("meta", http_equiv="Content-Security-Policy", content=policy),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="referrer", content="no-referrer"), tag("meta", name="robots", content="noindex"),
               tag("title", title), tag("style", style))  # fmt: skip
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _head(reader: Reader, title: str) -> Safe:
    counts, run = reader.counts(), reader.run()
    state = "running" if reader.crawler() else (run.ending or "killed") if run else "new"
    seeds = facts.rows(reader, facts.SEEDS)
    runs, requests, _, reused, received = (n or 0 for n in facts.rows(reader, facts.RUNS)[0])
    started = facts.rows(reader, "SELECT min(started_at) FROM main.run")[0][0]
    tiles = [
        ("pages", counts.pages, f"on {plural(counts.hosts, 'host')}"),
        ("broken", counts.failures, "addresses that do not work"),
        ("redirects", counts.redirects, "addresses that moved"),
        ("left out", counts.skipped, "each with its reason, below"),
        ("waiting", counts.queued, "still to be fetched, or again"),
        ("requests", requests, f"{reused:,} over an open connection"),
        ("received", words.size(received), f"in {plural(runs, 'run')}"),
    ]
    return tag(
        "header",
        tag("h1", title),
        tag("p", "Crawl of ", *_seeds(seeds), f", begun {_day(started)}. " if started else ". ", words.STATES.get(state, state),
            class_="soft"),
        tag("dl", *(_tile(*tile) for tile in tiles), class_="tiles"),
    )  # fmt: skip


def _seeds(seeds: list[tuple[Any, ...]]) -> list[Safe | str]:
    named: list[Safe | str] = []
    for url, _ in seeds:
        named += [link(url), ", "]
    more = seeds[0][1] - len(seeds) if seeds else 0
    return [*named[:-1], f" and {plural(more, 'more start')}" if more else ""] if named else ["nothing yet"]


def _tile(name: str, n: int | str, more: str) -> Safe:
    return tag("div", tag("dt", name), tag("dd", n if isinstance(n, str) else f"{n:,}", tag("small", more)))


def _day(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _look(found: list[Problem]) -> Safe:
    bad = [p for p in found if p.count]
    fine = [p.title.partition(":")[0].lower() for p in found if not p.count]
    lines = [tag("li", tag("a", p.title, href=f"#{p.anchor}"), tag("span", p.found)) for p in bad]
    return tag(
        "section",
        tag("h2", "What to look at first"),
        tag("ul", *lines, class_="look") if lines else None,
        tag("p", "Looked for and not found: ", ", ".join(fine), ".", class_="good") if fine else None,
    )


def _plots(reader: Reader) -> Safe:
    rates, spent = facts.rate(reader)
    answers = [(words.failed(reason, status) if status is None or status >= 400 else words.answered(status), n)
               for status, reason, n in facts.rows(reader, facts.ANSWERS)]  # fmt: skip
    drawn = [
        plots.line("Requests a second", rates, ("0", duration(spent / 1000)), "time spent crawling, without pauses between runs"),
        plots.bars("What was answered (each attempt)", answers),
        *(plots.columns(told.title, facts.histogram(reader, told), told.axis) for told in facts.HISTOGRAMS),
        plots.bars("Pages by kind", facts.rows(reader, facts.KINDS)),
        plots.bars("Hosts with most pages", facts.rows(reader, facts.BUSY_HOSTS)),
        plots.bars("Slowest hosts (usual time to answer)", facts.rows(reader, facts.SLOW_HOSTS), " ms"),
    ]  # fmt: skip
    return tag("section", tag("h2", "The crawl in pictures"), tag("div", *drawn, class_="plots"))


def _problems(found: list[Problem], file: str) -> Safe:
    bad = [p for p in found if p.count]
    return joined(tag("h2", "Problems, and where they are"), *(_problem(p, file) for p in bad)) if bad else Safe()


def _problem(p: Problem, file: str) -> Safe:
    first = f"These are the first {SHOWN}. All of them: " if p.count > SHOWN else "As rows: "
    return tag(
        "section",
        tag("h3", p.title),
        tag("p", tag("span", f"{p.found}.", class_="count"), f" {p.why}", class_="lead"),
        tag("p", tag("strong", "What to do: "), p.todo, class_="lead"),
        p.where,
        tag("p", first, tag("code", f"crawler query {file} {p.query}"), class_="soft"),
        class_="problem",
        id=p.anchor,
    )


def _reasons(reader: Reader) -> Safe:
    def told(outcome: str, say: Any) -> Safe:
        rows = facts.rows(reader, facts.REASONS, outcome)
        cells = [[say(reason), f"{n:,}", link(facts.place(reader, url))] for reason, n, url in rows]
        return table(["why", "addresses", "for example"], cells, frozenset({1})) if rows else tag("p", "None.", class_="soft")

    return tag(
        "section",
        tag("h2", "Why addresses have no page"),
        tag("h3", "Left out, on purpose"),
        tag("p", "These were met and not fetched. crawler explain says for each which rule it was.", class_="soft"),
        told("skipped", words.skipped),
        tag("h3", "Failed"),
        told("failure", words.failed),
    )


def _foot(now: float) -> Safe:
    return tag(
        "footer",
        tag("p", f"Made {_day(now * 1000)} by poolcrawl {VERSION}. Values in addresses that look like secrets are shown as …"),
    )  # fmt: skip
