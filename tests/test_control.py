"""Live control: a running crawl is changed from another process, politely, durably, and by nobody else (FAULTS L, D)."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.channel import socket_of
from crawler.frontier.workbench import Limits, Refusal
from crawler.visit import Kind, Visit
from tests.benches import bench_of
from tests.commands import Hanging, cli, running, sh, until
from tests.conftest import Serve
from tests.controlled import LINKS, WIDE, crawling, gaps, order
from tests.crawls import ask, asked
from tests.web import Answer, Request, Site, page

DELAYED = ("--delay", "0.2", "--parse-workers", "0", "--progress", "none")


# --- delays


async def test_l1_a_longer_delay_holds_from_the_last_request_on(serve: Serve, crawl_file: Path) -> None:
    """After the answer no two requests to the host are closer than the new delay; the row has its time; status says it."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=0.05):
        await until(lambda: len(asked(web)) > 4)
        answer = await order(crawl_file, "set", host="127.0.1.1", settings={"delay": 0.4})
        since, before = time.monotonic(), len(asked(web))
        assert answer["in_force"]["delay"] == 0.4
        assert ask(crawl_file, "SELECT what, name, host, before, now FROM controls") == [("set", "delay", "127.0.1.1", 0.05, 0.4)]
        assert sh("status", crawl_file).out.count("delay of 127.0.1.1 0.05 -> 0.4") == 1
        assert "delay of 127.0.1.1 0.05 -> 0.4" in sh("explain", crawl_file, web.url("/3")).out
        await until(lambda: len(asked(web)) >= before + 3)
    last = [r.at for r in web.requests if r.at < since][-1]
    assert min(gaps(web, last)) >= 0.39


async def test_a_shorter_delay_is_in_force_at_once(serve: Serve, crawl_file: Path) -> None:
    """A host that would rest for five minutes is asked after the new delay: the next request within 0.5 s of the answer."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=300.0, ip_delay=0.0):
        await until(lambda: len(web.requests) == 1)
        await order(crawl_file, "set", settings={"delay": 0.1})
        at = time.monotonic()
        await until(lambda: len(web.requests) > 3)
        assert web.requests[1].at - at < 0.5
        assert min(gaps(web)) >= 0.09


async def test_l3_a_shorter_delay_is_never_shorter_than_the_sites(serve: Serve, crawl_file: Path) -> None:
    """With Crawl-delay 0.5 in robots.txt a delay of 0 changes nothing there, and the answer says so."""
    web = await serve(Site(WIDE, robots="User-agent: *\nCrawl-delay: 0.5\n"))
    async with crawling(web, crawl_file, delay=1.0):
        await until(lambda: len(asked(web)) == 1)
        await order(crawl_file, "set", settings={"delay": 0})
        done = await cli("control", crawl_file, "set", "host=127.0.1.1", "delay=0")
        assert "a request each 0.5 s; its robots.txt asks for 0.5 s" in done.out
        await until(lambda: len(asked(web)) == 4)
    assert min(gaps(web)) >= 0.49


async def test_l4_a_shorter_delay_ends_no_block(serve: Serve, crawl_file: Path) -> None:
    """A host that answered 429 with Retry-After 20 is not asked because somebody shortens its delay."""
    web = await serve(Site({"/": Answer(429, headers=(("Retry-After", "20"),)), "/b": page()}))
    async with crawling(web, crawl_file, delay=0.3, patience=30.0) as task:
        await until(lambda: asked(web))
        await order(crawl_file, "set", settings={"delay": 0})
        await order(crawl_file, "pause")
        await order(crawl_file, "resume")
        await asyncio.wait({task}, timeout=0.7)
    assert asked(web) == ["/"]


STEPS = st.tuples(st.sampled_from(["ask", "set"]), *[st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 2.0])] * 2)


@pytest.mark.parametrize("of", ["host", "address"])
@given(st.lists(STEPS, max_size=30))
def test_l1_whatever_is_set_when_no_request_comes_too_early(of: str, steps: list[tuple[str, float, float]]) -> None:
    """At each request the last one is at least the delay ago that is in force then, of its host and of its address."""
    bench, hosts = bench_of(Limits(address_delay=0.7 * (of == "address")), a=60)
    host, now, sent = hosts["a"], 100.0, float("-inf")
    host.delay *= of == "host"
    for do, wait, delay in steps:
        now += wait
        if do == "set" and of == "host":
            bench.pace(host, delay, now)
        elif do == "set":
            bench.pace_addresses(delay, now)
        elif isinstance(turn := bench.acquire(now), Visit):
            assert now - sent >= max(host.delay, bench.limits.address_delay) - 1e-9
            bench.sent(turn, now)
            bench.release(turn, now)
            sent = now


def test_l8_what_was_admitted_once_and_is_excluded_now_is_refused_at_its_turn() -> None:
    """Also what the store gave out before: no visit, not even of its robots.txt, but a refusal with what did it."""
    bench, hosts = bench_of(a=3)
    hosts["a"].robots.clear()
    bench.excluded = lambda row: "matches --exclude /2" if row.place.path == "/2" else ""
    turn = bench.acquire(0.0)
    assert isinstance(turn, Refusal)
    assert (turn.row.place.path, turn.reason, turn.detail) == ("/2", "exclude", "matches --exclude /2")
    visit = bench.acquire(0.0)
    assert isinstance(visit, Visit)
    assert visit.kind is Kind.ROBOTS


# --- pause, resume, stop


async def test_a_pause_lets_what_is_in_flight_end_and_asks_nobody(serve: Serve, crawl_file: Path) -> None:
    """The request in flight is stored, no other goes out until resume, status and `bound_by` say why."""
    held = Hanging()
    web = await serve(Site({**WIDE, "/": page("/slow", *LINKS[:3]), "/slow": held}))
    async with crawling(web, crawl_file, per_host=1) as task:
        await until(lambda: held.asked)
        await order(crawl_file, "pause")
        assert (await order(crawl_file, "pause"))["changes"] == []
        held.go.set()
        await until(lambda: ask(crawl_file, "SELECT 1 FROM pages WHERE url LIKE '%/slow'"))
        assert not await until_done(task, 0.3)
        assert asked(web) == ["/", "/slow"]
        said = sh("status", crawl_file).out
        assert "running, paused: by `crawler control`, since" in said
        assert "the crawl is paused: by `crawler control`" in sh("explain", crawl_file, web.url("/2")).out
        await order(crawl_file, "resume")
        assert await until_done(task, 5.0)
    assert len(asked(web)) == 6
    assert ask(crawl_file, "SELECT what FROM controls") == [("pause",), ("resume",)]


async def until_done(task: asyncio.Task[Any], seconds: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


async def test_stop_is_the_first_sigterm(serve: Serve, crawl_file: Path) -> None:
    """Exit code 143, what was in flight is stored, the socket is gone, the row is there; then nobody listens: exit code 1."""
    held = Hanging()
    web = await serve(Site({**WIDE, "/": page("/slow"), "/slow": held}))
    async with running("crawl", web.url(), "-o", crawl_file, *DELAYED) as process:
        await until(lambda: held.asked)
        assert (await cli("control", crawl_file, "stop")).out == "stopping: what is in flight may end\n"
        refused = await cli("control", crawl_file, "pause")
        assert (refused.code, refused.err) == (2, "crawler: the crawl is stopping\n")
        held.go.set()
        assert await asyncio.wait_for(process.wait(), 8) == 143
    assert ask(crawl_file, "SELECT what FROM controls") == [("stop",)]
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(2,)]
    assert not socket_of(crawl_file).exists()
    done = sh("control", crawl_file, "stop")
    assert done.code == 1
    assert done.err == f"crawler: nobody is crawling into {crawl_file}; start it with: crawler resume {crawl_file}\n"


# --- limits and exclusions


async def test_a_lowered_limit_ends_the_crawl_and_is_never_exceeded(serve: Serve, crawl_file: Path) -> None:
    """max-pages set to 6 while it runs: 6 pages, state `limit`; raised before it is reached, the crawl goes on."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=0.05, max_pages=9) as task:
        await until(lambda: len(asked(web)) > 2)
        await order(crawl_file, "set", settings={"max_pages": 30})
        await until(lambda: len(asked(web)) > 11)
        await order(crawl_file, "set", settings={"max_pages": 16})
        assert (await asyncio.wait_for(task, 10)).state == "limit"
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(16,)]


async def test_a_raised_limit_of_a_host_brings_back_what_it_refused(serve: Serve, crawl_file: Path) -> None:
    """max-pages-per-host was 3 and the rest is skipped as `limit`; without it, while the crawl runs, all are fetched."""
    held = Hanging()
    web = await serve(Site(WIDE), Site({"/": held}))
    web.handlers[0]["/"] = page(*LINKS, web.url("/", 2))
    async with crawling(web, crawl_file, scope="any", max_pages_per_host=3) as task:
        await until(lambda: held.asked and ask(crawl_file, "SELECT count(*) FROM skipped WHERE reason = 'limit'") == [(38,)])
        await order(crawl_file, "set", settings={"max_pages_per_host": "none"})
        await until(lambda: ask(crawl_file, "SELECT count(*) FROM pages") == [(41,)])
        held.go.set()
        assert (await asyncio.wait_for(task, 10)).state == "complete"


async def test_a_rate_can_be_set(serve: Serve, crawl_file: Path) -> None:
    """max-rate 4 a second instead of one in 50 s: from then on, at once, the gaps are a quarter of a second."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=0.05, max_rate=0.02):
        await until(lambda: len(web.requests) == 1)
        await order(crawl_file, "set", settings={"max_rate": 4})
        since, before = time.monotonic(), len(asked(web))
        await until(lambda: len(asked(web)) > before + 3)
    assert min(gaps(web, since)) > 0.2


async def test_a_limit_below_what_there_is_ends_a_paused_crawl(serve: Serve, crawl_file: Path) -> None:
    """Nothing more is asked, and the run ends although it is paused."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=0.1) as task:
        await until(lambda: ask(crawl_file, "SELECT count(*) > 2 FROM pages") == [(1,)])
        await order(crawl_file, "pause")
        await order(crawl_file, "set", settings={"max_pages": 1})
        assert (await asyncio.wait_for(task, 2)).state == "limit"


async def test_a_pause_outlasts_the_patience(serve: Serve, crawl_file: Path) -> None:
    """With nothing due within --patience the run would end; paused, it waits for somebody to say so."""
    held = Hanging()

    async def later(request: Request) -> Answer:
        await held(request)
        return Answer(429, headers=(("Retry-After", "30"),))

    web = await serve(Site({"/": later}))
    async with crawling(web, crawl_file, patience=0.1) as task:
        await until(lambda: held.asked)
        await order(crawl_file, "pause")
        held.go.set()
        assert not await until_done(task, 0.5)
        await order(crawl_file, "resume")
        assert (await asyncio.wait_for(task, 2)).state == "deferred"


async def test_a_time_limit_can_be_set(serve: Serve, crawl_file: Path) -> None:
    """max-time counts from the run's begin: one that has passed already ends it."""
    web = await serve(Site(WIDE))
    async with crawling(web, crawl_file, delay=5.0) as task:
        await until(lambda: web.requests)
        await order(crawl_file, "set", settings={"max_time": 0.1})
        assert (await asyncio.wait_for(task, 2)).state == "limit"


async def test_l8_an_exclusion_holds_from_the_answer_on(serve: Serve, crawl_file: Path) -> None:
    """A regular expression and a host: no request to them after the answer; their URLs are skipped with what did it; the
    next run keeps to it."""
    web = await serve(Site({**WIDE, "/": page(*LINKS, "http://127.0.1.2:{port}/")}), Site(WIDE))
    web.handlers[0]["/"] = page(*LINKS, web.url("/", 2))
    async with crawling(web, crawl_file, scope="any", delay=0.1):
        await until(lambda: {r.host for r in web.requests if r.path != "/robots.txt"} == {"127.0.1.1", "127.0.1.2"})
        await order(crawl_file, "exclude", hosts=["127.0.1.2"], patterns=[r":\d+/[12]"])
        since = time.monotonic()
        flying = {r.url for r in web.requests}
        await until(lambda: not ask(crawl_file, "SELECT 1 FROM queue WHERE url GLOB '*/[12]*' OR host = '127.0.1.2'"))
        await until(lambda: any(r.at > since + 0.3 for r in web.requests))
    later = [r for r in web.requests if r.at > since and r.url not in flying]
    assert later
    assert not [r for r in later if r.host == "127.0.1.2" or r.path[:2] in ("/1", "/2")]
    assert {d for (d,) in ask(crawl_file, "SELECT DISTINCT detail FROM skipped")} == {
        "exclude-host: 127.0.1.2/32", r"matches --exclude :\d+/[12]"}
    resumed = await cli("resume", crawl_file, "--delay", "0", "--progress", "none")
    assert "exclude" not in resumed.err.partition("skipped:")[0]
    assert not [r for r in web.requests if r.at > since + 0.3 and (r.host == "127.0.1.2" or r.path[:2] in ("/1", "/2"))]


async def test_d1_what_was_set_survives_kill_9(serve: Serve, crawl_file: Path) -> None:
    """After SIGKILL the socket is stale: control says nobody crawls; `resume` takes its place, and the delay still holds."""
    web = await serve(Site(WIDE))
    async with running("crawl", web.url(), "-o", crawl_file, *DELAYED) as process:
        await until(lambda: len(asked(web)) > 1)
        assert (await cli("control", crawl_file, "set", "host=127.0.1.1", "delay=0.6")).code == 0
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert socket_of(crawl_file).exists()
    assert sh("control", crawl_file, "pause").code == 1
    since = time.monotonic()
    async with running("resume", crawl_file, "--progress", "none"):
        await until(lambda: len([r for r in web.requests if r.at > since]) > 2)
        shown = await cli("control", crawl_file)
        assert "host-delay          127.0.1.1=0.6" in shown.out
        assert "delays of their own: 127.0.1.1=0.6" in sh("status", crawl_file).out
        assert "its host has a delay of its own: 0.6 s" in sh("explain", crawl_file, web.url()).out
    assert min(gaps(web, since)) >= 0.59
