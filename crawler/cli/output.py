"""Rows on stdout: an aligned table for people (a line for each value where the terminal is too narrow),
JSON, JSON lines or CSV for programs. Streams; hostile text cannot draw."""

from __future__ import annotations

import base64
import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from shutil import get_terminal_size
from typing import IO, Any

from crawler.text import printable

Row = Sequence[Any]
SAMPLE = 500  # rows that decide the widths of a table
WIDEST = 100  # characters of a table's cell
FORMULAS = tuple("=+-@\t\r\n＝＋－＠")  # what spreadsheets take for the start of a formula (OWASP, "CSV Injection")


def write_rows(
    names: list[str], rows: Iterable[Row], form: str, out: IO[str] | None = None, *, raw: bool = False
) -> int:
    """Write rows as 'table', 'json', 'jsonl' or 'csv'; how many. ``raw``: CSV cells exactly as they are (FAULTS O2)."""
    out = out or sys.stdout
    counted = _Counted(rows)
    if form == "table":
        _table(names, counted, out)
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        shown = _on_terminal if out.isatty() else _cell
        writer.writerows([shown(v, raw) for v in row] for row in counted)
    elif form == "jsonl":
        for row in counted:
            out.write(as_json(_object(names, row), out) + "\n")
    else:
        _json(names, counted, out)
    return counted.n


def as_json(value: Any, out: IO[str] | None = None) -> str:
    """One line of JSON for ``out`` (default stdout): in UTF-8 for programs, in ASCII on a terminal, where nothing in it can
    draw (FAULTS O1); the same value either way."""
    if (out or sys.stdout).isatty():
        return json.dumps(value).replace("\x7f", "\\u007f")
    return json.dumps(value, ensure_ascii=False)


class _Counted:
    def __init__(self, rows: Iterable[Row]) -> None:
        self.n = 0
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.n += 1
            yield row


def _object(names: list[str], row: Row) -> dict[str, Any]:
    return {name: _plain(name, value) for name, value in zip(names, row, strict=True)}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if name == "data" and isinstance(value, str):
        try:
            return json.loads(value)  # the column holds JSON: nest it instead of quoting it
        except ValueError:
            return value
    return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no Infinity


def _json(names: list[str], rows: Iterable[Row], out: IO[str]) -> None:
    mark = "["
    for row in rows:
        out.write(mark + "\n" + as_json(_object(names, row), out))
        mark = ","
    out.write("\n]\n" if mark == "," else "[]\n")


def _cell(value: Any, raw: bool) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if not raw and isinstance(value, str) and value.startswith(FORMULAS):
        return "'" + value  # a spreadsheet would take it for a formula
    return value


def _on_terminal(value: Any, raw: bool) -> Any:
    cell = _cell(value, raw)
    return printable(cell) if isinstance(cell, str) else cell


def _table(names: list[str], rows: Iterable[Row], out: IO[str]) -> None:
    lines = ([_shown(v) for v in row] for row in rows)
    head = list(islice(lines, SAMPLE))
    if not names:
        return
    widths = [max([len(n), *(len(row[i]) for row in head)]) for i, n in enumerate(names)]
    if out.isatty() and sum(widths) + 2 * len(widths) - 2 > get_terminal_size().columns:
        _records(names, chain(head, lines), out)
        return
    numeric = [bool(head) and all(_number(row[i]) for row in head) for i in range(len(names))]
    out.write(_line(names, widths, numeric) + "\n" + "  ".join("─" * w for w in widths) + "\n")
    for row in chain(head, lines):
        out.write(_line(row, widths, numeric) + "\n")


def _records(names: list[str], rows: Iterable[Sequence[str]], out: IO[str]) -> None:
    """A line for each value: a row that is wider than the terminal could not be read."""
    width = max(map(len, names))
    for number, row in enumerate(rows):
        filled = [f"{name.ljust(width)}  {cell}\n" for name, cell in zip(names, row, strict=True) if cell]
        out.write("\n" * (number > 0) + "".join(filled))


def _line(cells: Sequence[str], widths: list[int], numeric: list[bool]) -> str:
    return "  ".join(
        c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cells, widths, numeric, strict=True)
    ).rstrip()


def _number(text: str) -> bool:
    return not text or text.replace(".", "", 1).lstrip("-").isdigit()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = f"x'{value[:16].hex()}'" if isinstance(value, bytes) else printable(str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
