"""`rescope`: what other rules would make of what a crawl knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler.cli.crawl import FILE, resumed
from crawler.cli.errors import say
from crawler.cli.options import spec_options

if TYPE_CHECKING:
    from crawler.rescope import Rescoped

NAMES = ["what", "reason", "urls", "for_example"]


@click.command()
@FILE
@click.option("--dry-run", "dry", is_flag=True, help="only show it: the file stays as it is")
@click.option("--json", "as_json", is_flag=True, help="one JSON object: settings, and URLs by what becomes of them and why")
@spec_options
def rescope(file: Path, dry: bool, as_json: bool, **options: Any) -> None:
    """Judge again, by the rules given here and else by those stored, what FILE knows and has not tried: what is admitted now,
    what is refused. Nothing is sent.

    Pages that were fetched stay, also where the rules do not admit them any more; they are not visited again. The rules are
    those of the crawl from then on; `crawler resume` fetches what is new.
    """
    from crawler.api import told
    from crawler.cli.output import as_json as as_json_text
    from crawler.cli.output import write_rows
    from crawler.rescope import rescope as judge

    found = judge(resumed(file, options), file, dry=dry)
    for sentence in told(found.changed):
        say(sentence.replace("changed from now on", "would be changed") if dry else sentence)
    if as_json:
        click.echo(as_json_text(_object(found, dry)))
    elif found.counts:
        write_rows(NAMES, _rows(found), "table")
    if not found.counts:
        say("nothing would change" if dry else "nothing has changed")
    elif not dry:
        say(f"go on with: crawler resume {file}")


def _rows(found: Rescoped) -> list[tuple[Any, ...]]:
    """The first example beside the count, the others below it."""
    rows: list[tuple[Any, ...]] = []
    for (what, why), count in sorted(found.counts.items()):
        first, *others = found.examples[what, why]
        rows.append((what, why, count, first))
        rows += [(None, None, None, url) for url in others]
    return rows


def _object(found: Rescoped, dry: bool) -> dict[str, Any]:
    changed = {name: {"before": before, "now": now} for name, (before, now) in found.changed.items()}
    urls = [
        {"what": what, "reason": why, "urls": count, "examples": found.examples[what, why]}
        for (what, why), count in sorted(found.counts.items())
    ]
    return {"dry_run": dry, "settings": changed, "urls": urls}
