"""The page of measured figures, from benchmarks/results/*.json and performance-notes.md; docs/generate.py writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"

HEAD = """# Speed and scale, measured

<!-- Written by docs/generate.py from benchmarks/results/ and performance-notes.md; edit there. -->

What the crawler does in an hour, beside others and as a crawl grows, with everything on: robots.txt, politeness (delay 0
where nothing else is said), killable parsing, all links stored, bodies compressed, `synchronous=FULL`, the file on a disk.

"""

READ = """
## How to read them

- *Against* means: both in the same run, in turn, each lap beginning with another one; the median of the laps' ratios. The
  machine is shared and its clock drifts, so pages/s of two runs say little, ratios within a run much.
- The web is the bench kit's: 50 loopback hosts, 28 kB and 66 links a page, 2,000 pages or 20,000, nginx on the same cores.
- A page counts when nginx's log has its 200. *Whole* is from the start of the process to its end, *active* from the first
  request to the last. The peers ignore robots.txt and store no links; spider-rs is given no titles to find; its end
  and wget2's are a silence of some seconds, so only their active time counts.
- CPU is user and system time of the whole process tree, orphans included; memory the most that all processes held, what
  they share counted for each; bytes a page are those of all files of the crawl after its end.
- The floor is one process that fetches (aiohttp's session on uvloop), parses (selectolax) and joins links, and stores
  nothing (`benchmarks/floor.py`).

The programs, what they need and what each shows: [benchmarks/README.md](../benchmarks/README.md). All of the table:

    make bench bench-peers bench-scale
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: where it is in the results, what it should be, how it is written. ``most``: less is better."""

    title: str
    path: str
    required: float
    stretch: float
    form: str = "{:,.2f}"
    most: bool = False

    def verdict(self, value: float | None) -> str:
        if value is None:
            return ""
        reached = [value <= goal if self.most else value >= goal for goal in (self.required, self.stretch)]
        return "stretch" if reached[1] else "required" if reached[0] else "**missed**"

    def line(self, value: float | None) -> list[str]:
        shown = "not measured" if value is None else self.form.format(value)
        goals = [("≤ " if self.most else "≥ ") + self.form.format(goal) for goal in (self.required, self.stretch)]
        return [self.title, shown, *goals, self.verdict(value)]


TIMES, S, MIB, COUNT = "{:,.1f} ×", "{:.2f} s", "{:,.0f} MiB", "{:,.0f}"
ROWS = (
    Row("pages/s against Scrapy, 2,000 pages, whole", "peers.small.scrapy.speed", 12, 18, TIMES),
    Row("pages/s against Crawlee-Python, 2,000 pages, whole", "peers.small.crawlee.speed", 10, 14, TIMES),
    Row("pages/s against spider-rs, 20,000 pages, active", "peers.big.spider.active_speed", 0.7, 1.0, "{:.2f} ×"),
    Row("pages/s against wget2, 20,000 pages, active", "peers.big.wget2.active_speed", 0.5, 0.8, "{:.2f} ×"),
    Row("50 ms a page, 64 connections (ideal 1,280): pages/s", "latency.64.pages_per_s_active", 850, 1100, COUNT),
    Row("50 ms a page, 256 connections: pages/s", "latency.256.pages_per_s_active", 1300, 1600, COUNT),
    Row("CPU a page against the floor, 20,000 pages", "peers.big.floor.cpu", 3, 2, "{:.2f} ×", most=True),
    Row("CPU a page against Scrapy's", "peers.small.scrapy.cpu", 1 / 8, 1 / 12, "{:.3f} ×", most=True),
    Row("start to first request, fresh file", "flat.first_request_s", 0.5, 0.3, S, most=True),
    Row("20,000 pages: last 5,000 against first 5,000", "flat.last_against_first", 0.95, 1.0),
    Row("frontier: pages/s with 10 M queued against none", "scale.crawl.full_against_empty", 0.85, 0.95),
    Row("frontier: new URLs a second into 10 M", "scale.inserts.new_per_s", 15_000, 60_000, COUNT),
    Row("… of these lost", "scale.inserts.lost", 0, 0, COUNT, most=True),
    Row("resume of 10 M queued: first request", "scale.crawl.many.first_request_s", 8, 2, S, most=True),
    Row("… when nothing of the file is in the cache", "scale.cold.many", 8, 2, S, most=True),
    Row("memory of all processes, 20,000 pages", "flat.peak_mib", 250, 160, MIB, most=True),
    Row("memory of the main process, 10 M, 100,000 hosts", "scale.crawl.many.peak_mib", 350, 200, MIB, most=True),
    Row("file size a page, all included: bytes", "flat.bytes_page", 14_000, 10_000, COUNT, most=True),
    Row("1,000 hosts, delay 1 s: share of the ideal", "manyhosts.share", 0.9, 0.97),
    Row("… gaps under 0.99 s seen by the server", "manyhosts.short_gaps", 0, 0, COUNT, most=True),
    Row("100,000 hosts with queued URLs against 50: pages/s", "scale.crawl.many_against_full", 0.8, 0.95),
    Row("a reader with aggregate SQL in a loop: rate", "reader.loop_against_alone", 0.9, 0.95),
    Row("… that asks its queries each second", "reader.each_second_against_alone", 0.9, 0.95),
    Row("web view: of 100,000 pages those with a rare word, ms", "web.alone.search_rare.median_ms", 150, 150, COUNT, most=True),
    Row("… its overview while a crawl writes, 1 M URLs, ms", "web.while_crawling.overview.median_ms", 300, 300, COUNT, most=True),
    Row("… a crawl with the overview open: rate", "web_beside.viewed_against_alone", 0.9, 0.95),
    Row("5,000 unchanged pages crawled again: share of the bytes", "recrawl.share", 0.05, 0.05, "{:.3f}", most=True),
)
NAMES = {"crawler": "poolcrawl", "scrapy": "Scrapy", "crawlee": "Crawlee-Python", "spider": "spider-rs", "wget2": "wget2",
         "floor": "the floor"}
ENDLESS = ("spider", "wget2")  # are ended, or end, by silence: only their active time means something


def results() -> dict[str, Any]:
    """Each result by its benchmark's name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def value(found: dict[str, Any], path: str) -> Any:
    """What is at a dotted path; None if anything on the way is absent."""
    return reduce(lambda here, key: here.get(key) if isinstance(here, dict) else None, path.split("."), found)


def written() -> Iterator[tuple[Path, str]]:
    """The page and its plots."""
    found = results()
    shown = []
    for name, (title, draw) in PLOTS.items():
        if plot := draw(found):
            shown.append(f"![{title}](plots/{name}.svg)\n\n{title}\n\n")
            yield HERE / "plots" / f"{name}.svg", plot
    notes = (HERE / "performance-notes.md").read_text("utf-8").partition("\n")[2]
    yield HERE / "performance.md", "".join([HEAD, table(found), _runs(found), READ, "\n## Plots\n\n", *shown, peers(found),
                                            other(found), notes])  # fmt: skip


def listed(heads: str, lines: Iterable[Sequence[object]]) -> str:
    """A table; ``heads`` are divided by commas. Nothing without lines."""
    names = heads.split(", ")
    rows = [names, ["---"] * len(names), *lines]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows) if len(rows) > 2 else ""


def table(found: dict[str, Any]) -> str:
    return listed("figure, measured, required, stretch, reached", [row.line(value(found, row.path)) for row in ROWS])


def _runs(found: dict[str, Any]) -> str:
    """What each figure was measured on."""
    lines = [(name, one["commit"], one["at"], laps or "") for name, one in found.items()
             for laps in [value(one, "laps") or value(one, "small.crawler.laps") or value(one, "crawl.full.laps")]]
    text = "\n" + listed("result, commit, when, laps", lines)
    for one in list(found.values())[-1:]:
        machine = one["machine"]
        text += (f"\nMachine: {machine['cores']} cores ({machine['model']}), Linux {machine['kernel']}, nginx on the same cores; "
                 f"Python {machine['python']}, SQLite {machine['sqlite']}, aiohttp {machine['aiohttp']}, selectolax "
                 f"{machine['selectolax']}.")  # fmt: skip
    if versions := value(found, "peers.versions"):
        shown = [f"{NAMES.get(name, name)} {number.split()[-1].removeprefix('nginx/')}" for name, number in versions.items()]
        text += f" Others: {', '.join(shown)}."
    return text + "\n"


def peers(found: dict[str, Any]) -> str:
    """Medians of every crawler."""
    lines = []
    for web in ("small", "big"):
        crawlers = value(found, f"peers.{web}") or {}
        for name, one in sorted(crawlers.items(), key=lambda item: item[0] != "crawler"):
            ratios = [f"{one[key]:.2f} ×" if key in one else "" for key in ("speed", "active_speed", "cpu")]
            if name in ENDLESS:
                ratios[0] = "–"
            lines.append([f"{one['pages']:,}", NAMES[name], *_medians(name, one), *ratios])
    return ("## Beside others\n\nMedians of the laps; then what we are against each, by the laps' ratios.\n\n"
            + listed(f"pages, crawler, {MEDIANS}, our speed whole, active, our CPU", lines) + "\n")  # fmt: skip


def other(found: dict[str, Any]) -> str:
    """Webs of another shape."""
    lines = [[web, NAMES[name], *_medians(name, one)] for web in ("large", "small") for name in ("crawler", "scrapy")
             if (one := value(found, f"otherweb.{web}.{name}"))]  # fmt: skip
    if not lines:
        return ""
    return ("## Webs of another shape\n\nLarge: 4 hosts, 500 pages of some 270 kB with 300 links. Small: 1,000 hosts, 2,000 "
            "pages of 2 kB with 12 links.\n\n" + listed(f"web, crawler, {MEDIANS}", lines) + "\n")  # fmt: skip


MEDIANS = "pages/s whole, active, CPU ms a page, MiB"


def _medians(name: str, one: dict[str, Any]) -> list[str]:
    whole = "–" if name in ENDLESS else f"{one['pages_per_s']:,.0f}"
    return [whole, f"{one['pages_per_s_active']:,.0f}", f"{one['cpu_ms_page']:.2f}", str(one["peak_mib"])]


# --- plots: a few lines of SVG --------------------------------------------------------------------------------------

WIDTH, LABEL, BAR = 720, 190, 24
STYLE = "<style>text{font:13px sans-serif;fill:#222}.n{fill:#666}.us{fill:#1f6feb}.they{fill:#9aa4b2}.t{font-weight:bold}</style>"


def svg(height: float, parts: Sequence[str]) -> str:
    box = f'width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}"'
    inner = "\n".join(['<rect width="100%" height="100%" fill="#fff"/>', *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{STYLE}\n{inner}\n</svg>\n'


def bars(groups: Sequence[tuple[str, Sequence[tuple[str, float]]]], form: str) -> str:
    """Horizontal bars from zero, each group under its title, all on one scale."""
    most = max((size for _, bars_of in groups for _, size in bars_of), default=1)
    parts, y = [], 8.0
    for title, bars_of in groups:
        parts.append(f'<text class="t" x="8" y="{y + 16:g}">{title}</text>')
        y += BAR
        for name, size in bars_of:
            long, kind = (WIDTH - LABEL - 80) * size / most, "us" if name in ("poolcrawl", "none", "alone") else "they"
            parts.append(f'<text x="{LABEL - 8}" y="{y + 16:g}" text-anchor="end">{name}</text>'
                         f'<rect class="{kind}" x="{LABEL}" y="{y + 3:g}" width="{long:.1f}" height="{BAR - 6}"/>'
                         f'<text class="n" x="{LABEL + long + 6:.1f}" y="{y + 16:g}">{form.format(size)}</text>')  # fmt: skip
            y += BAR
        y += 8
    return svg(y, parts)


def line(values: Sequence[float], across: str, up: str) -> str:
    """One line over equal steps, from zero up."""
    left, top, high, most = 60, 30, 200, max(values) * 1.1
    wide = WIDTH - left - 20
    step = 10 ** (len(str(int(most))) - 1)
    step = step // 4 if most < 3 * step else step
    places = [(left + wide * (n + 0.5) / len(values), top + high * (1 - v / most)) for n, v in enumerate(values)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<text x="8" y="18">{up}</text><text x="{left + wide}" y="{top + high + 34}" text-anchor="end">{across}</text>']
    for tick in range(0, int(most) + 1, step):
        y = top + high * (1 - tick / most)
        parts.append(f'<path d="M{left} {y:.1f}h{wide}" stroke="#ddd"/><text class="n" x="{left - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{tick:,}</text>')  # fmt: skip
    for n in range(0, len(values) + 1, 5):
        x = left + wide * n / len(values)
        parts.append(f'<text class="n" x="{x:.1f}" y="{top + high + 16}" text-anchor="middle">{n}</text>')
    parts.append(f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="2"/>')
    return svg(top + high + 44, parts)


def _of_peers(figure: str, form: str) -> Callable[[dict[str, Any]], str | None]:
    def draw(found: dict[str, Any]) -> str | None:
        groups = [(f"{pages} pages", [(NAMES[name], one[figure]) for name in NAMES if (one := crawlers.get(name))])
                  for web, pages in (("small", "2,000"), ("big", "20,000")) if (crawlers := value(found, f"peers.{web}"))]
        return bars(groups, form) if groups else None
    return draw


def _flat(found: dict[str, Any]) -> str | None:
    rates = value(found, "flat.rate_of_each_1000")
    return line(rates, "thousand pages", "pages/s") if rates else None


def _polite(found: dict[str, Any]) -> str | None:
    each = value(found, "manyhosts.each_second")
    return line(each, "seconds after the first ten", "requests/s to 1,000 hosts") if each else None


def _scale(found: dict[str, Any]) -> str | None:
    crawl = value(found, "scale.crawl")
    names = {"empty": "none", "full": "10 M over 50 hosts", "many": "10 M over 100,000"}
    if not crawl:
        return None
    return bars([("queued in the file", [(names[name], crawl[name]["pages_per_s"]) for name in names])], "{:,.0f}")


PLOTS: dict[str, tuple[str, Callable[[dict[str, Any]], str | None]]] = {
    "peers": ("Pages/s while active.", _of_peers("pages_per_s_active", "{:,.0f}")),
    "cpu": ("CPU a page, ms, of all processes.", _of_peers("cpu_ms_page", "{:.2f}")),
    "flat": ("Pages/s over each thousand of 20,000 pages, median of the laps.", _flat),
    "scale": ("Pages/s with ten million queued URLs and with none.", _scale),
    "manyhosts": ("Requests each second to 1,000 hosts, a delay of 1 s.", _polite),
}  # fmt: skip
