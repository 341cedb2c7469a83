"""`purge`: a host, and everything that was fetched from it, leaves a crawl file for good."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

COUNT = """SELECT coalesce(sum(n), 0), coalesce(sum(f), 0) FROM (SELECT
  (SELECT count(*) FROM url WHERE url.host = h.id) AS n,
  (SELECT count(*) FROM fetch JOIN url ON url.id = fetch.url WHERE url.host = h.id) AS f
FROM json_each(?) e JOIN host h ON h.name = e.value)"""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, required=True, metavar="HOST", help="exactly this host name; repeatable")
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--json", "as_json", is_flag=True, help="print what went as one JSON object on stdout")
def purge(file: Path, hosts: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove HOST from FILE for good: URLs, bodies, attempts, and every link to it; then compact the file.

    The host is excluded from this crawl from then on. What pages of other hosts say of it stays: it is theirs.
    """
    from dataclasses import asdict

    from crawler.cli.errors import say
    from storage import purge as purging

    names = [host_name(host) for host in hosts]
    if not yes:
        _confirm(file, names)
    went = purging.purge(file, names, host_of)
    saved = f"{max(0, went.before - went.after) / 1e6:,.1f} MB freed"
    say(
        f"{', '.join(names)}: {went.urls:,} URLs, {went.fetches:,} fetches, {went.links:,} links, {went.bodies:,} bodies "
        f"purged from {file}, {saved}; excluded from this crawl from now on"
    )
    if as_json:
        click.echo(json.dumps({"file": str(file), "purged": names} | asdict(went)))


def host_name(text: str) -> str:
    """A host as the file spells it. Raises UsageError for what is more or less than a host."""
    host = None if set(text) & set("/?#@\\*") else host_of(f"http://{text}/")
    if host is None or (":" in text and not host.startswith("[")):
        raise click.UsageError(f"--host {text!r} is no host name; write it like www.example.org, without scheme or port")
    return host


def host_of(seed: str) -> str | None:
    """The host of a URL; None for what is none."""
    from crawler.url import InvalidUrl, admit

    try:
        return admit(seed).host
    except InvalidUrl:
        return None


def _confirm(file: Path, names: list[str]) -> None:
    from storage.reader import open_reader

    with open_reader(file) as reader:
        urls, fetches = reader.one(COUNT, (json.dumps(names),)) or (0, 0)
    what = f"{urls:,} URLs and {fetches:,} fetches of {', '.join(names)}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"this deletes {what} from {file} for good; say --yes")
    if not click.confirm(f"delete {what} from {file} for good?", err=True):
        click.echo("nothing was deleted", err=True)
        raise click.exceptions.Exit(1)
