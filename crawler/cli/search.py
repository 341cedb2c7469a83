"""`search`: pages by the words in their title and text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from storage.index import Hit


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="pages at most")
@click.option("--json", "as_json", is_flag=True, help="a JSON array of url, title, snippet and score (less is better)")
@click.option("--no-update", is_flag=True, help="search the index as it is, without the pages that came since")
def search(file: Path, words: tuple[str, ...], limit: int, as_json: bool, no_update: bool) -> None:
    """Find the pages of FILE that have all WORDS in title or text, the best first. Works while a crawl runs.

    "two words" is a phrase, begin* the beginning of words; case and accents make no difference. Pages that came since the
    last search are indexed first, in FILE.index.
    """
    import sqlite3

    from crawler.cli.errors import say
    from crawler.cli.output import write_rows
    from crawler.indexing import bring_up_to_date
    from crawler.spec import BadSpec
    from storage.index import RANKED, Hit, behind
    from storage.index import search as searching
    from storage.reader import open_reader
    from storage.store import StoreLocked

    if not no_update:
        try:
            bring_up_to_date(file, graph=False, say=say)
        except StoreLocked as error:
            say(f"{error}; this searches what is there")
    with open_reader(file) as reader:
        if (late := behind(reader.db, "text")) is None:
            raise BadSpec(f"{file} has no index that can be searched; run: crawler index {file}")
        if late:
            say(f"{late:,} request{'s' * (late > 1)} not in the index yet; to bring it up to date: crawler index {file}")
        try:
            found, matches = searching(reader.db, words, limit)
        except sqlite3.Error as error:
            raise BadSpec(f"{file}.index cannot be searched: {error}; delete it, it is made anew") from None
    if as_json:
        write_rows(list(Hit._fields), found, "json")
    else:
        _show(found)
    if not found:
        say(f"no page has {' '.join(words)}")
    elif matches >= RANKED:
        say(f"the best {len(found):,} of the first {RANKED:,} pages that match; more words narrow it down")
    elif matches > len(found):
        say(f"the best {len(found):,} of {matches:,} pages; --limit shows more")


def _show(found: list[Hit]) -> None:
    from crawler.text import printable

    for number, (url, title, snippet, _) in enumerate(found):
        click.echo("\n" * (number > 0) + printable(title or "(no title)"))
        click.echo(f"  {printable(url)}")
        if snippet:
            click.echo(f"  {printable(snippet)}")
