"""`diff`: what has changed between two runs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler.spec import BadSpec
from storage.diff import KINDS

if TYPE_CHECKING:
    from crawler.differences import Links
    from storage.diff import Change
    from storage.reader import Reader

NAMES = ["change", "url", "status", "was_status", "reason", "title", "was_title", "links_added", "links_removed"]
SHOWN = ("gone", "new", "changed")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("run1", type=int, required=False)
@click.argument("run2", type=int, required=False)
@click.option("--only", multiple=True, type=click.Choice(KINDS), help="these rows; without it gone, new and changed")
@click.option("--links/--no-links", default=True, show_default=True, help="compare the links of pages that changed")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object: runs, counts, changes")
def diff(
    file: Path, run1: int | None, run2: int | None, only: tuple[str, ...], links: bool, form: str, as_json: bool
) -> None:
    """What has changed in FILE between the ends of RUN1 and RUN2: pages and redirects that are gone, new, changed.

    Without runs: between the latest and the one before it that came to its end. `crawler query FILE "SELECT * FROM runs"`
    lists them. Works while a crawl runs. The links of changed pages are read from the stored bodies; nothing is sent.
    """
    from crawler.cli.errors import say
    from crawler.cli.output import as_json as as_json_text
    from crawler.cli.output import write_rows
    from storage.diff import changes
    from storage.reader import open_reader

    with open_reader(file) as reader:
        first, second = _runs(reader, file, run1, run2)
        counts: Counter[str] = Counter()
        found = [row for row in changes(reader.db, first, second) if _wanted(row, only, counts)]
        compared = _links(reader, found) if links else {}
    told = [f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind] or kind in SHOWN]
    say(f"run {first} to run {second}: {', '.join(told)}")
    if unread := sum(row.change == "changed" and row.url not in compared for row in found) if links else 0:
        say(f"the links of {unread:,} changed URLs cannot be compared: there are not two bodies that can be parsed")
    rows = (_row(row, compared.get(row.url), "json" if as_json else form) for row in found)
    if as_json:
        listed = [dict(zip(NAMES, row, strict=True)) for row in rows]
        click.echo(as_json_text({"runs": [first, second], "counts": {k: counts[k] for k in KINDS}, "changes": listed}))
    else:
        write_rows(NAMES, rows, form)
    sys.stdout.flush()


def _runs(reader: Reader, file: Path, first: int | None, second: int | None) -> tuple[int, int]:
    from storage.diff import runs

    found = runs(reader.db, first, second)
    if found is None:
        known = ", ".join(str(id_) for (id_,) in reader.query("SELECT id FROM runs ORDER BY id")[1])
        has = f"two runs are needed, the earlier first, and {file} has {known or 'none'}"
        raise BadSpec(f"{has}; crawler recrawl {file} makes one")
    return found


def _wanted(row: Change, only: tuple[str, ...], counts: Counter[str]) -> bool:
    counts[row.change] += 1
    return row.change in (only or SHOWN)


def _links(reader: Reader, rows: list[Change]) -> dict[str, Links]:
    import os

    from crawler.differences import links_of

    return links_of(reader, [row for row in rows if row.change == "changed"], min(4, os.cpu_count() or 1))


def _row(row: Change, links: Links | None, form: str) -> tuple[Any, ...]:
    """For people the number of links, for programs the links."""
    if links is None:
        return (*row[:7], None, None)
    if form == "table":
        return (*row[:7], *(len(urls) or None for urls in links))
    return (*row[:7], *(" ".join(urls) if form == "csv" else urls for urls in links))
