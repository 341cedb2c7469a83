"""What the command line says of itself, for the pages that are written from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from crawler.cli.main import COMMANDS, cli

__all__ = ["COMMANDS", "command_of", "options_of"]


def command_of(name: str) -> click.Command:
    """The command as click has it."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def options_of(name: str) -> Iterator[tuple[list[str], str, str]]:
    """Of each option its spellings, what stands for its value ("" for a flag), and what it means."""
    for option in command_of(name).params:
        if isinstance(option, click.Option):
            yield option.opts, "" if option.is_flag else _value(option), _meaning(option)


def _value(option: click.Option) -> str:
    text = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.metavar or option.type.name
    return text if "'" in text else text.lower()


def _meaning(option: click.Option) -> str:
    text = re.sub(r" \[(default [^,\]]+)?(?:, )?[^\]]*\]$", lambda m: f" ({m[1]})" if m[1] else "", option.help or "")
    default = option.default
    if option.show_default and isinstance(default, (str, int, float, Path)) and not option.is_flag:
        text += f"{' ' if text else ''}(default {default})"
    return text + ("; repeatable" if option.multiple and "repeatable" not in text else "")
