"""From an exception to a sentence on stderr and an exit code (CONTRACT §1)."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

import click

from crawler.text import printable

USAGE, DEFERRED, BUG, STORE, LOCKED, INTERRUPTED = 2, 3, 70, 74, 75, 130
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def exit_code(error: BaseException) -> int:
    """Say what happened and what to do; the exit code that tells it to programs."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return 0
    if isinstance(error, OSError) and error.filename is None and error.errno in FULL:  # the store wraps its own
        say(f"crawler: stdout could not be written: {error.strerror}")
        _drop_stdout()
        return STORE
    return _ours(error)


def _drop_stdout() -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it exits


def _ours(error: BaseException) -> int:
    from crawler.parse import BadExtractor
    from crawler.spec import BadSpec
    from storage.store import StoreError, StoreLocked, StoreUnreadable

    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    for kind, code in (
        (StoreLocked, LOCKED),
        (StoreUnreadable, USAGE),
        (BadSpec, USAGE),
        (BadExtractor, USAGE),
        (StoreError, STORE),
    ):
        if isinstance(error, kind):
            say(f"crawler: {error}")
            return code
    import traceback

    traceback.print_exception(error)
    say(
        "crawler: this is a bug in poolcrawl, not your doing. The crawl file is intact; `crawler resume` goes on from it.\n"
        "Please report it with the lines above, the command, and the log (--log FILE --log-format json)."
    )
    return BUG


def say(text: str) -> None:
    """One message for a person, on stderr, with nothing in it that draws; nobody listening is no error."""
    text = "\n".join(printable(line, tabs=True) for line in text.split("\n"))
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        return
