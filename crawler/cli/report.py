"""`report`: what a crawl came to, for people, as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.spec import BadSpec


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), default="report.html", show_default=True,
              help="the HTML file; it appears when it is whole, readable by you alone")
@click.option("--force", is_flag=True, help="overwrite it")
def report(file: Path, target: Path, force: bool) -> None:
    """Write a report of FILE: how the crawl went, in figures and plots, and what is wrong with what it found.

    One HTML file, without scripts and without anything from elsewhere. Works while a crawl runs.
    """
    import sqlite3
    import time

    from crawler.cli.newfile import new_file
    from crawler.report.page import page
    from storage.reader import open_reader

    try:
        with open_reader(file) as reader, new_file(target, force=force) as out:
            if reader.outdated:
                raise BadSpec(f"{file} was written by an older version; crawler resume upgrades it, then ask again")
            out.write(page(reader, time.time()))
    except sqlite3.Error as error:
        raise BadSpec(f"{file}: {error}") from None
    click.echo(f"{target} is written; open it in a browser", err=True)
