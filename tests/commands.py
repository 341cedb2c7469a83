"""The command line as people and scripts meet it, for tests: within this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from crawler.cli.main import cli as entry
from tests.killing import environment
from tests.web import Request, page

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


RAW = {chr(n) for n in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
