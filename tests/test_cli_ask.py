"""The commands that read a crawl file: query, show, explain, status, export (CONTRACT §1)."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import BINARY, RAW, sh
from tests.killing import environment


@pytest.mark.parametrize(
    "command",
    [
        ("query", "{file}", "SELECT url, title FROM pages"),
        ("query", "{file}", "SELECT * FROM links"),
        ("explain", "{file}", "{url}"),
        ("explain", "{file}", "{url}target?q=%1b"),
        ("explain", "{file}", "{url}never\x1b[31m"),
        ("explain", "{file}", "\x1b[31m:"),
        ("status", "{file}"),
        ("show", "{file}", "{url}", "--headers"),
        ("show", "{file}", "{url}\x1b[31m"),
    ],
    ids=lambda c: " ".join(c)[:40].encode("unicode_escape").decode(),
)
def test_o1_nothing_hostile_reaches_the_terminal(stored: tuple[Path, str], command: tuple[str, ...]) -> None:
    """No control character but newline, no C1, no bidi control in what is printed for people, on either stream."""
    file, url = stored
    done = sh(*(part.format(file=file, url=url) for part in command))
    assert not RAW & set(done.out + done.err)
    assert done.code in (0, 1, 2)
    assert "Traceback" not in done.err


def test_query_writes_infinity_as_null(stored: tuple[Path, str]) -> None:
    """JSON has no Infinity: programs get null."""
    assert sh("query", stored[0], "SELECT 9e999 AS a, -9e999 AS b", "--format", "jsonl").out == '{"a": null, "b": null}\n'


def test_query_formats(stored: tuple[Path, str]) -> None:
    """table, json, jsonl and csv hold the same rows; `data` is nested JSON; `-` reads the SQL from stdin."""
    file, url = stored
    sql = "SELECT url, status, data FROM pages WHERE title = 'Target'"
    assert json.loads(sh("query", file, sql, "--format", "json").out) == [
        {"url": f"{url}target", "status": 200, "data": None}
    ]
    assert json.loads(sh("query", file, "-", "--format", "jsonl", stdin=sql).out) == {
        "url": f"{url}target",
        "status": 200,
        "data": None,
    }
    assert list(csv.reader(io.StringIO(sh("query", file, sql, "--format", "csv").out))) == [
        ["url", "status", "data"],
        [f"{url}target", "200", ""],
    ]
    head, line, row = sh("query", file, sql).out.splitlines()
    assert (head.split(), set(line), row.split()) == (["url", "status", "data"], {"─", " "}, [f"{url}target", "200"])
    assert sh("query", file, "SELECT 1 WHERE 0", "--format", "json").out == "[]\n"


def test_o2_csv_cells_cannot_be_formulas(stored: tuple[Path, str]) -> None:
    """What a spreadsheet would take for a formula gets a leading quote, unless --raw; numbers stay numbers."""
    file, _ = stored
    sql = "SELECT title, -1 FROM pages WHERE title LIKE '%1' OR title LIKE '=%' ORDER BY title"
    assert [r[0][:2] for r in csv.reader(io.StringIO(sh("query", file, sql, "--format", "csv").out))][1:] == [
        "'+",
        "'=",
    ]
    assert [r[0][:1] for r in csv.reader(io.StringIO(sh("query", file, sql, "--format", "csv", "--raw").out))][1:] == [
        "+",
        "=",
    ]
    assert sh("query", file, "SELECT -1", "--format", "csv").out == "-1\n-1\n"
    for start in "=+-@\t\n＝＋－＠":
        cells = list(csv.reader(io.StringIO(sh("query", file, f"SELECT '{start}1' AS c", "--format", "csv").out, newline="")))
        assert cells == [["c"], [f"'{start}1"]]


@pytest.mark.parametrize("sql", ["SELEC", "SELECT nothing FROM pages", "DELETE FROM url", "DROP VIEW pages", ""])
def test_query_refuses_bad_and_writing_sql(stored: tuple[Path, str], sql: str) -> None:
    """Exit 2 with a sentence (an empty statement gives no rows); the file is as it was."""
    before = stored[0].read_bytes()
    done = sh("query", stored[0], sql)
    assert done.code == (2 if sql else 0)
    assert "Traceback" not in done.err
    assert stored[0].read_bytes() == before


def test_show_gives_the_body_byte_for_byte(stored: tuple[Path, str]) -> None:
    """The stored body on stdout as it was decoded; --headers the kept headers, never a cookie; nothing stored: exit 1."""
    file, url = stored
    raw = subprocess.run(
        [sys.executable, "-m", "crawler", "show", str(file), f"{url}bin#part"],
        capture_output=True,
        env=environment(),
        check=True,
    )
    assert raw.stdout == BINARY
    headers = sh("show", file, url, "--headers").out
    assert "Content-Type: text/html; charset=utf-8\n" in headers
    assert "Set-Cookie" not in headers
    assert [sh("show", file, url + path).code for path in ("never", "private/x")] == [1, 1]
    assert sh("show", file, "not a url").code == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "bin",
            [
                "fetched: it is in pages",
                "belongs to the crawl",
                "allowed",
                "depth      1",
                "seed: ",
                "200",
                "nothing: it is settled",
            ],
        ),
        ("moved", ["redirects to {url}target", "301", "settled"]),
        ("private/x", ["skipped: robots", "refused, by line 2", "Disallow: /private/", "settled"]),
        ("http://out.test/", ["skipped: scope", "refused: scope", "has not been fetched"]),
        ("later", ["failed: http_500", "500", "retry number 1 at 20"]),
        ("never", ["never met", "would be fetched if it were met"]),
        ("http://else.test/", ["never met", "would be skipped"]),
        ("ftp://x/", ["would never be fetched", "scheme"]),
        ("./target#x", ["canonical form of", "fetched"]),
    ],
)
def test_explain(stored: tuple[Path, str], path: str, said: list[str]) -> None:
    """Verdict, scope, robots rule and line, hop path, depth, attempts and what happens next, for each kind of URL; the
    same as JSON."""
    file, url = stored
    target = path if ":" in path else url + path
    out = sh("explain", file, target).out
    assert [part for part in said if part.format(url=url) not in out] == []
    found = json.loads(sh("explain", file, target, "--json").out)
    assert {"asked", "url", "verdict", "scope", "robots", "depth", "found", "attempts", "next"} <= found.keys()


def test_status(stored: tuple[Path, str]) -> None:
    """The keys of CONTRACT §1 at least, for programs; a few lines for people."""
    found = json.loads(sh("status", stored[0], "--json").out)
    assert {
        "state",
        "pages",
        "failures",
        "redirects",
        "skipped",
        "queued",
        "deferred",
        "hosts",
        "requests",
        "connections",
        "reused",
        "bytes",
        "rate",
        "bound_by",
        "eta",
    } <= found.keys()
    assert [found[k] for k in ("state", "pages", "failures", "redirects", "skipped", "queued", "deferred")][:6] == [
        "deferred",
        4,
        2,
        1,
        2,
        1,
    ]
    assert "deferred" in sh("status", stored[0]).out


@pytest.mark.parametrize("ext", ["jsonl", "csv", "json"])
def test_export_is_whole_or_not_there(stored: tuple[Path, str], tmp_path: Path, ext: str) -> None:
    """The file appears with all rows, is not overwritten without --force, and bad SQL leaves neither it nor a part."""
    target = tmp_path / f"out.{ext}"
    assert sh("export", stored[0], target, "--sql", "SELECT nothing").code == 2
    assert list(tmp_path.iterdir()) == []
    assert sh("export", stored[0], target).code == 0
    text = target.read_text("utf-8")
    rows = {
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "csv": lambda: list(csv.DictReader(io.StringIO(text))),
        "json": lambda: json.loads(text),
    }[ext]()
    assert sorted(r["url"] for r in rows) == sorted(stored[1] + p for p in ("", "bin", "target", "target?q=%1b"))
    target.write_text("mine")
    assert sh("export", stored[0], target).code == 2
    assert target.read_text() == "mine"
    assert sh("export", stored[0], target, "--force").code == 0
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_export_names_the_formats_it_knows(stored: tuple[Path, str], tmp_path: Path) -> None:
    """An unknown extension, and a folder that does not exist: exit 2 and a sentence."""
    for target in (tmp_path / "out.xls", tmp_path / "no" / "out.csv"):
        done = sh("export", stored[0], target)
        assert (done.code, "Traceback" in done.err) == (2, False)
