"""`index`: what search and the measures of the link graph need, brought up to date beside the crawl file."""

from __future__ import annotations

from pathlib import Path

import click

SUMMARY = """SELECT (SELECT count(*) FROM derived.doc), (SELECT count(*) FROM derived.near),
(SELECT count(*) FROM derived.node)"""
REASONS = "SELECT reason, count(*) FROM derived.doc WHERE reason IS NOT NULL GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 5"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def index(file: Path) -> None:
    """Bring FILE's index up to date: the text of its pages, near duplicates, PageRank and click depth. Works while a crawl runs.

    It is kept in FILE.index, holds nothing that is not in FILE, and may be deleted at any time. `search` and the questions
    that need it do this by themselves. Ctrl-C keeps what is done.
    """
    from crawler.cli.errors import say
    from crawler.indexing import bring_up_to_date
    from storage.reader import open_reader

    bring_up_to_date(file, graph=True, say=say)
    with open_reader(file) as reader:
        pages, alike, nodes = reader.one(SUMMARY) or (0, 0, 0)
        reasons = reader.query(REASONS)[1]
        say(f"{file}.index: {pages:,} pages, {alike:,} near duplicates, {nodes:,} pages and redirects in the link graph")
        for reason, count in reasons:
            say(f"text not, or not wholly, indexed of {count:,}: {reason}")
