"""`status`: how a crawl stands, from its file alone; works while it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from storage.reader import Reader

DEFERRED = """SELECT count(*) FROM (
  SELECT max(u.due_at, h.blocked_until, iif(o.robots_status = 'unreachable', o.robots_until, 0)) AS at
  FROM url u JOIN host h ON h.id = u.host JOIN origin o ON o.id = u.origin WHERE u.due_at IS NOT NULL) WHERE at > ?"""

CHANGES = 5  # of the latest that `crawler control` made, shown to people


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def status(file: Path, as_json: bool) -> None:
    """How the crawl stands: counts, rate, what bounds it now, how long it may take."""
    from crawler.orders import sentence
    from crawler.progress import duration
    from crawler.text import printable
    from storage.reader import open_reader

    with open_reader(file) as reader:
        found = facts(reader)
    if as_json:
        click.echo(json.dumps(found))
        return
    paused = f", paused: {printable(found['paused'])}" if found["paused"] else ""
    click.echo(f"{file}: {found['state']}{paused}")
    for name in ("pages", "redirects", "failures", "skipped", "queued", "deferred", "hosts"):
        click.echo(f"  {name:<12}{found[name]:>12,}")
    click.echo(
        f"  {'connections':<12}{found['connections']:>12,}   reused {found['reused']:,} times, {found['requests']:,} requests"
    )
    if found["host_delay"]:
        click.echo(f"  delays of their own: {', '.join(found['host_delay'][:CHANGES])}")
    for change in found["changes"][-CHANGES:]:
        click.echo(f"  changed at {change['at']}: {printable(sentence(change))}")
    for host, what in found["trouble"].items():
        click.echo(f"  trouble: {printable(host)}: {printable(what)}")
    if found["state"] == "running":
        eta = "unknown" if found["eta"] is None else duration(found["eta"])
        click.echo(f"  rate {found['rate']:g}/s, bound by {printable(found['bound_by'] or 'nothing known yet')}")
        click.echo(f"  hosts {found['ready']:,} ready, {found['waiting']:,} waiting, {found['busy']:,} busy")
        click.echo("  answers " + (", ".join(f"{name} {n:,}" for name, n in found["answers"].items()) or "none yet"))
        click.echo(f"  ETA {eta}: {found['eta_reason']}")


def facts(reader: Reader) -> dict[str, Any]:
    """The figures of `status --json` (CONTRACT §1)."""
    counts, run, pid = reader.counts(), reader.run(), reader.crawler()
    totals = reader.one(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(connections), 0), coalesce(sum(reused), 0), "
        "coalesce(sum(bytes), 0) FROM run"
    ) or (0, 0, 0, 0)
    deferred = (reader.one(DEFERRED, (time.time_ns() // 1_000_000,)) or (0,))[0] if counts.queued else 0
    progress = run.progress if run and pid else {}
    return {
        "state": "running" if pid else (run.ending or "killed") if run else "new",
        "pages": counts.pages,
        "failures": counts.failures,
        "redirects": counts.redirects,
        "skipped": counts.skipped,
        "queued": counts.queued,
        "deferred": deferred,
        "hosts": counts.hosts,
        "requests": totals[0],
        "connections": totals[1],
        "reused": totals[2],
        "bytes": totals[3],
        "rate": progress.get("rate", 0.0),
        "bound_by": progress.get("bound_by"),
        "eta": progress.get("eta"),
        "eta_reason": progress.get("eta_reason"),
        **{name: progress.get(name, 0) for name in ("ready", "waiting", "busy")},
        "answers": progress.get("answers", {}),
        "pid": pid,
        "trouble": reader.trouble(),
        "paused": progress.get("paused") or None,
        "host_delay": run.spec.get("host_delay", []) if run else [],
        "changes": reader.changes(run.id) if run else [],
    }
