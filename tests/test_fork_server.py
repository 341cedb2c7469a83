"""Where parse workers come from may be stopped, killed and starved: no page is to blame for it (FAULTS P5, X2)."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from crawler.child import python
from crawler.parse import forkserver, process
from crawler.parse.forkserver import ForkServer
from crawler.parse.pool import MAX_STARTS, ParsePool
from crawler.visit import Extract
from tests.killing import ROOT, children

MISBEHAVE = "tests.bombs:misbehave"
HTML = "text/html; charset=utf-8"
PAGE = b"<title>t</title>"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
async def pool() -> AsyncIterator[ParsePool]:
    async with ParsePool(2, MISBEHAVE) as pool:
        yield pool


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def parsed(pool: ParsePool, *deeds: str) -> list[str | None]:
    """What pages of these deeds, handed in at once, came to."""
    pages: list[Extract] = await asyncio.gather(
        *(pool.parse(PAGE, f"http://h.test/{deed}?{n}", HTML) for n, deed in enumerate(deeds))
    )
    return [page.parse for page in pages]


def run(program: str, *, before: str = "") -> str:
    """What a Python program prints that has ``ParsePool`` and `tests.bombs`, started by a shell after ``before``."""
    done = subprocess.run(
        ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_p5_the_end_of_the_fork_server_is_no_pages_fault(pool: ParsePool, number: signal.Signals) -> None:
    """Its workers die with it, or of a page while it is stopped: another takes its place, and no page is blamed for it."""
    (server,) = children()
    os.kill(server, number)
    assert await parsed(pool, "segv", *["fine"] * 19) == ["crash", *[None] * 19]
    (other,) = children()
    assert other != server
    assert sorted(children(other)) == sorted(pool.pids)


@pytest.mark.parametrize("when", ["at start", "at work"])
async def test_p5_the_end_of_the_fork_server_is_one_failure(when: str) -> None:
    """More workers than may fail to start in a row wait for it: the crawl goes on."""
    workers = 2 * MAX_STARTS
    async with ParsePool(workers, *([MISBEHAVE] if when == "at work" else [])) as pool:
        (server,) = children()
        os.kill(server, signal.SIGKILL)
        while children() in ([server], []):
            await asyncio.sleep(0.001)
        if when == "at work":  # the next one, while it imports
            os.kill(children()[0], signal.SIGKILL)
        assert await parsed(pool, *["fine"] * workers) == [None] * workers


async def test_x2_the_end_of_the_fork_server_is_no_want_of_memory(pool: ParsePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has ended some process of this machine for want of memory, too: no page of ours was that."""
    kills = count()
    monkeypatch.setattr(process, "_oom_kills", lambda: next(kills))
    (server,) = children()
    pages = asyncio.create_task(parsed(pool, *["fine"] * 6))
    await asyncio.sleep(0)
    os.kill(server, signal.SIGKILL)
    assert await pages == [None] * 6


async def test_x2_workers_go_first_then_their_server(pool: ParsePool) -> None:
    """If memory runs out: the end of one worker costs a page, that of the server all workers, that of the crawl a crawl."""
    (server,) = children()
    assert score(os.getpid()) < score(server) < min(map(score, pool.pids))
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1  # threads and forks do not go together


async def test_x2_a_fork_that_the_kernel_refuses_is_tried_again(pool: ParsePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory or no process to be had, more often in a row than workers may fail to start: the page waits for the next."""
    refused = iter([True] * (2 * MAX_STARTS + 3))
    ask = ForkServer._asked

    def stingy(server: ForkServer, pipe: socket.socket, tell: int) -> bool:
        if not next(refused, False):
            return ask(server, pipe, tell)
        os.write(tell, struct.pack("i", -errno.EAGAIN))  # as the server says it
        return True

    monkeypatch.setattr("crawler.parse.pool._MAX_DELAY", 0.01)
    monkeypatch.setattr(ForkServer, "_asked", stingy)
    assert await parsed(pool, "segv", "segv", "fine") == ["crash", "crash", None]
    assert next(refused, None) is None


async def test_x1_a_server_without_descriptors_to_spare_lives_on(pool: ParsePool) -> None:
    """What it is handed and cannot take is asked for again; its other workers stay."""
    (server,) = children()
    before = resource.prlimit(server, resource.RLIMIT_NOFILE)
    resource.prlimit(server, resource.RLIMIT_NOFILE, (3, before[1]))
    pages = asyncio.create_task(parsed(pool, "segv", *["fine"] * 9))
    while pool.deaths < 3:  # the page's own, and two that could not be forked
        await asyncio.sleep(0.001)
    resource.prlimit(server, resource.RLIMIT_NOFILE, before)
    assert await pages == ["crash", *[None] * 9]
    assert children() == [server]


async def test_closing_waits_for_no_copy_of_the_control_socket(pool: ParsePool) -> None:
    """A program that crawls may have forked (`multiprocessing` does): what its child holds open keeps nobody alive."""
    control = pool._server._control
    server = pool._server._process
    assert control is not None
    assert server is not None
    copy = os.dup(control.fileno())
    try:
        await pool.aclose()
    finally:
        os.close(copy)
    assert server.returncode == 0  # it left by itself


async def test_descriptors_are_taken_before_they_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel wants that (macOS), the server says so; here it is made to."""
    server = "import crawler.parse.forkserver as f, crawler.parse.worker as w; f._ANSWERS = True; w.main()"
    monkeypatch.setattr(forkserver, "_ANSWERS", True)
    monkeypatch.setattr(forkserver, "python", lambda _, *rest: [*python("x")[:-2], "-c", server, *rest])
    async with ParsePool(2, MISBEHAVE) as pool:
        os.kill(children()[0], signal.SIGKILL)
        assert await parsed(pool, "segv", *["fine"] * 9) == ["crash", *[None] * 9]


def test_p5_where_we_are_the_first_process_no_zombies_are_left() -> None:
    """As in a container: workers whose server has died are ours to reap. Being a subreaper is the same."""
    program = f"""
import asyncio, ctypes, os, signal
from tests.killing import children
from tests.test_fork_server import parsed, ParsePool
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
async def main():
    async with ParsePool(3, {MISBEHAVE!r}) as pool:
        for _ in range(3):
            os.kill(children()[0], signal.SIGKILL)
            await parsed(pool, *["fine"] * 9)
            while len(pool.pids) < 3:
                await asyncio.sleep(0.001)
    print(children())
asyncio.run(main())
"""
    assert run(program).split() == ["[]"]


def test_p5_a_crawler_started_with_signals_blocked_is_held_to_its_limits() -> None:
    """What a parent has blocked is inherited: a death is heard of at once all the same, and the limits of a page hold."""
    program = f"""
import asyncio, signal
from pathlib import Path
from tests.killing import children
from tests.test_fork_server import parsed, ParsePool
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
async def main():
    async with ParsePool(1, {MISBEHAVE!r}) as pool:
        server, = children()
        print(await parsed(pool, "segv"), children() == [server])
        for pid in (server, *pool.pids):
            print(*[line.split()[1] for line in Path(f"/proc/{{pid}}/status").read_text().splitlines() if line[:6] == "SigBlk"])
asyncio.run(main())
"""
    assert run(program).split("\n") == ["['crash'] True", *["0" * 16] * 2, ""]


def test_p5_with_stderr_closed_an_extractor_may_print() -> None:
    """What it prints goes nowhere, and not into the socket that takes stderr's number."""
    program = f"""
import asyncio
from tests.test_fork_server import parsed, ParsePool
async def main():
    async with ParsePool(1, {MISBEHAVE!r}) as pool:
        print(await parsed(pool, "print", "fine"), pool._server._process.poll())
        process = pool._server._process
    print(process.returncode)
asyncio.run(main())
"""
    assert run(program, before="exec 2>&-;").split("\n") == ["[None, None] None", "0", ""]
