"""The command line as people and scripts meet it: processes, exit codes, streams (CONTRACT §1)."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crawler.api import run_async
from crawler.cli.main import COMMANDS
from crawler.cli.main import cli as entry
from crawler.spec import CrawlSpec
from tests.conftest import Serve
from tests.killing import environment
from tests.web import Answer, Request, Site, Web, page, redirect

QUICK = ("--delay", "0", "--parse-workers", "0", "--progress", "none")
EVIL = "=cmd()\x1b]0;pwned\x07\x1b[31m\x9b2J\u202eevil"
BINARY = bytes(range(256)) + b"\r\n\x1b[2J"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def sh(*arguments: object, stdin: str = "") -> Done:
    """`crawler` with these arguments, within this process: for what only reads, and for what is refused."""
    done = CliRunner().invoke(entry, [str(a) for a in arguments], input=stdin, prog_name="crawler")
    return Done(done.exit_code, done.stdout, done.stderr)


async def cli(*arguments: object, stdin: str = "") -> Done:
    """`crawler` as a process, to its end, while a web of this process answers."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "crawler", *map(str, arguments)],
        input=stdin.encode(),
        capture_output=True,
        timeout=30,
        env=environment(),
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@asynccontextmanager
async def running(*arguments: object, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """`crawler` with these arguments, going on; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crawler",
        *map(str, arguments),
        env=environment(),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(true: Callable[[], Any]) -> None:
    """Until it is so; 10 s at most."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


class Hanging:
    """A page that answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.go = 0, asyncio.Event()

    async def __call__(self, _: Request) -> str:
        self.asked += 1
        await self.go.wait()
        return page("/late")


# --- one stored crawl for everything that reads


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl with one of everything, hostile title and all; and its seed."""
    file = tmp_path_factory.mktemp("stored") / "crawl.db"

    async def make() -> str:
        site = Site(
            {
                "/": Answer(
                    body=(
                        page("/moved", "/private/x", "http://out.test/", "/later", "/gone", "/bin", title=EVIL)
                        + f'<a href="/target?q=%1b">{EVIL}</a>'
                    ).encode(),
                    headers=(
                        ("Content-Type", "text/html; charset=utf-8"),
                        ("Server", "\x1b[31mevil"),
                        ("Set-Cookie", "secret=1"),
                    ),
                ),
                "/moved": redirect("/target"),
                "/target": page(title="Target"),
                "/target?q=%1b": page(title="+1"),
                "/later": 500,
                "/bin": Answer(body=BINARY, headers=(("Content-Type", "application/octet-stream"),)),
                "/private/x": page(),
            },
            robots="User-agent: *\nDisallow: /private/\n",
        )
        async with Web(site) as web:
            await run_async(CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.5, parse_workers=0), file)
            return web.url()

    return file, asyncio.run(make())


RAW = {chr(n) for n in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


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


def test_an_exclude_file_is_stored_absolute() -> None:
    """A resume from another folder finds it."""
    assert CrawlSpec(exclude_file="bars.txt").to_json()["exclude_file"] == str(Path("bars.txt").absolute())


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


@pytest.mark.parametrize(
    "command", ["status", "query", "show", "explain", "export", "report", "resume", "add", "search", "index"]
)
def test_a_file_that_is_no_crawl_is_exit_2(tmp_path: Path, command: str) -> None:
    """Missing, no database, or empty: exit 2, the path in the sentence, nothing changed or made."""
    more = {
        "query": ["SELECT 1"],
        "show": ["http://x/"],
        "explain": ["http://x/"],
        "export": [tmp_path / "o.csv"],
        "report": ["-o", tmp_path / "o.html"],
        "add": ["http://127.0.0.1/"],
        "search": ["word"],
    }
    letter = tmp_path / "letter.db"
    letter.write_text("dear mother")
    for file in (tmp_path / "missing.db", letter):
        done = sh(command, file, *more.get(command, []))
        assert (done.code, str(file) in done.err, "Traceback" in done.err) == (2, True, False)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.db"]
    assert letter.read_text() == "dear mother"


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str) -> None:
    """--help is exit 0, on stdout, and says what the command does."""
    done = sh(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: " in done.out


def test_help_of_crawl_names_defaults_and_units() -> None:
    """Each option of CONTRACT §1 with its default and unit."""
    out = " ".join(sh("crawl", "--help").out.split())
    named = [
        "contact",
        "user-agent",
        "scope",
        "include",
        "exclude",
        "max-depth",
        "max-pages",
        "max-time",
        "delay",
        "per-host",
        "per-ip",
        "ip-delay",
        "connections",
        "workers",
        "robots",
        "patience",
        "min-free",
        "timeout",
        "max-body",
        "max-rate",
        "allow-private",
        "parse-workers",
        "header",
        "proxy",
        "progress",
        "log",
        "log-format",
        "spec",
    ]
    assert [n for n in named if f"--{n} " not in out] == []
    assert [
        d
        for d in (
            "default 1.0, s",
            "default 100, connections",
            "default host",
            "default 60.0, s",
            "default obey",
            "default: auto",
        )
        if d not in out
    ] == []


# --- exit codes of crawl


async def test_exit_0_complete_then_nothing_to_do(serve: Serve, crawl_file: Path) -> None:
    """A finished crawl is 0 with a summary on stderr; the same command again says so, is 0, and sends nothing."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--json")
    assert (done.code, json.loads(done.out)["state"]) == (0, "complete")
    assert "2 pages" in done.err
    assert "reused" in done.err
    sent = len(web.requests)
    again = await cli("crawl", web.url(), "-o", crawl_file, *QUICK)
    assert (again.code, again.out, len(web.requests)) == (0, "", sent)
    assert "nothing was sent" in again.err
    for command in (["crawl", web.url(), "-o"], ["resume"]):
        found = json.loads(sh(*command, crawl_file, *QUICK, "--json").out)
        first = json.loads(done.out)
        assert found.keys() == first.keys()
        assert {k: found[k] for k in ("state", "counts", "requests", "file")} == {
            "state": "complete", "counts": first["counts"], "requests": 0, "file": str(crawl_file)}


async def test_exit_0_at_a_limit_that_was_asked_for(serve: Serve, crawl_file: Path) -> None:
    """--max-pages reached with URLs left in the queue."""
    web = await serve(Site({"/": page("/a", "/b")}))
    done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--max-pages", 1)
    assert done.code == 0
    assert "limit" in done.err


async def test_exit_1_when_no_seed_answers(serve: Serve, crawl_file: Path) -> None:
    """Nobody listens at the seed; and a URL of `fetch` that fails."""
    web = await serve(Site({"/": page()}))
    dead = f"http://127.0.1.9:{web.port}/"
    done = await cli("crawl", dead, "-o", crawl_file, *QUICK, "--patience", 0)
    assert done.code == 1
    assert "no seed answered" in done.err
    both = await cli("fetch", web.url(), dead, web.url("/gone"))
    assert (both.code, len(both.out.splitlines())) == (1, 3)
    assert (await cli("fetch", web.url())).code == 0


BAD = [
    (["crawl"], "no seed"),
    (["crawl", "ftp://127.0.0.1/"], "ftp://127.0.0.1/"),
    (["crawl", "http://"], "http://"),
    (["crawl", "example.org"], "https://example.org/"),
    (["crawl", "no-such-file.txt"], "no-such-file.txt"),
    (["crawl", "http://127.0.0.1/", "--delay", "-1"], "delay"),
    (["crawl", "http://127.0.0.1/", "--delay", "soon"], "soon"),
    (["crawl", "http://127.0.0.1/", "--scope", "world"], "world"),
    (["crawl", "http://127.0.0.1/", "--include", "("], "include"),
    (["crawl", "http://127.0.0.1/", "--wrong", "1"], "--wrong"),
    (["crawl", "http://127.0.0.1/", "--header", "no colon"], "header"),
    (["crawl", "http://127.0.0.1/", "--spec", "missing.toml"], "missing.toml"),
    (["crawl", "http://127.0.0.1/", "--extractor", "no.such:thing"], "no.such"),
    (["crawl", "http://127.0.0.1/", "--log", "/no/such/l.log"], "log /no/such/l.log: No such file"),
    (["crawl", "http://127.0.0.1/", "--log", "/tmp"], "log /tmp: Is a directory"),
    (["crawl", "http://127.0.0.1/", "--robots", "ignore", "--sitemaps", "only"], "sitemaps: "),
    (["wrong"], "wrong"),
    pytest.param(
        ["crawl", "http://127.0.0.1/", "--allow-private", "nonsense"],
        "nonsense",
    ),
    pytest.param(
        ["crawl", "http://127.0.0.1/", "--proxy", "nonsense"],
        "proxy",
    ),
    (["crawl", "https://example.org/"], "contact"),
    (["crawl", "http://192.168.1.1/"], "contact"),
    (["crawl", "https://127.0.0.1.example.org/"], "contact"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda v: " ".join(v)[:50] if isinstance(v, list) else None)
def test_exit_2_bad_usage_names_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Exit 2, a sentence that names the culprit, no traceback, no crawl in the file; a missing contact too (test_l5)."""
    done = sh(
        *arguments,
        *(["-o", tmp_path / "crawl.db", "--max-time", "2", "--patience", "0"] if arguments[0] == "crawl" else []),
    )
    assert (done.code, said in done.err, "Traceback" in done.err) == (2, True, False), done.err


async def test_l5_without_contact_nothing_is_sent(serve: Serve, crawl_file: Path) -> None:
    """One seed that is not loopback is enough to ask for a contact: 0 requests, also to the others."""
    web = await serve(Site({"/": page()}))
    done = await cli("crawl", web.url(), "http://192.0.2.1/", "-o", crawl_file, *QUICK)
    assert (done.code, web.requests, crawl_file.exists()) == (2, [], False)
    assert "--contact" in done.err


async def test_l5_the_contact_is_sent(serve: Serve, crawl_file: Path) -> None:
    """The user agent is poolcrawl/VERSION (+contact), and From where it is a mail address."""
    web = await serve(Site({"/": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--contact", "me@example.org")
    assert {(r.headers["user-agent"], r.headers.get("from")) for r in web.requests} == {
        ("poolcrawl/0.1.0 (+me@example.org)", "me@example.org")
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dealy = 2", "did you mean 'delay'"),
        ("delay = 'fast'", "delay"),
        ("delay = ", "spec.toml"),
        ("log = 5", "log: must be the name of a file, not 5"),
        ("log-format = 'xml'", "log-format: must be one of text, json"),
        ("progress = 'foo'", "progress: must be one of auto, plain, none"),
        ("progress = ['auto']", "progress: must be one of"),
        ("seed = ['http://127.0.0.1/']", "did you mean 'seeds'"),
        pytest.param(
            "seeds = 7",
            "seeds",
        ),
    ],
)
def test_toml_mistakes_are_named(tmp_path: Path, line: str, said: str) -> None:
    """An unknown key with its near miss, a wrong type, bad TOML: exit 2."""
    spec = tmp_path / "spec.toml"
    spec.write_text(line + "\n")
    done = sh(
        "crawl", *(["http://127.0.0.1/"] if "seed" not in line else []), "--spec", spec, "-o", tmp_path / "crawl.db"
    )
    assert (done.code, said in done.err) == (2, True)


async def test_toml_and_command_line_and_seed_file(serve: Serve, tmp_path: Path) -> None:
    """The command line wins over the TOML; seeds may come from a file with comments, or from stdin."""
    web = await serve(Site({"/": page("/a"), "/a": page("/b"), "/b": page()}))
    (tmp_path / "spec.toml").write_text("max-depth = 0\ndelay = 0\nparse_workers = 0\n")
    (tmp_path / "seeds.txt").write_text(f"# mine\n\n{web.url()}  # the first\n")
    done = await cli(
        "crawl", tmp_path / "seeds.txt", "--spec", tmp_path / "spec.toml", "--max-depth", 1, "-o", tmp_path / "a.db"
    )
    assert (done.code, [r.path for r in web.requests]) == (0, ["/robots.txt", "/", "/a"])
    await cli("crawl", "-", "--spec", tmp_path / "spec.toml", "-o", tmp_path / "b.db", stdin=web.url("/b"))
    assert web.requests[-1].path == "/b"


@pytest.mark.parametrize(
    "answers",
    [{"/": Answer(503, headers=(("Retry-After", "900"),))}, {"/": page("/x"), "/x": 429}],
    ids=["seed", "page"],
)
async def test_exit_3_deferred(serve: Serve, crawl_file: Path, answers: dict[str, Any]) -> None:
    """Rows due beyond the patience: 3, and the summary says how many and when."""
    web = await serve(Site(answers))
    done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--patience", 1)
    assert done.code == 3
    assert "deferred: 1 URLs" in done.err


async def test_r3_exit_when_robots_are_unreachable(serve: Serve, crawl_file: Path) -> None:
    """A server that answers 503 for robots.txt is deferred (3), not dead (1): 0 page requests."""
    web = await serve(Site({"/": page(), "/robots.txt": 503}))
    done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--patience", 1)
    assert [r.path for r in web.requests] == ["/robots.txt"]
    assert done.code == 3
    assert "robots.txt is unreachable" in done.err


async def test_an_empty_file_is_a_crawl_that_has_not_begun(serve: Serve, crawl_file: Path) -> None:
    """A process killed between making the file and its schema leaves it empty: the same command goes on."""
    crawl_file.touch()
    web = await serve(Site({"/": page()}))
    assert (await cli("crawl", web.url(), "-o", crawl_file, *QUICK)).code == 0


async def test_d11_a_read_only_folder_is_exit_2(serve: Serve, read_only: Path) -> None:
    """Path and reason, 0 requests."""
    web = await serve(Site({"/": page()}))
    done = await cli("crawl", web.url(), "-o", read_only / "crawl.db", *QUICK)
    assert (done.code, web.requests) == (2, [])
    assert "Permission denied" in done.err


async def test_d8_a_second_crawler_is_refused_at_once(serve: Serve, crawl_file: Path) -> None:
    """Exit 75 within a second of starting, naming the other's PID, 0 requests; reading commands work meanwhile."""
    hanging = Hanging()
    web = await serve(Site({"/": hanging}))
    async with running("crawl", web.url(), "-o", crawl_file, *QUICK) as first:
        await until(lambda: hanging.asked)
        sent, started = len(web.requests), time.monotonic()
        for command in (
            ["crawl", web.url(), "-o", crawl_file],
            ["resume", crawl_file],
            ["add", crawl_file, web.url("/b")],
        ):
            done = await cli(*command)
            assert (done.code, str(first.pid) in done.err, len(web.requests)) == (75, True, sent)
        assert time.monotonic() - started < 3 * 2
        found = json.loads((await cli("status", crawl_file, "--json")).out)
        assert (found["state"], found["pid"], found["queued"]) == ("running", first.pid, 1)
        hanging.go.set()


# --- stopping


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_d5_d6_the_first_signal_lets_what_is_in_flight_end(
    serve: Serve, crawl_file: Path, number: int, code: int
) -> None:
    """No new request after it, what is in flight is stored, exit 130 or 143 as soon as that is done; resume goes on."""
    hanging = Hanging()
    web = await serve(Site({"/": hanging, "/late": page()}))
    async with running("crawl", web.url(), "-o", crawl_file, *QUICK) as process:
        await until(lambda: hanging.asked)
        process.send_signal(number)
        assert b"stopping" in await process.stderr.readline()  # type: ignore[union-attr]
        hanging.go.set()
        assert await asyncio.wait_for(process.wait(), 4) == code
    assert [r.path for r in web.requests] == ["/robots.txt", "/"]
    with closing(sqlite3.connect(crawl_file)) as db:
        assert db.execute(
            "SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM queue), ending FROM runs"
        ).fetchall() == [(1, 1, "interrupted")]
    assert (await cli("resume", crawl_file)).code == 0
    assert [r.path for r in web.requests] == ["/robots.txt", "/", "/late"]


async def test_d5_the_second_signal_ends_within_a_second(serve: Serve, crawl_file: Path) -> None:
    """A server that never answers: the first Ctrl-C waits for it, the second does not; what was committed is there."""
    hanging = Hanging()
    web = await serve(Site({"/": page("/hang"), "/hang": hanging}))
    async with running("crawl", web.url(), "-o", crawl_file, *QUICK) as process:
        await until(lambda: hanging.asked)
        process.send_signal(signal.SIGINT)
        assert b"stopping" in await process.stderr.readline()  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.5)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 1.0) == 130
    assert (
        await cli("query", crawl_file, "SELECT url FROM pages UNION SELECT url FROM queue", "--format", "jsonl")
    ).out.count("\n") == 2


# --- streams


@pytest.mark.parametrize(
    "streams",
    [
        *[pytest.param(s) for s in (">&-", "2>&-", ">&- 2>&-")],
        "2>&1 | true",
        "--json | true",
        pytest.param(
            ">/dev/full 2>&1",
        ),
    ],
)
async def test_x6_lost_streams_do_not_end_a_crawl(serve: Serve, crawl_file: Path, streams: str) -> None:
    """Closed, full, or read by nobody any more: the crawl goes on to its end, without a traceback."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    line = f"'{sys.executable}' -m crawler crawl {web.url()} -o {crawl_file} {' '.join(QUICK)} {streams}"
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    err = (await asyncio.wait_for(shell.communicate(), 20))[1]
    assert b"Traceback" not in err
    assert shell.returncode == 0
    with closing(sqlite3.connect(crawl_file)) as db:
        assert db.execute("SELECT count(*), (SELECT ending FROM runs) FROM pages").fetchall() == [(2, "complete")]


async def test_d9_a_log_on_a_full_disk_is_said_once(serve: Serve, crawl_file: Path) -> None:
    """--log /dev/full: one sentence, no traceback, and the exit code of the crawl."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--log", "/dev/full")
    assert (done.code, done.err.count("No space left"), "Traceback" in done.err) == (0, 1, False), done.err


@pytest.mark.parametrize(
    ("command", "streams", "code"),
    [
        ("query {file} 'SELECT 1'", ">&-", 0),
        ("query {file} 'SELECT wrong'", "2>&-", 2),
        ("query {file} 'SELECT 1' --format jsonl", ">/dev/full", 74),
        ("query {file} 'SELECT hex(zeroblob(99999))' --format csv", ">/dev/full", 74),
        ("explain {file} {url}", ">/dev/full", 74),
        ("crawl {url} -o {file} --json --delay 0 --patience 0 --max-time 1", ">/dev/full", 74),
    ],
)
def test_x6_lost_streams_are_no_bug(
    stored: tuple[Path, str], tmp_path: Path, command: str, streams: str, code: int
) -> None:
    """What was asked for cannot be printed: a sentence and 74; nobody listens: as if somebody did."""
    file = tmp_path / "crawl.db"
    file.write_bytes(stored[0].read_bytes())
    line = f"'{sys.executable}' -m crawler {command.format(file=file, url=stored[1])} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=environment(), timeout=20, check=False)
    assert (done.returncode, b"bug" in done.stderr, b"Traceback" in done.stderr) == (code, False, False), done.stderr
    assert (b"stdout could not be written: No space left" in done.stderr) == (code == 74)


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_x6_head_ends_a_query_quietly(stored: tuple[Path, str], form: str) -> None:
    """`crawler query … | head -1` prints one line, says nothing, and is no failure."""
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000) SELECT i FROM n"
    line = f"set -o pipefail; '{sys.executable}' -m crawler query '{stored[0]}' '{sql}' --format {form} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=environment(), timeout=20, check=False)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)


async def test_progress_and_summary_never_mix_with_data(serve: Serve, crawl_file: Path) -> None:
    """Without --json nothing is on stdout; where stderr is no terminal there is no escape sequence."""
    web = await serve(Site({"/": page(title=EVIL)}))
    done = await cli("crawl", web.url(), "-o", crawl_file, "--delay", 0, "--parse-workers", 0)
    assert done.out == ""
    assert not RAW & set(done.err)


async def test_o6_the_log_has_one_line_a_record(serve: Serve, tmp_path: Path) -> None:
    """--log writes a line for each visit, text or JSON, readable by its owner only, with secrets in queries hidden (V1)."""
    web = await serve(Site({"/": page("/a?token=s3cret&x=1"), "/a?token=s3cret&x=1": page()}))
    for form in ("text", "json"):
        log = tmp_path / f"{form}.log"
        await cli("crawl", web.url(), "-o", tmp_path / f"{form}.db", *QUICK, "--log", log, "--log-format", form)
        lines = log.read_text("utf-8").splitlines()
        assert sum("127.0.1.1" in line for line in lines) == 3
        assert "s3cret" not in log.read_text("utf-8")
        assert log.stat().st_mode & 0o777 == 0o600
        assert form == "text" or all(json.loads(line)["at"] for line in lines)


# --- resume and add


async def test_resume_overrides_are_named_and_recorded(serve: Serve, crawl_file: Path) -> None:
    """An option given to `resume` is named on stderr, recorded with the run, and holds for the next `resume` too."""
    web = await serve(Site({"/": page("/a"), "/a": page("/b"), "/b": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--max-depth", 0)
    done = await cli("resume", crawl_file, "--max-depth", 1)
    assert done.code == 0
    assert any("max-depth" in line and "0" in line and "1" in line for line in done.err.splitlines())
    plain = await cli("resume", crawl_file)
    assert (plain.code, "changed" in plain.err) == (0, False)
    specs = json.loads(
        (
            await cli(
                "query", crawl_file, "SELECT json_extract(spec, '$.max_depth') AS d FROM runs", "--format", "json"
            )
        ).out
    )
    assert [s["d"] for s in specs] == [0, 1]
    assert [r.path for r in web.requests] == ["/robots.txt", "/", "/a"]


async def test_add_then_resume_visits_the_new_seed(serve: Serve, crawl_file: Path) -> None:
    """`add` says how many are new and sends nothing; `resume` fetches them, with the stored settings."""
    web = await serve(Site({"/": page(), "/new": page()}), Site({"/": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK)
    sent = len(web.requests)
    done = await cli("add", crawl_file, web.url(), web.url("/new"), web.url(host=2))
    assert (done.code, len(web.requests)) == (0, sent)
    assert "2 of 3 seeds are new" in done.err
    assert (await cli("resume", crawl_file)).code == 0
    assert {(r.host, r.path) for r in web.requests[sent:]} == {
        ("127.0.1.1", "/new"),
        ("127.0.1.2", "/robots.txt"),
        ("127.0.1.2", "/"),
    }
    assert (await cli("add", crawl_file, "https://example.org/")).code == 2


async def test_resume_keeps_header_values_out_of_the_file(serve: Serve, crawl_file: Path) -> None:
    """V1: a header's value is not stored; resume says that it must be given again."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--header", "X-Key: s3cret", "--max-pages", 1)
    assert web.requests[-1].headers["x-key"] == "s3cret"
    assert all(b"s3cret" not in p.read_bytes() for p in crawl_file.parent.iterdir())
    done = await cli("resume", crawl_file, "--max-pages", 5)
    assert "X-Key" in done.err
    assert "x-key" not in web.requests[-1].headers


async def test_fetch_gives_outcomes_in_input_order(serve: Serve) -> None:
    """--json: one object a line with the fields of CONTRACT §1; nothing is followed, robots.txt is not asked for."""
    web = await serve(
        Site(
            {"/b": redirect("/c"), "/a": page(), "/bin": Answer(body=BINARY, headers=(("Content-Type", "image/png"),))}
        )
    )
    done = await cli("fetch", "--json", web.url("/b"), web.url("/a"), web.url("/bin"), web.url("/no"))
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(f["url"], f["status"]) for f in found] == [
        (web.url("/b"), 301),
        (web.url("/a"), 200),
        (web.url("/bin"), 200),
        (web.url("/no"), 404),
    ]
    assert all(
        {"url", "status", "reason", "headers", "body", "elapsed_ms", "truncated", "location"} <= f.keys() for f in found
    )
    assert done.code == 1
    assert not any(r.path in ("/robots.txt", "/c") for r in web.requests)


async def test_d9_a_limit_on_file_sizes_is_waited_for_until_ctrl_c(serve: Serve, crawl_file: Path) -> None:
    """`ulimit -f` in the place of a full disk: a sentence, a wait, 130 after Ctrl-C; what was committed can be read, and
    without the limit the same command fetches the rest."""
    web = await serve(
        Site(
            {
                "/": page(*(f"/{n}" for n in range(40))),
                **{f"/{n}": Answer(body=os.urandom(60_000), headers=()) for n in range(40)},
            }
        )
    )
    command = f"'{sys.executable}' -m crawler crawl {web.url()} -o {crawl_file} {' '.join(QUICK)} --min-free 0"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"ulimit -f 600; exec {command}", env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(15):
        said = (await process.stderr.readline()).decode()
        process.send_signal(signal.SIGINT)
        said += (await process.communicate())[1].decode()
    assert (process.returncode, "Traceback" in said) == (130, False)
    assert str(crawl_file) in said
    assert sh("query", crawl_file, "PRAGMA integrity_check", "--format", "jsonl").out == '{"integrity_check": "ok"}\n'
    assert (await cli("resume", crawl_file, *QUICK)).code == 0
    assert sh("query", crawl_file, "SELECT pages FROM counts", "--format", "jsonl").out == '{"pages": 41}\n'
