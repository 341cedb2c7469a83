"""`serve`: a local, read-only web view of a crawl file, also while it is being crawled."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.spec import BadSpec

PORT = 8330


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="a loopback address; no other is taken")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free")
@click.option("--open", "in_browser", is_flag=True, help="open it in the browser")
def serve(file: Path, host: str, port: int, in_browser: bool) -> None:
    """Look at FILE in a browser: overview, pages, hosts, broken links, redirects, search, SQL. Works while a crawl runs.

    It is only read, and only this machine can ask. Everybody with an account on this machine can. Ctrl-C ends it.
    """
    import asyncio

    from crawler.web.guard import is_loopback
    from storage.reader import open_reader

    if not is_loopback(host):
        raise BadSpec(
            f"--host {host}: the view has no password, so only loopback addresses are taken. To see it from elsewhere: "
            f"ssh -L {port}:127.0.0.1:{port} this-machine"
        )
    with open_reader(file) as reader:
        if reader.outdated:
            raise BadSpec(f"{file} was written by an older version; crawler resume upgrades it, then serve it again")
    asyncio.run(_serve(file, host, port, in_browser))


async def _serve(file: Path, host: str, port: int, in_browser: bool) -> None:
    import asyncio
    import signal
    import webbrowser

    from crawler.cli.errors import say
    from crawler.web.app import serving

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with serving(file, host, port) as url:
            say(f"{file} is shown at {url} (Ctrl-C ends it)")
            if in_browser:
                await asyncio.to_thread(webbrowser.open, url)
            await stop.wait()
    except OSError as error:
        raise BadSpec(f"port {port} of {host} cannot be used: {error.strerror or error}; --port 0 takes a free one") from None
