"""Nothing that goes wrong out of sight is lost (FAULTS X8)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.killing import environment
from tests.web import Request, Site, page

CRAWL = "from crawler.__main__ import main; import sys; sys.argv[0] = 'crawler'; main()"
BREAK = {
    "a timer": "import crawler.fetch.http as m\nm.Watch._ring = lambda self: {}['planted']\n",
    "a task": "from crawler.frontier.lookups import Lookups as L\nasync def f(*a): {}['planted']\nL._look_up = f\n",
    "a worker's pipe": "import crawler.parse.process as m\nm.Worker.buffer_updated = lambda self, n: {}['planted']\n",
    "a visit": "import crawler.frontier.frontier as m\nm.Frontier.settle = lambda *a: {}['planted']\n",
}


@pytest.mark.parametrize("where", BREAK)
async def test_x8_a_lost_exception_ends_the_run_with_70(serve: Serve, crawl_file: Path, where: str) -> None:
    """A bug in a timer, in a task nobody awaits, or in a protocol's callback ends the run within 10 s: exit code 70."""
    web = await serve(Site({"/": page("/a"), "/a": _never if where == "a timer" else page()}))
    command = [sys.executable, "-c", BREAK[where] + CRAWL, "crawl", web.url(), "-o", str(crawl_file), "--delay", "0"]
    process = await _run(command)
    assert process.returncode == 70, process.stderr
    assert "planted" in process.stderr


async def _never(request: Request) -> str:
    await asyncio.sleep(60)
    return page()


async def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """The command, beside the web's loop."""
    return await asyncio.to_thread(
        subprocess.run, command, env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
