"""The play `demo` puts on: a whole life of a crawl in a few seconds. Nothing leaves this machine."""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.child import environment, python

if TYPE_CHECKING:
    from crawler.demo.server import Web

KILL_AT = 27  # requests: about half of the demo's web
LONGEST = 60.0  # seconds; it takes about five
SAMPLE = "SELECT url, title FROM pages"
QUESTIONS = (
    (
        "How many pages are on each host, and how big are they?",
        "SELECT h.host, h.pages, round(avg(p.size)) AS avg_bytes, max(p.size) AS biggest FROM hosts h "
        "JOIN pages p ON p.url LIKE 'http://' || h.host || ':%' GROUP BY h.host",
    ),
    (
        "Which links are broken, and on which pages do they stand?",
        "SELECT dst, status, count(*) AS links, min(src) AS for_example_on FROM broken_links GROUP BY dst",
    ),
    ("What was not fetched, and why?", "SELECT reason, url, detail FROM skipped ORDER BY reason, url"),
)


class DemoFailed(click.ClickException):
    """The demo did not show what it promises; exit code 1."""


async def _demo(file: Path, name: str) -> None:
    from crawler.demo.server import serving
    from crawler.demo.site import pages

    async with asyncio.timeout(LONGEST), serving() as web:
        show = _Typed(file, name)
        expected = pages(web.table)
        _head(1, f"A small web on loopback: {expected} pages on {_hosts(web)}")
        crawl = ("crawl", *web.seeds, "-o", str(file), "--delay", "0.05", "--progress", "none")
        _head(2, f"Crawl it, and kill the crawl (SIGKILL: no time to tidy up) at its request no. {KILL_AT}")
        await _crawl_and_kill(show, crawl, web)
        await show.run("status", str(file))
        _head(3, "The same command again goes on from there")
        await show.run(*crawl)
        _compare(file, web, expected)
        _head(4, "Ask the file")
        for question, sql in QUESTIONS:
            _say("\n" + click.style(question, fg="cyan"))
            await show.run("query", str(file), sql)


async def _crawl_and_kill(show: _Typed, crawl: Sequence[str], web: Web) -> None:
    """Start the crawl as a process of its own and end it with SIGKILL once the web was asked often enough."""
    show.command(crawl)
    child = await show.start(crawl)
    ended, half = asyncio.create_task(child.communicate()), asyncio.create_task(web.seen(KILL_AT))
    try:
        await asyncio.wait({ended, half}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise DemoFailed(f"the crawl ended before it could be killed:\n{ended.result()[0].decode()}")
        child.kill()
        await ended
    finally:
        half.cancel()
        show.end(child)
    _say(click.style(f"  killed after {web.asked.total()} requests", fg="red") + "; what the file holds now:")


def _compare(file: Path, web: Web, expected: int) -> None:
    """What the file holds beside what the web knows it holds."""
    from storage.reader import open_reader

    with open_reader(file) as reader:
        found = reader.counts().pages
    robots = sum(count for (_, path), count in web.asked.items() if path == "/robots.txt")
    twice = sum(count - 1 for (_, path), count in web.asked.items() if path != "/robots.txt")
    if found != expected:
        raise DemoFailed(f"the file holds {found} pages, the web has {expected}; please report this")
    _say(
        click.style(f"  all {found} pages are in the file, each once", fg="green")
        + f"; the kill cost {twice} repeated request{'s' * (twice != 1)}, robots.txt was asked for {robots} times"
    )


def _hosts(web: Web) -> str:
    return ", ".join(f"{host}:{web.port}" for host in web.hosts)


def _head(number: int, text: str) -> None:
    _say(("\n" if number > 1 else "") + click.style(f"{number}  {text}", bold=True))


def _say(text: str) -> None:
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


class _Typed:
    """Runs commands as a reader would type them, and shows both: ``name`` is how the file is called there."""

    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = str(file), name

    def command(self, arguments: Sequence[str]) -> None:
        named = (argument.replace(self._file, self._name) for argument in arguments)
        typed = (f'"{argument}"' if " " in argument else shlex.quote(argument) for argument in named)
        _say(click.style("  $ crawler " + " ".join(typed), dim=True))

    async def start(self, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *python("crawler", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
        )

    def end(self, child: asyncio.subprocess.Process) -> None:
        """Leave no crawl behind, whatever happened."""
        if child.returncode is None:
            child.kill()

    async def run(self, *arguments: str) -> None:
        """Run to the end; raises DemoFailed on any exit code but 0."""
        self.command(arguments)
        child = await self.start(arguments)
        try:
            output = (await child.communicate())[0].decode("utf-8", "replace")
        finally:
            self.end(child)
        _say("".join(f"  {line}\n" for line in output.replace(self._file, self._name).splitlines()).rstrip("\n"))
        if child.returncode:
            raise DemoFailed(f"that command ended with exit code {child.returncode}")


def play(file: Path | None) -> None:
    """Put it on; ``file`` None: with a temporary database. Raises DemoFailed."""
    with tempfile.TemporaryDirectory(prefix="poolcrawl-demo-") as folder:
        try:
            asyncio.run(_demo(file or Path(folder) / "demo.db", str(file or "demo.db")))
        except TimeoutError:
            raise DemoFailed(f"the demo did not end within {LONGEST:g} s") from None
    if file is None:
        _say("\nThe file is deleted now. To keep one: " + click.style("crawler demo -o demo.db", bold=True))
    else:
        _say("\nThe file is yours: " + click.style(f"crawler query {shlex.quote(str(file))} '{SAMPLE}'", bold=True))
