"""`python -m crawler.web.box PARENT FILE FORM`: people's SQL, from stdin, in a process of its own. Rows go to stdout.

SQLite can be asked for what no deadline breaks off (`instr` of two long texts), for all memory and for all disk, and a PRAGMA
changes a whole process. Here that ends this process, and the view goes on.
"""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

MOST = 1_000  # rows that are shown
MOST_SAVED = 1_000_000  # rows of a download
LONGEST = 2_000  # characters of a text that is shown
LARGEST = 64 << 20  # bytes of one value
MEMORY = 1 << 30  # bytes of address space
DISK = 2 << 30  # bytes of a file: of a download, and of what is sorted for it
REFUSED, TOO_MANY = 1, 3  # exit codes


def main() -> None:
    from crawler.child import die_with
    from storage.reader import open_reader
    from storage.store import StoreError

    parent, file, form = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))
    die_with(int(parent))
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        with open_reader(Path(file)) as reader:
            reader.db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
            names, rows = reader.query(text)
            code = _written(names, rows, form)
    except MemoryError:
        _refused("it needs more memory than a question may have")
    except OSError as error:
        _refused("it needs more room on disk than a question may have" if error.errno == errno.EFBIG else str(error))
    except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, StoreError) as error:
        _refused(str(error))
    os._exit(code)  # nothing is tidied up that the kernel does not


def _refused(why: str) -> NoReturn:
    sys.stderr.write(why)
    sys.stderr.flush()
    os._exit(REFUSED)


def _written(names: list[str], rows: Iterable[tuple[Any, ...]], form: str) -> int:
    from crawler.cli.output import write_rows

    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", errors="replace", newline="")
    if form == "rows":
        out.writelines(json.dumps(line) + "\n" for line in (names, *_shown(rows)))
        out.flush()
        return 0
    n = write_rows(names, islice(rows, MOST_SAVED + 1), form, out)
    out.flush()
    return TOO_MANY if n > MOST_SAVED else 0


def _shown(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[Any]]:
    """One more than is shown, each value cut: nobody reads more of it."""
    for row in islice(rows, MOST + 1):
        yield [_cut(value) for value in row]


def _cut(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"blob": value[:17].hex()}
    return f"{value[:LONGEST]}…" if isinstance(value, str) and len(value) > LONGEST else value


if __name__ == "__main__":
    main()
