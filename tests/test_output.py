"""What the web says cannot draw on a terminal, name a file, or become SQL."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.api import run_async
from crawler.log import JsonFormatter, TextFormatter
from crawler.spec import CrawlSpec
from crawler.text import printable
from storage.model import LinkRow, Place, Settlement
from storage.sqlite import SqliteStore
from tests.conftest import Serve, long
from tests.crawls import ask
from tests.killing import environment
from tests.web import Answer, Site, Web, page

ROOT = Path(__file__).resolve().parent.parent
BAD = [*map(chr, (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))]
RAW = {*BAD} - {"\n", "\r"}  # a terminal's line discipline makes \r\n of \n
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202eevil\u2066\r\n<b>'\"=1+1"
OURS = re.compile(r"\x1b\[(?:\?25[lh]|[0-9]*[ABGJK]|2K|[0-9;]*m)")  # what rich's live view sends
TITLES = 10_000


def terminal(*arguments: object, env: dict[str, str] | None = None) -> str:
    """What `crawler` with these arguments draws on a terminal, stdout and stderr."""
    master, slave = pty.openpty()
    env = environment() | {"TERM": "xterm", "COLUMNS": "200"} | (env or {})
    process = subprocess.Popen([sys.executable, "-m", "crawler", *map(str, arguments)], stdin=slave, stdout=slave,
                               stderr=slave, env=env, close_fds=True)
    os.close(slave)
    drawn = bytearray()
    try:
        while piece := os.read(master, 1 << 16):
            drawn += piece
    except OSError:  # EIO: the last process on it has ended
        pass
    finally:
        os.close(master)
        process.wait(30)
    return drawn.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl with 10,000 hostile titles, headers and link texts; and its seed."""
    file = tmp_path_factory.mktemp("hostile") / "crawl.db"

    async def make() -> str:
        body = f"<title>{HOSTILE}</title><a href='/x?{HOSTILE}'>{HOSTILE}</a><a href='/gone'>{HOSTILE}</a>".encode()
        async with Web(Site({"/": Answer(body=body, headers=(("Content-Type", "text/html; charset=utf-8"),
                                                             ("Server", "\x1b[31m\x9b2J")))})) as web:
            await run_async(CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.5, parse_workers=0), file)
            return web.url()

    url = asyncio.run(make())
    with closing(sqlite3.connect(file)) as db:
        rows = [(BAD[n % len(BAD)] + HOSTILE + BAD[n * 7 % len(BAD)],) for n in range(TITLES)]
        db.executemany("""INSERT INTO fetch (url, run, at, outcome, status, elapsed_ms, attempt, wire_size, title)
          SELECT 1, 1, 1, 'page', 200, 1, 1, 1, ?""", rows)
        db.commit()
    return file, url


@pytest.mark.parametrize("command", [
    ("query", "{file}", "SELECT title, headers FROM fetch"), ("query", "{file}", "SELECT title FROM fetch", "--format", "csv"),
    ("query", "{file}", "SELECT title FROM fetch", "--format", "csv", "--raw"),
    ("query", "{file}", "SELECT title FROM fetch", "--format", "json"),
    ("query", "{file}", "SELECT title FROM fetch", "--format", "jsonl"),
    ("explain", "{file}", "{url}", "--json"), ("explain", "{file}", "{url}x?{esc}"), ("show", "{file}", "{url}"),
    ("show", "{file}", "{url}", "--headers"), ("status", "{file}"), ("query", "{file}", "SELECT {esc}"),
    ("crawl", "http://127.0.0.1:1/{esc}", "-o", "{file}", "--proxy", "{esc}"), ("resume", "{file}", "--spec{esc}"),
    ("fetch", "http://127.0.0.1:1/{esc}", "--json"), ("purge", "{file}", "--host", "{esc}", "--yes")],
    ids=lambda c: " ".join(p for p in c if "{" not in p)[:40])
def test_o1_ten_thousand_hostile_titles_on_a_terminal(hostile: tuple[Path, str], command: tuple[str, ...]) -> None:
    """On a pty no control character, C1, or bidi control comes through, in any format, in data and in errors."""
    file, url = hostile
    drawn = terminal(*(part.format(file=file, url=url, esc=HOSTILE.replace("\r\n", "")) for part in command))
    assert not RAW & {*drawn.replace("\t", "")}
    assert drawn
    assert "Traceback" not in drawn
    if command[0] == "query" and "fetch" in command[2]:
        assert drawn.count("evil") >= TITLES


@pytest.mark.parametrize(("columns", "shown"), [(21, ["one  two", "───  ────────────────", "  1  some words"]),
                                                (20, ["one  1", "two  some words", "", "one  2", "two  four other words"])])
def test_a_table_that_is_too_wide_has_a_line_for_each_value(hostile: tuple[Path, str], columns: int, shown: list[str]) -> None:
    """On a terminal rows are not wrapped: what does not fit beside one another is shown below one another."""
    sql = "SELECT column1 AS one, column2 AS two FROM (VALUES (1, 'some words'), (2, 'four other words'))"
    drawn = terminal("query", hostile[0], sql, env={"COLUMNS": str(columns)})
    assert drawn.replace("\r", "").splitlines()[:len(shown)] == shown


async def test_o1_the_live_view_draws_only_our_own_sequences(serve: Serve, tmp_path: Path) -> None:
    """A crawl of hostile titles, URLs, headers, robots.txt and reasons, with the live view on a pty: nothing of them draws."""
    evil = Answer(body=f"<title>{HOSTILE}</title>".encode() + b"".join(b"<a href='/%d?\x1b[31m'>x</a>" % n for n in range(30)),
                  headers=(("Content-Type", "text/html"), ("Location", "http://\x1b[31m/")))
    site = Site({"/": evil, "/robots.txt": Answer(body=b"User-agent: *\nDisallow: /\x1b[2J\x9b\n")})
    site.update({f"/{n}?%1B[31m": Answer(302, headers=(("Location", "\x1b[2J:"),)) for n in range(30)})
    web = await serve(site)
    drawn = await asyncio.to_thread(terminal, "crawl", web.url(), "-o", tmp_path / "crawl.db", "--delay", "0.05",
                                    "--parse-workers", "0", "--include", HOSTILE.replace("[", "").replace("\r\n", ""))
    assert "pages" in drawn
    assert not RAW & {*OURS.sub("", drawn)}


@pytest.mark.parametrize("tty", [True, False])
def test_o1_json_is_the_same_value_on_a_terminal(tty: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escaped on a terminal, UTF-8 elsewhere; read back it is what it was."""
    from crawler.cli.output import as_json

    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    text = as_json({"title": "".join(BAD) + "ü"})
    assert json.loads(text) == {"title": "".join(BAD) + "ü"}
    assert ("ü" in text) != tty
    assert not tty or not RAW & {*text}


@given(st.text())
def test_o1_printable_is_printable(text: str) -> None:
    """Whatever the text: one line, no control character; text without them is left alone."""
    shown = printable(text)
    assert not {*BAD} & {*shown}
    assert shown == text or {*BAD} & {*text}


@given(st.text(), st.sampled_from([TextFormatter(), JsonFormatter()]))
def test_o6_a_record_is_one_line(text: str, formatter: logging.Formatter) -> None:
    """Whatever is logged, in either format: one line, no control character."""
    record = logging.LogRecord("crawler", logging.INFO, "", 0, "fetch %s", (text,), None)
    record.fields = {"url": text}
    line = formatter.format(record)
    assert len(line.splitlines()) == 1 or "\x1c" not in line
    assert not {*BAD[:32]} & {*line}


# --- SQL


EXECUTE = {"execute", "executemany", "executescript", "execute_fetchall", "query", "one", "_rows"}
CONSTANT = {("migrate.py", "_create"), ("migrate.py", "_upgrade")}  # join schema.sql and numbers of our own


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, function, call) of every call in the two packages."""
    for path in sorted([*ROOT.glob("crawler/**/*.py"), *ROOT.glob("storage/**/*.py")]):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from ((path.name, function.name, n) for n in ast.walk(function) if isinstance(n, ast.Call))


def made(node: ast.expr) -> bool:
    """Whether a text is put together where it stands: an f-string with values, +, %, .format, .replace, .join."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join", "replace")
    return isinstance(node, ast.BinOp) and not (isinstance(node.op, ast.Add) and not made(node.left) and not made(node.right)
                                                and isinstance(node.left, ast.Name | ast.Constant)
                                                and isinstance(node.right, ast.Name | ast.Constant))


def test_o4_no_statement_is_put_together() -> None:
    """No f-string, %, + or format makes an SQL statement; values are always parameters. Two places join constants only."""
    found = {(file, function) for file, function, call in calls()
             if isinstance(call.func, ast.Attribute) and call.func.attr in EXECUTE and call.args and made(call.args[0])}
    assert found <= CONSTANT


@pytest.mark.parametrize("text", ["'); DROP TABLE url; --", "?1", ":now", "$a", "\\'", '"', "{0}", "%s"])
async def test_o4_text_is_a_value_whatever_it_says(crawl_file: Path, text: str) -> None:
    """A URL, link text, reason or host name that looks like SQL is stored as it stands, and nothing else happens."""
    target = Place("http://h.test", f"h{text}", f"/{text}")
    seed = Place("http://h.test", "h.test", "/")
    async with SqliteStore(crawl_file) as store:
        await store.begin(now=1, version="1", spec={}, seeds=[seed], max_depth=None)
        (host,) = await store.hosts(9, horizon=10)
        (row,) = await store.due([host.id], 9, horizon=10)
        link = LinkRow(target, "a", text, text, 1, False, "scope", text)
        await store.commit([Settlement(seed, row.id, 0, "failure", text, text, links=(link,))], now=2)
    assert ask(crawl_file, "SELECT rel, text FROM links") == [(text, text)]
    assert ask(crawl_file, "SELECT count(*) FROM url") == [(2,)]


# --- file names


def test_o5_few_places_write_files_and_no_name_is_the_webs(tmp_path: Path) -> None:
    """Whatever opens a file to write stands in one of these functions; each takes the operator's path, or a constant."""
    writers = {(file, function) for file, function, call in calls() if writes(call)}
    assert writers <= {
        ("newfile.py", "new_bytes"), ("log.py", "log_to"), ("lock.py", "acquire"), ("migrate.py", "create_file"),
        ("errors.py", "_drop_stdout"), ("__main__.py", "main"), ("worker.py", "_confine"),
        ("worker.py", "_goes_first"), ("index.py", "wipe"), ("newfile.py", "new_folder"),
        ("copy.py", "_new"),  # the latter: names that crawler/mirror/names.py makes safe
        ("copy.py", "copy"), ("copy.py", "write"),  # what `_new` has opened
        ("wacz.py", "_part"),  # of the ZIP that is being written
    }, writers


def writes(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("write_text", "write_bytes", "mkdir", "makedirs", "symlink", "rename", "mkstemp", "copyfile", "copy2"):
        return True
    if name != "open":
        return False
    text = ast.unparse(call)
    return "O_WRONLY" in text or "O_RDWR" in text or "O_CREAT" in text or bool(re.search(r"""['"][rbt]*[wax+]""", text))


async def test_o5_a_server_cannot_name_a_file(serve: Serve, tmp_path: Path) -> None:
    """Content-Disposition, paths with ../ in every spelling, and a body served as an archive: the crawl's files are the
    crawl's, and nothing else is there."""
    name = ("Content-Disposition", 'attachment; filename="../../evil.sh"')
    links = ["/..%2f..%2fevil", "/%2e%2e/evil", "/a/../../evil", "/evil%00.db", "/C:%5Cevil", "/crawl.db", "/.bashrc"]
    web = await serve(lambda request: Answer(body=page(*links).encode(), headers=(("Content-Type", "text/html"), name)))
    (tmp_path / "in").mkdir()
    spec = CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.5, parse_workers=0, robots="ignore", max_pages=long(20, 200))
    await run_async(spec, tmp_path / "in" / "crawl.db")
    assert len(web.requests) > 5
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {f"in/crawl.db{end}" for end in ("", "-wal", "-shm", ".lock")}
