"""Streams that are lost, full or shared: stdout, stderr, the log and the file itself (FAULTS X6, D9, O6)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import EVIL, QUICK, RAW, cli, sh
from tests.conftest import Serve
from tests.killing import environment
from tests.web import Answer, Site, page


@pytest.mark.parametrize(
    "streams",
    [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "2>&1 | true",
        "--json | true",
        ">/dev/full 2>&1",
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
