"""The options of `crawl`, made from CrawlSpec: one place says name, unit, default and meaning."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crawler.extraction import pairs
from crawler.spec import BadSpec, CrawlSpec, default_of
from crawler.text import discreet

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def spec_options(command: F) -> F:
    """Decorate a command with an option for every setting of the spec but seeds and hosts' tables. Unset ones are None."""
    for setting in reversed([f for f in fields(CrawlSpec) if f.name not in ("seeds", "host")]):
        command = _option(setting)(command)
    return command


def _option(setting: Field[Any]) -> Callable[[F], F]:
    unit, text = setting.metadata["unit"], setting.metadata["help"]
    default, kind = default_of(setting.name), str(setting.type)
    shown = f"{text} [{'' if default in (None, ()) else f'default {default}, '}{unit}]"
    many = kind.startswith("tuple")
    if kind.startswith("bool"):
        name = setting.name.replace("_", "-")
        return click.option(f"--{name}/--no-{name}", setting.name, default=None, help=f"{text} [default {default}, {unit}]")
    if kind.startswith("Mapping"):
        return click.option(f"--{setting.name}", multiple=True, callback=_pairs, metavar=unit, help=shown)
    choices = unit.split("|") if "|" in unit else None
    return click.option(
        f"--{setting.name.replace('_', '-')}",
        setting.name,
        multiple=many,
        default=None,
        help=shown,
        metavar=unit.upper(),
        type=click.Choice(choices)
        if choices
        else int
        if kind.startswith("int")
        else float
        if kind.startswith("float")
        else str,
        shell_complete=files if unit == "file" else None,
    )


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For a shell that completes a value: names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _pairs(context: click.Context, option: click.Parameter, typed: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        return pairs(typed) or None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Only what was typed."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items() if v is not None and v != ()}


def merged(settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Settings with what was typed in their place; it also wins over the tables of hosts, which is said."""
    from crawler.cli.errors import say
    from crawler.hosts import given_way

    typed = given(options)
    tables, gone = given_way(settings.get("host"), typed)
    for key in gone:
        say(f"note: {key} gives way to the command line")
    return settings | typed | ({"host": tables} if tables else {})


def read_seeds(arguments: Sequence[str]) -> list[str]:
    """SEED arguments as URLs: a URL, a file of URLs (one a line, # comments), or - for stdin. Raises BadSpec."""
    found: list[str] = []
    for argument in arguments:
        if argument == "-":
            found += _lines(sys.stdin.read())
        elif "://" in argument:
            found.append(argument)
        elif Path(argument).is_file():
            try:
                found += _lines(Path(argument).read_text("utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise BadSpec(f"seed file {argument}: {error}") from None
        else:
            hint = f"; did you mean https://{argument}/ ?" if "." in argument and "/" not in argument else ""
            raise BadSpec(f"seed {discreet(argument)!r} is neither a URL nor a file{hint}")
    return found


def _lines(text: str) -> list[str]:
    lines = (line.split(" #", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
