"""`explain`: why a URL was or was not fetched, from the crawl file alone; also for a URL the crawl never met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler.text import printable

if TYPE_CHECKING:
    from crawler.frontier.exclusions import Exclusions
    from crawler.spec import CrawlSpec
    from storage.model import Place
    from storage.reader import Reader

ROW = """SELECT u.id, u.depth, u.seed, u.attempts, u.outcome, u.reason, u.detail, u.parent,
  strftime('%Y-%m-%dT%H:%M:%fZ', max(u.due_at, h.blocked_until,
    iif(o.robots_status = 'unreachable', o.robots_until, 0)) / 1000.0, 'unixepoch'), h.blocked_until > u.due_at
FROM origin o JOIN url u ON u.origin = o.id JOIN host h ON h.id = u.host WHERE o.name = ? AND u.path = ?"""
HOPS = """WITH RECURSIVE hop (id, parent, n) AS (
  SELECT id, parent, 0 FROM url WHERE id = ?
  UNION ALL SELECT u.id, u.parent, n + 1 FROM hop JOIN url u ON u.id = hop.parent WHERE n < 1000)
SELECT o.name || u.path, l.kind, l.text FROM hop JOIN url u ON u.id = hop.id JOIN origin o ON o.id = u.origin
LEFT JOIN link l ON l.src = hop.parent AND l.dst = hop.id GROUP BY hop.id ORDER BY n DESC"""
ATTEMPTS = """SELECT strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch'), outcome, status, reason, elapsed_ms
FROM fetch WHERE url = ? ORDER BY id"""
ROBOTS = """SELECT o.robots_status, strftime('%Y-%m-%dT%H:%M:%fZ', o.robots_until / 1000.0, 'unixepoch'), b.codec, b.data
FROM origin o LEFT JOIN fetch f ON f.id = o.robots_fetch LEFT JOIN body b ON b.id = f.body WHERE o.name = ?"""
TARGET = """SELECT xo.name || x.path FROM link l JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin
WHERE l.src = ? AND l.kind = 'redirect'"""


@dataclass(slots=True)
class Explanation:
    """Everything the file can say about one URL."""

    asked: str
    url: str
    known: bool = False
    verdict: str = ""
    scope: str = ""
    robots: str = ""
    depth: int | None = None
    found: list[dict[str, Any]] = field(default_factory=list)  # from the seed: url, kind, text
    attempts: list[dict[str, Any]] = field(default_factory=list)
    next: str = ""
    control: list[str] = field(default_factory=list)  # what `crawler control` changed in the latest run that concerns it


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def explain(file: Path, url: str, as_json: bool) -> None:
    """Why URL was or was not fetched: canonical form, how it was found, scope, robots.txt rule and line, attempts, and
    what happens next. Works for URLs the crawl never met, and while it runs."""
    from dataclasses import asdict

    from crawler.cli.output import as_json as as_json_text
    from storage.reader import open_reader

    with open_reader(file) as reader:
        found = explanation(reader, url)
    click.echo(as_json_text(asdict(found)) if as_json else "\n".join(lines(found)))


def explanation(reader: Reader, asked: str) -> Explanation:
    from crawler.frontier.scope import Scope
    from crawler.url import InvalidUrl, admit, canonical

    try:
        place = admit(asked)
    except InvalidUrl as error:
        try:
            shown = canonical(asked)
        except InvalidUrl:
            shown = asked
        return Explanation(asked, shown, verdict=f"would never be fetched: {error}", next="nothing")
    found = Explanation(asked, place.url)
    spec = _spec(reader)
    judged = Scope(spec, reader.seeds(), _exclusions(spec, reader)).judge(place)
    found.scope = (
        "belongs to the crawl"
        if judged.admit
        else f"refused: {judged.reason}" + (f" ({judged.detail})" if judged.detail else "")
    )
    found.robots = robots(reader, place, spec)
    found.control = list(_controlled(reader, place, spec))
    row = reader.one(ROW, (place.origin, place.path))
    if row is None:
        found.verdict = "never met: no page of this crawl links to it"
        found.next = (
            "would be fetched if it were met, unless robots.txt refuses"
            if judged.admit
            else "would be skipped if it were met"
        )
        return found
    return _known(reader, found, row, judged.admit)


def _known(reader: Reader, found: Explanation, row: tuple[Any, ...], admitted: bool) -> Explanation:
    id_, depth, seed, attempts, outcome, reason, detail, _, due, blocked = row
    found.known, found.depth = True, depth
    found.found = [{"url": u, "kind": k, "text": t} for u, k, t in reader.query(HOPS, (id_,))[1]]
    found.attempts = [
        {"at": a, "outcome": o, "status": s, "reason": r, "elapsed_ms": e}
        for a, o, s, r, e in reader.query(ATTEMPTS, (id_,))[1]
    ]
    why = f"{reason}" + (f" ({detail})" if detail else "")
    target = reader.one(TARGET, (id_,))
    found.verdict = {
        "sitemap": f"a sitemap, which could not be read: {why}" if reason else "a sitemap: the links it lists are its content",
        "page": "fetched: it is in pages",
        "redirect": f"fetched: it redirects to {target[0] if target else '?'}",
        "failure": f"failed: {why}",
        "skipped": f"skipped: {why}",
    }.get(
        outcome or "",
        "a seed, not tried yet"
        if seed and due
        else "queued, not tried yet"
        if due
        else "known as a link only (its kind is not followed)",
    )
    if due:
        which = f"retry number {attempts}" if attempts else "visited again" if outcome else "first try"
        found.next = f"{which} at {due} or later" + (
            ": its host asked to be left alone until then" if blocked else ""
        )
    else:
        found.next = "nothing: it is settled"
    return found


def _controlled(reader: Reader, place: Place, spec: CrawlSpec) -> Iterator[str]:
    """What concerns this URL of what somebody changed while the latest run went on, or before: its host's delay, a pause."""
    from crawler.orders import sentence

    run = reader.run()
    if run is None:
        return
    if spec.delay_at(place.host) != spec.delay:
        yield f"its host has a delay of its own: {spec.delay_at(place.host):g} s"
    for change in reader.changes(run.id):
        if change["name"] == "delay" and change["host"] in (None, place.host):
            yield f"{sentence(change)} at {change['at']}"
    if run.progress.get("paused") and reader.crawler():
        yield f"the crawl is paused: {run.progress['paused']}"


def _exclusions(spec: CrawlSpec, reader: Reader) -> Exclusions:
    """Who is excluded as far as it can be told from here: the exclude file may be out of reach."""
    from crawler.exclude_file import ExcludeFile
    from crawler.frontier.exclusions import Exclusions, listed, purged
    from crawler.spec import BadSpec

    rules = purged(reader.excluded()) + listed(spec.exclude_host)
    try:
        rules += ExcludeFile(Path(spec.exclude_file), lambda _: None).rules if spec.exclude_file else ()
    except BadSpec as error:
        click.echo(f"note: {error}; it is left out here", err=True)
    return Exclusions(rules)


def _spec(reader: Reader) -> CrawlSpec:
    """The settings of the last run, without those it did not store in full."""
    from crawler.spec import UNSTORED, CrawlSpec, from_mapping

    run = reader.run()
    return from_mapping({k: v for k, v in run.spec.items() if k not in UNSTORED}) if run else CrawlSpec()


def robots(reader: Reader, place: Place, spec: CrawlSpec) -> str:
    """What the origin's robots.txt says about the URL, with the rule and its line."""
    from crawler.fetch.robots import LIMIT, Robots
    from storage.codec import unpack

    row = reader.one(ROBOTS, (place.origin,))
    if spec.robots == "ignore":
        return "ignored, as asked (--robots ignore)"
    if row is None or row[0] is None:
        return f"{place.origin}/robots.txt has not been fetched"
    status, until, codec, data = row
    if status == "unreachable":
        return f"unreachable: nothing of {place.origin} may be fetched (RFC 9309 §2.3.1.4); asked again at {until}"
    if data is None:
        return "there is none: everything is allowed"
    rules = Robots.parse(unpack(codec, data))
    verdict = rules.verdict(spec.token, place.url)
    rule = f"by line {verdict.line}: {verdict.rule}" if verdict.rule else "no rule matches"
    if rules.html:
        rule += " (robots.txt is an HTML page)"
    if rules.truncated and not verdict.rule:
        rule += f" in the first {LIMIT:,} bytes of robots.txt, and it has more"
    return f"{'allowed' if verdict.allowed else 'refused'}, {rule}"


def lines(found: Explanation) -> Iterator[str]:
    """The explanation for people."""
    yield printable(found.url) + ("" if found.url == found.asked else f"\n  canonical form of {printable(found.asked)}")
    yield f"  verdict    {printable(found.verdict)}"
    if found.scope:
        yield f"  scope      {printable(found.scope)}"
        yield f"  robots     {printable(found.robots)}"
    for i, hop in enumerate(found.found):
        how = (
            ("robots.txt" if hop["url"].endswith("/robots.txt") else "seed")
            if hop["kind"] is None
            else f"{hop['kind']} {json.dumps(printable(hop['text']), ensure_ascii=False) if hop['text'] else ''}"
        )
        yield f"  {'found' if i == 0 else '':<10} {'  ' * i}{how.strip()}: {printable(hop['url'])}"
    if found.depth is not None:
        yield f"  depth      {found.depth}"
    for i, a in enumerate(found.attempts):
        what = a["status"] if a["status"] is not None else a["reason"]
        yield f"  {'attempts' if i == 0 else '':<10} {a['at']}  {printable(str(what))}  {a['elapsed_ms']} ms"
    for i, text in enumerate(found.control):
        yield f"  {'' if i else 'control':<10} {printable(text)}"
    yield f"  next       {found.next}"
