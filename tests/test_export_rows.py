"""`crawler export` of rows: Parquet read back by pyarrow, ready-made questions, and what every format does alike."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.export.parquet import types, write_parquet
from storage.lock import FileLock
from tests.commands import EVIL, Done, sh
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.test_upgrade import OLD, restored
from tests.web import Site, page

ENDINGS = ("jsonl", "json", "csv", "parquet", "warc", "warc.gz", "wacz")


async def do(*arguments: object) -> Done:
    """`crawler` beside the loop of this test: it has one of its own."""
    return await asyncio.to_thread(sh, *arguments)


async def crawled(serve: Serve, file: Path) -> None:
    web = await serve(Site({"/": page("/a", "/gone", title=EVIL), "/a": page("/"), "/robots.txt": ""}))
    await run(web, file)


async def test_parquet_has_the_rows_and_their_types(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Every row as SQL gives it; integers are integers, times are times in UTC, all NULL is text; mode 0600."""
    await crawled(serve, crawl_file)
    target = tmp_path / "pages.parquet"
    assert (await do("export", crawl_file, target)).err == f"2 rows in {target}\n"
    table = parquet.read_table(target)
    kinds = {name: str(table.schema.field(name).type) for name in ("url", "status", "fetched_at", "parse")}
    assert kinds == {"url": "string", "status": "int64", "fetched_at": "timestamp[ms, tz=UTC]", "parse": "string"}
    rows = ask(crawl_file, "SELECT * FROM pages")
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert [tuple(map(_plain, row)) for row in found] == rows
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    return value


ROWS = ((1, 1.5, b"\xff", "a", None, 2, "2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z"),
        (None, 2, None, "=1+1\x1b", None, "x", None, "yesterday"))


def test_columns_are_what_their_values_are(tmp_path: Path) -> None:
    """SQLite's columns hold anything: numbers of both kinds are real, anything else that differs is text; a late value
    decides as much as an early one."""
    names = list("abcdefgh")
    kinds = types(names, ROWS)
    assert kinds == ["integer", "real", "blob", "text", "text", "mixed", "moment", "text"]
    with (tmp_path / "x.parquet").open("wb") as out:
        assert write_parquet(out, names, kinds, ROWS) == 2
    assert [tuple(map(_plain, row.values())) for row in parquet.read_table(tmp_path / "x.parquet").to_pylist()] == [
        (1, 1.5, b"\xff", "a", None, "2", *ROWS[0][6:]), (None, 2.0, None, "=1+1\x1b", None, "x", *ROWS[1][6:])]


@pytest.mark.parametrize("title", ["2024-02-30T00:00:00.000Z", "0000-01-01T00:00:00.000Z", "2024-01-01T24:00:00.000Z",
                                   "9999-12-31T23:59:60.000Z"])  # fmt: skip
def test_what_looks_like_a_time_is_text(tmp_path: Path, title: str) -> None:
    """A title that names a day which never was: the column is text, and is written."""
    kinds = types(["title"], [(title,)])
    with (tmp_path / "x.parquet").open("wb") as out:
        write_parquet(out, ["title"], kinds, [(title,)])
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == [{"title": title}]


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group ends after so many rows or bytes, so that memory does not grow with the export."""
    monkeypatch.setattr("storage.export.parquet.ROWS", 10)
    monkeypatch.setattr("storage.export.parquet.BYTES", 1_000)
    with (tmp_path / "x.parquet").open("wb") as out:
        write_parquet(out, ["a"], ["text"], [("x",)] * 25 + [("y" * 600,)] * 3)
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [10, 10, 7, 1]
    assert pa.compute.count(file.read()["a"]).as_py() == 28


async def test_what_parquet_cannot_hold_and_what_is_not_installed(serve: Serve, crawl_file: Path, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns of one name, and no pyarrow: exit 2, a sentence that says what to do, and no file."""
    await crawled(serve, crawl_file)
    target = tmp_path / "pages.parquet"
    done = await do("export", crawl_file, target, "--sql", "SELECT url, title AS url FROM pages")
    assert (done.code, "two columns are named url" in done.err) == (2, True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = await do("export", crawl_file, target)
    assert (done.code, "pip install 'poolcrawl[parquet]'" in done.err) == (2, True)
    assert list(tmp_path.glob("pages*")) == []


async def test_a_question_chooses_the_rows(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """--sql takes the name of a ready-made question, also one that needs the index; an unknown name is exit 2."""
    await crawled(serve, crawl_file)
    target = tmp_path / "out.jsonl"
    assert (await do("export", crawl_file, target, "--sql", "broken-links")).code == 0
    assert [json.loads(line)["status"] for line in target.read_text().splitlines()] == [404]
    assert (await do("export", crawl_file, target, "--sql", "pagerank", "--force")).code == 0
    assert {*json.loads(target.read_text().splitlines()[0])} == {"pagerank", "url"}
    done = await do("export", crawl_file, target, "--sql", "broken-hearts", "--force")
    assert (done.code, "no ready-made question" in done.err) == (2, True)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_format_overwrites(serve: Serve, crawl_file: Path, tmp_path: Path, ending: str) -> None:
    """What is there stays, byte for byte, unless --force is given; bad SQL and a missing folder leave nothing behind."""
    await crawled(serve, crawl_file)
    target = tmp_path / "out" / f"x.{ending}"
    assert (await do("export", crawl_file, target)).code == 2
    target.parent.mkdir()
    assert (await do("export", crawl_file, target, "--sql", "SELECT nothing")).code == 2
    assert list(target.parent.iterdir()) == []
    target.write_text("mine")
    done = await do("export", crawl_file, target)
    assert (done.code, "--force" in done.err, target.read_text()) == (2, True, "mine")
    assert (await do("export", crawl_file, target, "--force")).code == 0
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() != b"mine"


@pytest.mark.parametrize("target", [*(f"x.{ending}" for ending in ENDINGS), "--mirror", "--markdown"])
async def test_a_crawl_that_runs_is_exported(serve: Serve, crawl_file: Path, tmp_path: Path, target: str) -> None:
    """The crawl holds the file's lock and is about to commit: every format has what was committed, and the file is as it was."""
    await crawled(serve, crawl_file)
    lock = FileLock(crawl_file)
    lock.acquire()
    with closing(sqlite3.connect(crawl_file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM fetch")
        place = [target, tmp_path / "out"] if target.startswith("--") else [tmp_path / target]
        done = await do("export", crawl_file, *place)
        assert (done.code, done.err.split()[0]) == (0, "4" if "arc" in target or "wacz" in target else "2"), done.err
        db.execute("ROLLBACK")
    lock.release()
    assert ask(crawl_file, "SELECT count(*) FROM fetch") == [(4,)]


@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
def test_a_file_of_an_older_version_has_rows(tmp_path: Path, dump: Path) -> None:
    """Without an upgrade: it is only read."""
    file = restored(dump, tmp_path / "crawl.db")
    assert sh("export", file, tmp_path / "old.parquet").code == 0
    assert parquet.read_table(tmp_path / "old.parquet").num_rows > 0
