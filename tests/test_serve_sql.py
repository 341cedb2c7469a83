"""The SQL box of `crawler serve`: read-only, with a deadline and bounds; its downloads are what `crawler query` prints."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import resource
from pathlib import Path
from urllib.parse import quote

import pytest

from crawler.web import app
from tests.commands import sh
from tests.viewing import cells, view

WRITES = (
    "DELETE FROM url", "VACUUM INTO '{folder}/out.db'", "ATTACH '{folder}/out.db' AS a", "PRAGMA user_version = 9",
    "UPDATE run SET ending = 'x'", "CREATE TABLE t (a)", "INSERT INTO meta VALUES ('a', 'b')", "SELECT load_extension('x')",
    "SELECT writefile('{folder}/out.db', 'x')",
)  # fmt: skip


@pytest.mark.parametrize("sql", WRITES)
async def test_serve_sql_writes_nothing(copy: Path, tmp_path: Path, sql: str) -> None:
    """SQL of people is read-only: refused with SQLite's words; no byte of the file changes and no file is made."""
    before, there = copy.read_bytes(), {p.name for p in tmp_path.iterdir()}
    async with view(copy) as v:
        status, text, _ = await v.ask(f"/sql?sql={quote(sql.format(folder=tmp_path))}")
    assert (status, "SQLite: " in text) == (400, True), text
    assert copy.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} - there <= {"crawl.db-wal", "crawl.db-shm"}


@pytest.mark.parametrize("sql", [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n ORDER BY i",
    "SELECT count(*) FROM links a, links b, links c, links d, links e",
    "SELECT instr(zeroblob(60000000), zeroblob(30000000) || x'01')"])  # fmt: skip
async def test_serve_sql_has_a_deadline(many: Path, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take for ever ends with 503 and a sentence, and the next page is there."""
    monkeypatch.setattr(app, "SECONDS", 0.3)
    async with view(many) as v:
        async with asyncio.timeout(3):
            status, text, _ = await v.ask(f"/sql?sql={quote(sql)}")
        assert (status, "took too long" in text) == (503, True)
        await v.get("/hosts")


async def test_serve_goes_on_while_sql_runs(many: Path) -> None:
    """Ten questions that take as long as they may hold up no other page: it is there within a second."""
    endless = quote("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n")
    async with view(many) as v:
        await v.get("/hosts")
        asked = [asyncio.create_task(v.ask(f"/sql?sql={endless}")) for _ in range(10)]
        await asyncio.sleep(0.1)  # they are under way
        async with asyncio.timeout(1):
            await v.get("/hosts")
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)


@pytest.mark.parametrize(("sql", "words"), [
    ("SELECT " + ", ".join(["randomblob(60000000)"] * 20), "memory"),
    (f"SELECT length({'||'.join(['hex(zeroblob(30000000))'] * 2)})", "too big"),
    ("PRAGMA hard_heap_limit = 100000", ""), ("PRAGMA locking_mode = EXCLUSIVE", "")])  # fmt: skip
async def test_serve_sql_takes_nothing_from_the_view(many: Path, sql: str, words: str) -> None:
    """What needs gigabytes is refused with words; what a PRAGMA changes is gone with the answer: the view stands as it was."""
    async with view(many) as v:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, text, _ = await v.ask(f"/sql?sql={quote(sql)}")
        assert words in text
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
        assert len(cells(await v.get("/pages"))) == 50


async def test_serve_sql_is_capped(many: Path) -> None:
    """A thousand rows are shown, and said, of endless ones too; a value of a gigabyte is refused."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    thousands = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2500) SELECT i FROM n"
    async with view(many) as v:
        html = await v.get("/sql", sql=thousands)
        assert len(cells(html, "#rows")) == 1000
        assert len(cells(await v.get("/sql", sql=endless), "#rows")) == 1000
        assert "first 1,000 rows" in html.css_first("#rows p").text()
        assert (await v.ask(f"/sql.csv?sql={quote(thousands)}"))[1].count("\n") == 2501
        status, text, _ = await v.ask(f"/sql?sql={quote('SELECT zeroblob(1000000000)')}")
        assert (status, "too big" in text) == (400, True)


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_serve_downloads_what_query_prints(known: tuple[Path, str], form: str) -> None:
    """The same rows as `crawler query --format`, formulas quoted too, under the question's name; an error is no half file."""
    file, _ = known
    async with view(file) as v:
        for name in ("broken-links", "hosts", "skipped"):
            status, text, headers = await v.ask(f"/sql.{form}?name={name}")
            assert (status, headers["Content-Disposition"]) == (200, f'attachment; filename="{name}.{form}"')
            assert text == sh("query", file, name, "--format", form).out
        _, text, headers = await v.ask(f"/sql.{form}?sql={quote('SELECT 1 AS a, char(61)||1 AS b')}")
        assert headers["Content-Disposition"] == f'attachment; filename="rows.{form}"'
        found = list(csv.DictReader(io.StringIO(text))) if form == "csv" else json.loads(text)
        assert found in ([{"a": "1", "b": "'=1"}], [{"a": 1, "b": "=1"}])
        status, text, headers = await v.ask(f"/sql.{form}?sql={quote('SELECT nowhere')}")
        assert (status, headers.get("Content-Disposition"), "no such column" in text) == (400, None, True)
