"""`recrawl`, `retry`, `block`: what is asked again, and what is not asked any more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from crawler.cli.crawl import FILE, resumed
from crawler.cli.errors import say
from crawler.cli.options import spec_options
from crawler.cli.run import Manner, run_options, start
from crawler.spec import BadSpec


def _seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    from crawler.revisit import seconds

    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise BadSpec(f"{parameter.opts[0]}: {error}") from None


@click.command()
@FILE
@click.option("--where", metavar="SQL", help="only pages of which this is true; a condition over the view `pages`")
@click.option("--older-than", "older", metavar="TIME", callback=_seconds, help="only what was not asked for so long: 12h, 7d")
@click.option("--dry-run", "dry", is_flag=True, help="only say how many that would be")
@spec_options
@run_options
def recrawl(
    file: Path,
    where: str | None,
    older: float | None,
    dry: bool,
    manner: Manner,
    **options: Any,
) -> None:
    """Visit again what FILE holds: pages, redirects, failures and sitemaps, with the settings stored in it.

    Pages are asked for with the ETag and Last-Modified they came with, so that what has not changed costs no more than a
    304. Every visit stays in `fetches`; `crawler diff` says what has changed. Interrupted, the same command goes on.
    """
    from crawler.revise import recrawl as make_due

    spec = resumed(file, options)
    found = make_due(spec, file, where, older, now=time.time_ns() // 1_000_000, dry=dry)
    if found.left:
        say(f"a recrawl was begun and not ended: {found.left:,} URLs are left")
    else:
        say(f"{found.due:,} URLs {'would be' if dry else 'are'} due again")
    if found.outside:
        say(f"{found.outside:,} more are outside the scope of now, and are left alone")
    if not dry:
        start(spec, file, manner)


@click.command()
@FILE
@click.option("--where", metavar="SQL", help="only those of which this is true; a condition over the view `failures`")
def retry(file: Path, where: str | None) -> None:
    """Make the failures in FILE due again, as if they had not been tried; `crawler resume` then visits them."""
    from crawler.revise import retry as make_due

    count = make_due(file, where, now=time.time_ns() // 1_000_000)
    say(f"{count:,} failures are due again" + (f"; go on with: crawler resume {file}" if count else ""))


@click.command()
@FILE
@click.option("--where", metavar="SQL", required=True, help="those of which this is true; a condition over the view `urls`")
@click.option("--reason", "why", default="by hand", show_default=True, help="stored with them, for `skipped` and `explain`")
@click.option("--undo", is_flag=True, help="let in again what was blocked")
def block(file: Path, where: str, why: str, undo: bool) -> None:
    """Keep URLs out of the crawl in FILE, whatever links to them: they go to `skipped`, with reason `blocked`.

    Pages that were fetched stay in the history (`fetches`). Only URLs that FILE knows now are meant: for those that are
    yet to be found use --exclude or --exclude-file, to have a host's data deleted `crawler purge`.
    """
    from crawler import revise

    if undo:
        count = revise.unblock(file, where, now=time.time_ns() // 1_000_000)
        say(f"{count:,} URLs are blocked no more; go on with: crawler resume {file}")
    else:
        say(f"{revise.block(file, where, why):,} URLs are kept out of the crawl from now on")
