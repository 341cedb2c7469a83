"""The closing summary of a run, on stderr (and as JSON on stdout when asked for)."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.cli.errors import say
from crawler.progress import duration, plural
from crawler.text import discreet, printable

if TYPE_CHECKING:
    from crawler.engine import Ending
    from crawler.spec import CrawlSpec
    from storage.model import Counts
    from storage.reader import Reader

WORDS = {
    "complete": "complete: nothing is left to fetch",
    "deferred": "done for now",
    "limit": "stopped at the limit that was asked for",
    "interrupted": "interrupted; the same command, or `crawler resume {file}`, goes on from here",
}

ASK = '  ask it: crawler query {file} "SELECT url, status, title FROM pages LIMIT 10"'
REASONS = """SELECT outcome, reason, count(*) FROM url WHERE outcome IN ('failure', 'skipped')
GROUP BY outcome, reason ORDER BY 3 DESC"""  # reads all of a file: 1 s for ten million URLs
BUDGETS = """SELECT h.name, u.detail, count(*) FROM url u JOIN host h ON h.id = u.host
WHERE u.outcome = 'skipped' AND u.reason IN ('limit', 'trap') AND u.detail LIKE 'over %'
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5"""


def print_ending(ending: Ending, file: Path, as_json: bool) -> None:
    """What the run came to, in words; with ``as_json`` also as one object on stdout."""
    from storage.reader import open_reader

    with open_reader(file) as reader:
        say(describe(ending, file, reader))
        if as_json:
            print(json.dumps(asdict(ending) | {"file": str(file)}))  # noqa: T201


def describe(ending: Ending, file: Path, reader: Reader) -> str:
    counts, rate = ending.counts, ending.requests / max(ending.seconds, 0.001)
    lines = [
        WORDS[ending.state].format(file=file),
        f"  {plural(counts.pages, 'page')}, {plural(counts.redirects, 'redirect')}, {plural(counts.failures, 'failure')}, "
        f"{counts.skipped:,} skipped, {counts.queued:,} queued on {plural(counts.hosts, 'host')}",
        f"  {duration(ending.seconds)}, {plural(ending.requests, 'request')} ({rate:.1f}/s), "
        f"{plural(ending.connections, 'connection')} opened, {ending.reused:,} requests reused one"
        if ending.requests
        else f"  {duration(ending.seconds)}, no request was sent",
    ]
    lines += _refused(counts, reader)
    lines += _deferred(ending, reader) + _revisits(ending.counts, reader)
    lines += [f"  trouble: {printable(host)}: {printable(what)}" for host, what in reader.trouble().items()]
    if not ending.answered:
        return "\n".join(["nothing was crawled: no seed answered", *_silent(reader), *lines[1:]])
    return "\n".join([*lines, ASK.format(file=file)])


def _refused(counts: Counts, reader: Reader) -> list[str]:
    """Why URLs failed or were skipped. The file is only searched for what it counts."""
    if not counts.failures + counts.skipped:
        return []
    found = list(reader.query(REASONS)[1])
    lines = []
    for title, outcome in (("failed", "failure"), ("skipped", "skipped")):
        reasons = [f"{reason} {n:,}" for what, reason, n in found if what == outcome][:8]
        if reasons:
            lines.append(f"  {title}: {', '.join(reasons)}")
    if any(what == "skipped" and reason in ("limit", "trap") for what, reason, _ in found):
        for host, over, n in reader.query(BUDGETS)[1]:
            lines.append(f"  a budget is used up: {n:,} URLs of {printable(host)} are skipped, {over} (0: no limit)")
    return lines


def _deferred(ending: Ending, reader: Reader) -> list[str]:
    if not ending.counts.queued or ending.next_at is None or ending.state != "deferred":
        return []
    when = datetime.fromtimestamp(ending.next_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away = ending.next_at / 1000 - time.time()
    if away <= 0:
        return [f"  deferred: {plural(ending.counts.queued, 'URL')} queued and due; `crawler resume` goes on"]
    urls = plural(ending.counts.queued, "URL")
    lines = [f"  deferred: {urls}, the first at {when} (in {duration(away)}); `crawler resume` then goes on"]
    _, rows = reader.query(
        "SELECT host, robots_status, queued FROM hosts WHERE queued > 0 ORDER BY queued DESC LIMIT 3"
    )
    return lines + [
        f"    {printable(host)}: {queued:,} queued"
        + (", robots.txt is unreachable, so nothing may be fetched (RFC 9309)" if robots == "unreachable" else "")
        for host, robots, queued in rows
    ]


def _revisits(counts: Counts, reader: Reader) -> list[str]:
    count, at = reader.revisits() if counts.queued else (0, None)
    return [f"  revisits: {count:,} queued, the first due at {_when(at)}"] if at is not None else []


def _when(at: int) -> str:
    when = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away = at / 1000 - time.time()
    return f"{when} (in {duration(away)})" if away > 0 else f"{when} (now)"


def _silent(reader: Reader) -> list[str]:
    _, rows = reader.query("""SELECT f.url, coalesce(f.reason, 'status ' || f.status) FROM fetches f
        WHERE f.outcome IN ('failure', 'robots') ORDER BY f.id DESC LIMIT 3""")
    return [f"  {discreet(url)}: {printable(str(why))}" for url, why in rows]


def _taken_otherwise(file: Path, spec: CrawlSpec, reader: Reader) -> list[str]:
    """Other fields are asked for than the pages were read with: that needs no request, and is not done by asking again."""
    run, now = reader.run(), spec.to_json()
    changed = [name for name in ("extract", "data", "extractor") if run and (run.spec.get(name) or None) != (now[name] or None)]
    if not changed:
        return []
    return [f"  {' and '.join(changed)} changed: crawler reextract {file} takes them out of the stored pages"]


def say_finished(file: Path, as_json: bool, spec: CrawlSpec) -> None:
    """The same command found nothing to do; with ``as_json`` the same keys as at the end of a run."""
    from crawler.engine import Ending
    from storage.reader import open_reader

    with open_reader(file) as reader:
        counts = reader.counts()
        lines = [
            f"{file} is complete: {counts.pages:,} pages, {counts.failures:,} failures; nothing was sent. "
            f"Add seeds with: crawler add {file} SEED...; visit again with: crawler recrawl {file}"
        ]
        say("\n".join(lines + _taken_otherwise(file, spec, reader) + _revisits(counts, reader)))
    if as_json:
        ending = Ending("complete", counts, requests=0, connections=0, reused=0, bytes=0, seconds=0.0)
        print(json.dumps(asdict(ending) | {"file": str(file)}))  # noqa: T201
