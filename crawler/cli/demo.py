"""`demo`: a crawl of a small bundled web, killed and resumed before your eyes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="keep the crawl file; default: a temporary one, deleted at the end",
)
def demo(file: Path | None) -> None:
    """Serve a small bundled web on loopback, crawl it, kill the crawl, resume it, and ask the file three questions.

    Takes a few seconds and sends nothing beyond this machine.
    """
    if file is not None and file.exists():
        raise click.UsageError(f"{file} exists; the demo needs a new file")
    from crawler.cli.play import play

    play(file)
