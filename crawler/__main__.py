"""`crawler` and `python -m crawler`: where the command line begins."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> None:
    """Run the command line. Exit codes are those of CONTRACT §1 (docs/cli.md)."""
    if sys.platform == "win32":
        sys.exit("crawler: Windows is not supported yet: nothing here has been tested on it. Linux and macOS are.")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:  # a closed stream's number would be given to the next file, and printed into
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # our processes have it, too
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115
    gc.set_threshold(20_000, 20, 20)  # importing makes thousands of objects, a page as many, and hardly a cycle
    from crawler.cli.main import cli

    try:
        cli()
    except SystemExit as ending:
        _leave(ending.code)


def _leave(code: str | int | None) -> NoReturn:
    """End at once: what is to be kept is in the file. Taking a large crawl's memory apart would be 0.2 s of work for nothing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    main()
