"""A crawl as a process: its exit codes, one at a time, and how it stops (CONTRACT §1)."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import BINARY, QUICK, Hanging, cli, running, sh, until
from tests.conftest import Serve
from tests.web import Answer, Site, page, redirect

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
    assert "deferred: 1 URL, " in done.err


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


# --- fetch


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
