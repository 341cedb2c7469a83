"""`control`: change a crawl while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

DOINGS = ("show", "set", "exclude", "pause", "resume", "stop")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("do", type=click.Choice(DOINGS), default="show", required=False)
@click.argument("words", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="print the crawl's answer as one JSON object")
def control(file: Path, do: str, words: tuple[str, ...], as_json: bool) -> None:
    """Change the crawl that is running into FILE, from another terminal; it answers when the change is in force and written
    down. Exit code 1: no crawl is running; 2: it cannot be done, and nothing has changed.

    \b
    crawler control crawl.db set delay=2                    the delay between two requests to each host
    crawler control crawl.db set host=example.org delay=5   of one host; delay=none: as all others
    crawler control crawl.db set max-pages=10000            limits; none: without
    crawler control crawl.db exclude ads.example.org        a host, *.domain or network, or a regular expression
    crawler control crawl.db pause                          what is in flight may end; resume goes on
    crawler control crawl.db stop                           as Ctrl-C does
    crawler control crawl.db                                the settings that can be changed, as they are
    """
    from crawler.channel import Nobody, ask
    from crawler.cli.errors import USAGE, say
    from crawler.cli.output import as_json as as_json_text
    from storage.store import StoreUnreadable

    if not file.is_file():
        raise StoreUnreadable(f"{file}: no such file")
    try:
        answer = ask(file, request(do, words))
    except Nobody as error:
        say(f"crawler: {str(error) or _why(file)}")
        raise click.exceptions.Exit(1) from None
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["ok"]:
        _say(answer)
    else:
        say(f"crawler: {answer['error']}")
    if not answer["ok"]:
        raise click.exceptions.Exit(USAGE)


def _why(file: Path) -> str:
    """Why nobody listens."""
    from storage.lock import holder

    pid = holder(file)
    if pid is None:
        return f"nobody is crawling into {file}; start it with: crawler resume {file}"
    return f"process {pid} holds {file}, but does not listen: it is no crawl, or one that is just beginning or ending"


def request(do: str, words: tuple[str, ...]) -> dict[str, Any]:
    """What was typed, as a request. Raises UsageError."""
    if do == "set":
        pairs = [word.partition("=") for word in words]
        if not pairs or not all(mark for _, mark, _ in pairs):
            raise click.UsageError("set takes NAME=VALUE, such as: set delay=2, or: set host=example.org delay=2")
        settings = {name: value for name, _, value in pairs}
        host = settings.pop("host", None)
        return {"do": "set", "settings": settings} | ({"host": host} if host is not None else {})
    if do == "exclude":
        return {"do": "exclude", "hosts": _hosts(words), "patterns": [w for w in words if w not in _hosts(words)]}
    if words:
        raise click.UsageError(f"{do} takes nothing more, and here is {words[0]!r}")
    return {"do": do}


def _hosts(words: tuple[str, ...]) -> list[str]:
    from crawler.orders import is_host

    return [word for word in words if is_host(word)]


def _say(answer: dict[str, Any]) -> None:
    from crawler.orders import word
    from crawler.text import printable

    for name, value in answer.get("settings", {}).items():
        click.echo(f"  {name.replace('_', '-'):<20}{printable(word(value)) or 'none'}")
    if "settings" in answer:
        click.echo(f"  bound by {printable(answer['progress']['bound_by'])}")
        return
    for text in answer["said"]:
        click.echo(printable(text))
    force = answer.get("in_force")
    if force:
        click.echo(f"in force there: {_force(force)}")


def _force(force: dict[str, Any]) -> str:
    asked = "" if not force["crawl_delay"] else f"; its robots.txt asks for {force['crawl_delay']:g} s"
    return f"a request each {force['delay']:.3g} s{asked}; its address is asked each {force['ip_delay']:g} s at most"
