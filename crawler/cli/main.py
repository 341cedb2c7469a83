"""The command group. Commands live in modules of their own and import what is heavy inside their functions."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from crawler.cli.errors import exit_code
from crawler.spec import VERSION
from crawler.text import near_miss

COMMANDS = {
    "crawl": "crawler.cli.crawl",
    "resume": "crawler.cli.crawl",
    "add": "crawler.cli.crawl",
    "recrawl": "crawler.cli.recrawl",
    "retry": "crawler.cli.recrawl",
    "block": "crawler.cli.recrawl",
    "diff": "crawler.cli.diff",
    "rescope": "crawler.cli.rescope",
    "reextract": "crawler.cli.reextract",
    "fetch": "crawler.cli.fetch",
    "status": "crawler.cli.status",
    "control": "crawler.cli.control",
    "query": "crawler.cli.query",
    "search": "crawler.cli.search",
    "index": "crawler.cli.index",
    "show": "crawler.cli.show",
    "explain": "crawler.cli.explain",
    "export": "crawler.cli.export",
    "report": "crawler.cli.report",
    "serve": "crawler.cli.serve",
    "purge": "crawler.cli.purge",
    "demo": "crawler.cli.demo",
}

SECTIONS = {  # what `--help` says of them, without loading one
    "Crawl": {
        "crawl": "begin a crawl, or go on with it",
        "resume": "go on with a crawl, with the settings stored in its file",
        "add": "add seeds to a crawl",
        "control": "change, pause or stop the crawl that is running",
        "fetch": "fetch URLs over one pool; nothing followed or stored",
    },
    "Ask": {
        "status": "how a crawl stands, and what bounds it",
        "query": "SQL, or a ready-made question",
        "search": "find pages by their words",
        "explain": "why a URL was or was not fetched",
        "show": "the stored body of a URL",
        "report": "an HTML page for people: how it went, what is wrong",
        "serve": "look at a crawl in a browser",
        "index": "bring what search needs up to date",
    },
    "Take away": {
        "export": "rows, archives and copies: JSON, CSV, Parquet, WARC",
    },
    "Again, and in order": {
        "recrawl": "visit again what a file holds",
        "diff": "what changed between two runs",
        "retry": "make failures due again",
        "block": "keep URLs out of a crawl",
        "rescope": "apply other rules to all that is known",
        "reextract": "take fields out of stored pages anew",
        "purge": "remove a host to the last byte",
    },
    "To begin with": {
        "demo": "a whole life of a crawl in a few seconds",
    },
}


class Commands(click.Group):
    """Loads a command's module when the command is named; turns our errors into sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message.rstrip('.')}{near_miss(args[0], COMMANDS)}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))  # of all sections, so that they stand in line
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), about) for name, about in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # `| head` has seen enough; click would make an error of it
            raise click.exceptions.Exit(exit_code(error)) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})  # which returns an Exit's code
            sys.stdout.flush()
            sys.exit(code if isinstance(code, int) else 0)
        except BaseException as error:  # noqa: BLE001 - the last resort: every error becomes a sentence and a code
            sys.exit(exit_code(error))


def _say_version(context: click.Context, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from crawler.versions import outdated, versions

    found = versions()
    click.echo(f"poolcrawl {VERSION}\n" + ", ".join(f"{name} {number}" for name, number in found.items()))
    for sentence in outdated(found):
        click.echo(f"note: {sentence}", err=True)
    context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=lambda c, _, on: _say_version(c, on),
              help="what this is and what it runs on")
def cli() -> None:
    """A polite, crash-proof web crawler. It keeps everything in one SQLite file: kill it, resume it, query it.

    \b
    crawler crawl https://example.org/ --contact you@example.org -o crawl.db
    crawler query crawl.db "SELECT url, title FROM pages LIMIT 10"
    """
