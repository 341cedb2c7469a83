"""The manual page, from the command line itself and the exit codes of cli.md; docs/generate.py writes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from textwrap import wrap

import click
from commands import COMMANDS, command_of, options_of

from crawler.spec import VERSION

MANY = 10  # options that a command shares with `crawl`: they are not told again
CLI_PAGE = Path(__file__).with_name("cli.md")
HEAD = r""".\" Written by docs/generate.py from the command line; edit there.
.TH CRAWLER 1 "" "poolcrawl {version}" "User Commands"
.SH NAME
crawler \- polite, crash\-proof web crawler into one SQLite file
.SH SYNOPSIS
.B crawler
.I COMMAND
[\fIARGUMENT\fR ...] [\fIOPTION\fR ...]
.SH DESCRIPTION
.B crawler
visits a web from its seeds, one request a second to a host unless told
otherwise, and fills one SQLite file with pages, links, failures and the
reason for everything it left out.
Stopped or killed at any moment, the same command goes on.
The file can be queried all the while.
"""
FILES = r""".SH ENVIRONMENT
.TP
.B NO_COLOR
No colours, whatever the terminal.
.TP
.B SQLITE_TMPDIR
Where temporary tables of a large report go.
.SH FILES
.TP
.I crawl.db
The crawl; the only file that must be kept.
.TP
.IR crawl.db\-wal ", " crawl.db\-shm ", " crawl.db.lock
Beside it while it is open.
Never delete them, and ask SQLite for a backup, not
.BR cp (1).
.TP
.I crawl.db.index
What
.B search
and some questions need; derived, may be deleted.
"""
END = r""".SH SEE ALSO
.BR sqlite3 (1),
.BR wget (1)
"""


def manpage() -> str:
    """docs/crawler.1."""
    parts = [HEAD.format(version=VERSION), ".SH COMMANDS\n", *(_command(name) for name in COMMANDS)]
    return "".join([*parts, ".SH EXIT STATUS\n", *_exit_codes(), FILES, END])


def _command(name: str) -> str:
    command = command_of(name)
    usage = " ".join(piece for piece in command.collect_usage_pieces(click.Context(command)) if piece != "[OPTIONS]")
    options, shared = list(options_of(name)), [option for option in options_of("crawl") if option in options_of(name)]
    if name != "crawl" and len(shared) > MANY:
        options = [option for option in options if option not in shared]
    else:
        shared = []
    parts = [f".SS crawler {name} {_safe(usage)}".rstrip() + "\n", _text(command.help or ""), *starmap(_option, options)]
    return "".join([*parts, ".PP\nAll settings of\n.B crawl\nare options here too.\n" * bool(shared)])


def _option(names: Sequence[str], value: str, meaning: str) -> str:
    shown = ", ".join(rf"\fB{_safe(name)}\fR" for name in names) + (rf" \fI{_safe(value)}\fR" if value else "")
    return f".TP\n{shown}\n{_text(meaning)}"


def _text(text: str) -> str:
    """Paragraphs, a sentence a line; what click would not rewrap keeps its lines."""
    shown = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        if part.startswith("\b"):
            lines = [".nf", *part.removeprefix("\b\n").split("\n"), ".fi"]
        else:
            sentences = re.split(r"(?<=\w\w\.) (?=[A-Z`])", " ".join(part.split()))
            lines = [line for sentence in sentences for line in wrap(sentence, 78, break_on_hyphens=False)]
        shown.append("".join(f"{line if line in ('.nf', '.fi') else _line(line)}\n" for line in lines))
    return ".PP\n".join(shown)


def _line(text: str) -> str:
    return (r"\&" if text[:1] in ("'", ".") else "") + _safe(text)


def _safe(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("`", "")


def _exit_codes() -> Iterator[str]:
    for code, about in re.findall(r"^\| (\d+) \| (.*) \|$", CLI_PAGE.read_text("utf-8"), re.M):
        yield f".TP\n.B {code}\n{_text(about)}"
