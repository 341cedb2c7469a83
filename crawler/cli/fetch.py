"""`fetch`: the pooled fetch core alone; many URLs over one pool, results in input order, nothing followed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import click

from crawler.cli.options import read_seeds

if TYPE_CHECKING:
    from crawler.visit import Outcome


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--connections", default=100, show_default=True, help="open at once")
@click.option("--per-host", default=10, show_default=True, help="open at once to one host")
@click.option("--timeout", default=60.0, show_default=True, help="seconds for one request, all in")
@click.option("--max-body", default=10 * 2**20, show_default=True, help="bytes of a body; the rest is cut and flagged")
@click.option("--contact", help="sent in the user agent")
@click.option("--user-agent", help="replaces the whole User-Agent")
@click.option("--header", multiple=True, metavar="'K: V'", help="sent with every request; repeatable")
@click.option("--proxy", help="HTTP proxy for everything")
@click.option("--allow-private", multiple=True, metavar="CIDR", help="addresses that are not public but may be fetched")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line, with headers and body")
def fetch(urls: tuple[str, ...], connections: int, per_host: int, as_json: bool, **options: Any) -> None:
    """Fetch all URLs at once over one pool; a file of URLs or - works too. Robots.txt and delays do not apply.

    Results come in input order. Exit 1 when any of them failed.
    """
    import asyncio

    from crawler.api import loop_factory
    from crawler.cli.options import given
    from crawler.cli.output import as_json as as_json_text
    from crawler.fetch.many import fetch_all
    from crawler.spec import from_mapping

    spec = from_mapping(given(options))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        outcomes = runner.run(fetch_all(read_seeds(urls), limit=connections, limit_per_host=per_host, spec=spec))
    for outcome in outcomes:
        click.echo(as_json_text(as_object(outcome)) if as_json else line(outcome))
    if not all(o.status is not None and o.status < 400 for o in outcomes):
        raise click.exceptions.Exit(1)


def line(outcome: Outcome) -> str:
    """One outcome for people."""
    from crawler.text import printable

    failed, _, why = outcome.reason.partition(": ")
    what = str(outcome.status) if outcome.status is not None else failed
    target = f" -> {printable(outcome.location)}" if outcome.location else ""
    cut = f" (cut: {outcome.truncated})" if outcome.truncated else ""
    note = f"  ({printable(why)})" if why else ""
    return (
        f"{what:>4} {len(outcome.body):>9,} B {outcome.elapsed_ms:>6,} ms  {printable(outcome.url)}{target}{cut}{note}"
    )


def as_object(outcome: Outcome) -> dict[str, Any]:
    """One outcome as CONTRACT §1 names it; ``body`` is text, or ``body_base64`` when it is not."""
    found: dict[str, Any] = {
        "url": outcome.url,
        "status": outcome.status,
        "reason": outcome.reason,
        "headers": [list(h) for h in outcome.headers],
        "elapsed_ms": outcome.elapsed_ms,
        "truncated": outcome.truncated,
        "location": outcome.location,
    }
    from crawler.parse.charset import decode

    kind = (outcome.header("content-type") or "").split(";", 1)[0].strip().lower()
    if not outcome.body or kind.startswith("text/") or kind.endswith(("json", "xml", "javascript")):
        text, charset = decode(outcome.body, outcome.header("content-type"))
        return found | {"body": text, "charset": charset}
    try:
        return found | {"body": outcome.body.decode("utf-8"), "charset": "utf-8"}
    except UnicodeDecodeError:
        return found | {"body": None, "body_base64": base64.b64encode(outcome.body).decode("ascii")}
