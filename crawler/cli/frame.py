"""The live view's picture: a snapshot of a crawl as lines of so many columns and rows. Pure; nothing in it can draw."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

from crawler.frontier.load import Slow
from crawler.progress import Snapshot, duration
from crawler.text import discreet, printable

LABEL = 13  # columns of the names on the left
LEAST = 12  # columns of a host's name, where there is no room for more
SENTENCES = ("bound by", "time")  # wrapped where the others are cut
BAD = ("4xx", "5xx", "none")


def frame(s: Snapshot, width: int, height: int) -> list[Text]:
    """As much of the crawl as fits, what matters most first; no line is longer than ``width`` cells."""
    lines = [line for name, text in facts(s) for line in _labelled(name, text, width)]
    left = height - len(lines)
    slow = [_slow(host, width) for host in s.load.slowest[: max(0, (left - 2) // 2)]]
    lines += _section("slowest hosts", slow)
    left = height - len(lines)
    lines += _section("last errors", [_error(*error, width) for error in s.errors[: max(0, left - 2)]])
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def facts(s: Snapshot) -> Iterator[tuple[str, Text]]:
    """Name and words of each thing to know."""
    counts, load, stats = s.counts, s.load, s.stats
    to_go = "how long is unknown" if s.eta is None else f"{duration(s.eta)} to go"
    yield "pages", _row(f"{counts.pages:,}", f"{s.rate:.1f}/s", f"{size(s.byte_rate)}/s, {size(stats.bytes)}")
    yield "queued", _row(
        f"{counts.queued:,}",
        f"failed {counts.failures:,}",
        f"skipped {counts.skipped:,}",
        f"redirects {counts.redirects:,}",
    )
    yield "bound by", Text(printable(s.bound_by), "yellow" if load.paused else "")
    yield "time", Text(f"{duration(s.seconds)} so far, {to_go}: {s.eta_reason}")
    yield "hosts", _row(f"{load.ready:,} ready", f"{load.waiting:,} waiting", f"{load.busy:,} busy")
    yield "connections", _row(
        f"{load.fetching:,} in use", f"{s.reuse:.0%} reused", f"{stats.opened:,} opened", f"{stats.requests:,} requests"
    )
    yield "answers", _row(*(Text(f"{name} {n:,}", "red" if name in BAD else "") for name, n in s.answers.items()))


def _row(*cells: str | Text) -> Text:
    return Text("  ").join(Text(cell) if isinstance(cell, str) else cell for cell in cells)


def _labelled(name: str, words: Text, width: int) -> Iterator[Text]:
    """A line, or as many as a sentence takes."""
    pieces = [words]
    if name in SENTENCES:
        pieces = [Text(part, words.style) for part in _wrapped(words.plain, max(LEAST, width - LABEL))]
    for i, piece in enumerate(pieces):
        yield Text.assemble((("" if i else name).ljust(LABEL), "bold"), piece)


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(sentence, width, max_lines=2, placeholder=" …")


def _section(title: str, lines: list[Text]) -> list[Text]:
    return [Text(), Text(title, "bold"), *lines] if lines else []


def _slow(host: Slow, width: int) -> Text:
    rest = f"left alone for {duration(host.blocked)}" if host.blocked else f"a request each {host.delay:.3g} s"
    latency = f", answers in {host.latency * 1000:,.0f} ms" if host.latency else ""
    name = Text(printable(host.host))
    name.truncate(max(LEAST, min(40, width - 42)), overflow="ellipsis", pad=True)
    return Text.assemble("  ", name, "  ", rest, latency)


def _error(reason: str, url: str, width: int) -> Text:
    word = Text(printable(reason), "red")
    word.truncate(max(LEAST, min(40, width // 3)), overflow="ellipsis")
    return Text.assemble("  ", word, "  ", discreet(url))


def size(n: float) -> str:
    """``0 B``, ``1.5 kB``, ``12 MB``: three figures."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} TB"
