"""--metrics: what Prometheus reads of a running crawl, as its own parser reads it; on loopback, and no way into the crawl."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crawler.metrics import exposition, response, served, where
from crawler.spec import BadSpec
from tests.commands import QUICK, Hanging, cli, running
from tests.conftest import Serve
from tests.crawls import asked
from tests.test_live import SNAPSHOT
from tests.web import Site, Web, page

Found = dict[str, dict[tuple[str, ...], float]]
MONOTONIC = ("requests", "requests_reused", "connections_opened", "received_bytes", "visits", "answers")


def read(text: str) -> Found:
    """By name: the value for each of its labels' values."""
    families = list(text_string_to_metric_families(text))
    assert len({f.name for f in families}) == len(families)
    assert all(f.documentation and f.type in ("counter", "gauge") for f in families)
    return {f.name.removeprefix("poolcrawl_"): {tuple(s.labels.values()): s.value for s in f.samples} for f in families}


def test_the_snapshot_is_what_is_served() -> None:
    """Each figure of a snapshot under its name; an ETA that nobody knows is absent, not a number."""
    found = read(exposition(SNAPSHOT))
    assert found["requests"] == {(): 1000}
    assert found["requests_reused"] == {(): 910}
    assert found["visits"] == {(): 950}
    assert found["answers"] == {("2xx",): 900, ("4xx",): 90, ("none",): 10}
    assert found["urls"] == {("page",): 12_345, ("redirect",): 77, ("failure",): 12, ("skipped",): 345, ("queued",): 98_765}
    assert found["hosts"] == {("ready",): 12, ("waiting",): 230, ("busy",): 30}
    assert found["bound"] == {("politeness",): 1}
    assert (found["paused"], found["eta_seconds"], found["run_seconds"]) == ({(): 0}, {(): 7500}, {(): 200})
    unknown = read(exposition(replace(SNAPSHOT, eta=None, load=replace(SNAPSHOT.load, paused="a pause"))))
    assert "eta_seconds" not in unknown
    assert unknown["paused"] == {(): 1}


@pytest.mark.parametrize(("text", "expected"), [
    ("9400", ("127.0.0.1", 9400)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("0.0.0.0:80", ("0.0.0.0", 80)),
    ("localhost:9400", ("localhost", 9400)), ("[::1]:9400", ("::1", 9400))])
def test_where(text: str, expected: tuple[str, int]) -> None:
    """A port alone is loopback's; any other address has to be said."""
    assert where(text) == expected


@pytest.mark.parametrize("text", [
    "", ":9400", "x", "host", "host:", "70000", "1.2.3.4:99999", "http://h:1", "9400/metrics", "::1:9"])
def test_where_not(text: str) -> None:
    """Anything else is refused, in words, before anything is sent."""
    with pytest.raises(BadSpec, match="neither a port"):
        where(text)


@pytest.mark.parametrize(("request_", "status"), [
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200), (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200),
    (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200), (b"GET / HTTP/1.1\r\n\r\n", 404), (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
    (b"\r\n\r\n", 400), (b"\xff\x00\r\n\r\n", 400), (None, 400)])
def test_answers_are_http(request_: bytes | None, status: int) -> None:
    """GET and HEAD of /metrics, and a status for everything else; the length is that of the body."""
    answer = response(request_, SNAPSHOT)
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "Connection: close" in head
    length = int(re.findall(r"Content-Length: (\d+)", head)[0])
    assert len(body) == (0 if request_ and request_.startswith(b"HEAD") else length)
    assert length
    assert response(b"GET /metrics HTTP/1.1\r\n\r\n", None).startswith(b"HTTP/1.1 503 ")


async def scrape(port: int) -> Found:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    return read(answer.partition("\r\n\r\n")[2]) if " 200 " in answer.partition("\r\n")[0] else {}


async def test_a_crawl_is_watched_to_its_end(serve: Serve, crawl_file: Path) -> None:
    """Counters only grow while it runs, and are what the server was asked; after it the port is free again."""
    links = [f"/{n}" for n in range(12)]
    held = Hanging()
    web: Web = await serve(Site({"/": page(*links, "/held"), **dict.fromkeys(links, page()), "/11": 404, "/held": held}))
    options = ("--delay", "0.1", "--parse-workers", "0", "--progress", "none", "--metrics", "0")
    async with running("crawl", web.url(), "-o", crawl_file, *options) as process:
        assert process.stderr
        said = (await process.stderr.readline()).decode()
        port = int(re.findall(r"metrics: http://127\.0\.0\.1:(\d+)/metrics$", said.strip())[0])
        seen: list[Found] = []
        async with asyncio.timeout(15):
            while not seen or sum(seen[-1]["answers"].values()) < 14:
                if found := await scrape(port):
                    seen.append(found)
                await asyncio.sleep(0.1)
        for before, after in pairwise(seen):
            for name in MONOTONIC:
                assert all(after[name][label] >= n for label, n in before[name].items())
        assert seen[-1]["requests"] == {(): len(web.requests)}
        assert seen[-1]["requests_open"] == {(): 1}
        assert seen[-1]["answers"] == {("2xx",): 12, ("4xx",): 2}
        held.go.set()
        await process.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


async def test_a_port_that_is_taken_is_exit_2(serve: Serve, crawl_file: Path) -> None:
    """The sentence names it; nothing was sent, and no file was made."""
    web = await serve(Site({"/": page()}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--metrics", str(taken.getsockname()[1]))
    assert (done.code, asked(web, robots=True), crawl_file.exists()) == (2, [], False)
    assert "Address already in use" in done.err


async def test_who_can_read_it_is_said_and_peers_that_hang_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address: only when it is asked for, and with a warning. Twenty silent peers are hung up on."""
    monkeypatch.setattr("crawler.listener.PATIENCE", 0.2)
    notes: list[str] = []
    async with served("0.0.0.0:0", notes.append) as publish:
        assert notes[0].endswith(", for everybody who can reach this machine")
        port = int(notes[0].rpartition(":")[2].partition("/")[0])
        assert await scrape(port) == {}
        publish(SNAPSHOT)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for reader, writer in silent:
            await reader.read()
            writer.close()
        found: Found = {}

        async def again() -> None:
            nonlocal found
            while not found:
                found = await scrape(port)

        await asyncio.wait_for(again(), 5)
        assert found["requests"] == {(): 1000}


async def test_the_spec_file_may_say_it(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """``metrics = 0`` is no setting of the crawl and is not stored; the command line wins."""
    web = await serve(Site({"/": page()}))
    (tmp_path / "c.toml").write_text("metrics = 0\nprogress = 'none'\ndelay = 0\nparse-workers = 0\n")
    done = await cli("crawl", web.url(), "-o", crawl_file, "--spec", tmp_path / "c.toml")
    assert (done.code, done.err.startswith("metrics: http://127.0.0.1:")) == (0, True)
    refused = await cli("crawl", web.url(), "-o", tmp_path / "b.db", "--spec", tmp_path / "c.toml", "--metrics", "x")
    assert (refused.code, "neither a port" in refused.err) == (2, True)
