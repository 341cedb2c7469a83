"""`crawler demo`, run as a stranger runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import crawler
from crawler.demo import site
from tests.commands import running

NOTHING_PRIVATE = "SELECT count(*) FROM fetches WHERE url LIKE '%/private/%'"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "crawler", "demo", *arguments], capture_output=True, text=True,
                          check=False, timeout=90, env={**os.environ, **environment})


def test_demo_kills_resumes_and_answers(tmp_path: Path) -> None:
    """Killed at a request of its choice, resumed by the same command, all pages there, three questions answered."""
    file = tmp_path / "kept.db"
    shown = run("-o", str(file))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    assert "killed after" in shown.stdout
    for found in ("/bookshop/sale", "/reading-room/errata", "Disallow: /private/", "guestbook/1", "each once"):
        assert found in shown.stdout, found
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (2,)
        assert db.execute(NOTHING_PRIVATE).fetchone() == (0,)


def test_demo_leaves_no_file_and_no_colour(tmp_path: Path) -> None:
    """Without -o nothing is left behind, and a pipe gets no colours."""
    shown = run(TMPDIR=str(tmp_path), NO_COLOR="1")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert list(tmp_path.iterdir()) == []
    assert "\x1b" not in shown.stdout


def test_demo_overwrites_nothing(tmp_path: Path) -> None:
    """A file that is there is refused as bad usage, before anything is served."""
    file = tmp_path / "mine.db"
    file.write_bytes(b"mine")
    shown = run("-o", str(file))
    assert shown.returncode == 2
    assert "exists" in shown.stderr
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2", "127.0.0.3"]], ids=["one", "three"])
def test_demo_web_is_whole_on_one_host_too(hosts: list[str]) -> None:
    """Where there is one loopback address only (macOS), the same web stands on it."""
    table = site.web(hosts, 80)
    assert {host for host, _ in table} == set(hosts)
    assert site.pages(table) == 59 + len(hosts)
    assert sum(answer.status == 301 for answer in table.values()) == 1


async def test_the_demos_web_can_be_served_alone() -> None:
    """`--serve PORT` names the address of a web that answers, ends with Ctrl-C and exit 0; a port in use is exit 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = await asyncio.to_thread(run, "--serve", port)
    assert (refused.returncode, "another one: --serve" in refused.stderr) == (2, True)
    async with running("demo", "--serve", port) as process:
        url = (await process.stdout.readline()).decode().split()[0]  # type: ignore[union-attr]
        [answer] = await crawler.fetch_all([url])
        assert (answer.status, b"<h1>Come in</h1>" in answer.body) == (200, True)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == 0
