"""Rows as Apache Parquet, a row group at a time. pyarrow, of the extra `parquet`, is loaded only here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any

ROWS, BYTES = 10_000, 16 << 20  # of a row group: whichever comes first
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
NAMES: dict[type, str] = {int: "integer", float: "real", bytes: "blob", type(None): ""}


class NoParquet(ImportError):
    """pyarrow is not installed."""


def types(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """What each column holds: 'integer', 'real', 'text', 'blob', 'moment' (an ISO time of our views) or 'mixed'.

    All rows are asked: a column of a crawl may be NULL for a million rows before it is not.
    """
    found: list[set[str]] = [set() for _ in names]
    for row in rows:
        for known, value in zip(found, row, strict=True):
            known.add(_name(value))
    return [_one(known - {""}) for known in found]


def _name(value: Any) -> str:
    if isinstance(value, str):
        return "moment" if MOMENT.fullmatch(value) and _is_time(value) else "text"
    return NAMES[type(value)]


def _is_time(text: str) -> bool:
    """A title may look like one and name the 30th of February: no column could hold it."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return not text.startswith("24", 11)


def _one(kinds: set[str]) -> str:
    """The type that holds values of all these; of none: text."""
    if kinds <= {"moment", "text"}:
        return "moment" if kinds == {"moment"} else "text"
    if kinds == {"integer", "real"}:
        return "real"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def write_parquet(out: IO[bytes], names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Write rows whose columns are of these `types`; how many. Raises NoParquet, or ValueError for names that occur twice."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise NoParquet(str(error)) from None
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns are named {twice[0]}; name them apart with AS")
    arrow = {"integer": pa.int64(), "real": pa.float64(), "blob": pa.binary(), "moment": pa.timestamp("ms", tz="UTC")}
    schema = pa.schema([(name, arrow.get(kind, pa.string())) for name, kind in zip(names, kinds, strict=True)])
    count = 0
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(rows):
            count += len(group)
            columns = zip(schema.types, kinds, zip(*group, strict=True), strict=True)
            writer.write_batch(pa.record_batch([_array(pa, *column) for column in columns], schema=schema))
    return count


def _array(pa: Any, type_: Any, kind: str, column: Sequence[Any]) -> Any:
    if kind == "moment":
        return pa.array(column, pa.string()).cast(type_)
    return pa.array([_text(value) for value in column] if kind == "mixed" else column, type_)


def _text(value: Any) -> str | None:
    return value.hex() if isinstance(value, bytes) else None if value is None else str(value)


def _groups(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    group: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(group) >= ROWS or size >= BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
