"""`show`: a stored body, or its headers, on stdout."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--headers", is_flag=True, help="the stored response headers instead of the body")
def show(file: Path, url: str, headers: bool) -> None:
    """The stored body of URL, byte for byte as decoded; exit 1 when there is none. On a terminal control characters are
    shown as \\xNN, so that a page cannot draw."""
    import sys

    from crawler.text import printable
    from crawler.url import InvalidUrl, admit
    from storage.reader import open_reader

    try:
        place = admit(url)
    except InvalidUrl as error:
        raise click.UsageError(f"{url!r} is no URL to fetch: {error}") from None
    with open_reader(file) as reader:
        found = reader.body(place)
    if found is None or (found.content is None and not headers):
        click.echo(
            f"nothing is stored for {printable(place.url)}; ask: crawler explain {file} '{printable(url)}'", err=True
        )
        raise click.exceptions.Exit(1)
    if headers:
        click.echo("".join(f"{printable(name)}: {printable(value)}\n" for name, value in found.headers), nl=False)
    elif sys.stdout.isatty():
        text = (found.content or b"").decode("utf-8", "replace")
        click.echo("\n".join(printable(line, tabs=True) for line in text.split("\n")))
    else:
        sys.stdout.buffer.write(found.content or b"")
        sys.stdout.buffer.flush()
