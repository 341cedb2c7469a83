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
@click.option("--serve", "port", type=click.IntRange(1, 65535), is_flag=False, flag_value=8080, metavar="[PORT]",
              help="only serve that web on 127.0.0.1 (port 8080), until Ctrl-C: something to try crawls on")
def demo(file: Path | None, port: int | None) -> None:
    """Serve a small bundled web on loopback, crawl it, kill the crawl, resume it, and ask the file three questions.

    Takes a few seconds and sends nothing beyond this machine.
    """
    if port is not None:
        _serve(port)
        return
    if file is not None and file.exists():
        raise click.UsageError(f"{file} exists; the demo needs a new file")
    from crawler.cli.play import play

    play(file)


def _serve(port: int) -> None:
    import asyncio
    import os
    from contextlib import suppress

    from crawler.demo.server import ADDRESSES, serving

    async def for_ever() -> None:
        async with serving(port, ADDRESSES[:1]) as web:
            click.echo(f"{web.seeds[0]} is a small web to try crawls on; Ctrl-C ends it")
            await asyncio.Event().wait()

    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(for_ever())
    except OSError as error:
        why = os.strerror(error.errno or 0)  # asyncio's own words hold the address twice
        raise click.UsageError(f"port {port} cannot be had ({why}); another one: --serve {port + 1}") from None
