"""`reextract`: fields of stored pages, found anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from crawler.cli.crawl import FILE, resumed
from crawler.cli.errors import say
from crawler.cli.options import spec_options

EACH = 5.0  # seconds between two words on how far it is


@click.command()
@FILE
@click.option("--where", metavar="SQL", help="only pages of which this is true; a condition over the view `pages`")
@click.option("--json", "as_json", is_flag=True, help="print the figures as one JSON object on stdout")
@spec_options
def reextract(file: Path, where: str | None, as_json: bool, **options: Any) -> None:
    """Take title and data out of the pages stored in FILE anew, with --extract, --data and --extractor as they are given here
    or stored. Nothing is sent.

    The pages are parsed in worker processes, under the limits of a crawl. What a page cannot be parsed for keeps what was
    found in it before. The settings are those of the crawl from then on. Ctrl-C keeps what is done.
    """
    import json

    from crawler.reextract import reextract as run

    spec = resumed(file, options)
    told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= EACH:
            told = time.monotonic()
            say(f"{done:,} of {total:,} pages")

    found = run(spec, file, where, progress)
    rate = found.done / max(found.seconds, 0.001)
    say(f"{found.done:,} pages read anew in {found.seconds:.1f} s ({rate:,.0f}/s); nothing was sent")
    if found.kept:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in found.kept.most_common(5))
        say(f"{found.kept.total():,} keep what was found in them before: {reasons}")
    if as_json:
        click.echo(json.dumps({"pages": found.done, "seconds": found.seconds, "kept": dict(found.kept), "file": str(file)}))
