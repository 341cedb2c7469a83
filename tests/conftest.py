"""What many tests need: a crawl file of their own, a known web that ends with the test, and a crawl to be asked."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crawler.api import run_async
from crawler.spec import CrawlSpec
from tests.commands import BINARY, EVIL
from tests.web import Answer, Handler, Site, Web, page, redirect

Serve = Callable[..., Awaitable[Web]]
LONG = bool(os.environ.get("POOLCRAWL_LONG"))


def long(fast: int, full: int) -> int:
    """How much of a test is run: ``fast`` in `make test`, ``full`` in `make torture`, which sets POOLCRAWL_LONG=1.

    With it a test may take as long as it needs: the 120 s for each are lifted.
    """
    return full if LONG else fast


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if LONG:
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def crawl_file(tmp_path: Path) -> Path:
    """Where a crawl may be kept; nothing is there yet."""
    return tmp_path / "crawl.db"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``web = await serve(site, ...)``: handler K on 127.0.1.K until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(*handlers: Handler) -> Web:
            return await stack.enter_async_context(Web(*handlers))

        yield start


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that even root may not write to: /sys for root, who may write to all that is on a disk."""
    if os.geteuid() == 0:
        yield Path("/sys/kernel")
        return
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.fixture(scope="session")
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


# --- crawls for the web view to show


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl of a web with one of everything, hostile texts too; and its root."""
    from tests.test_report import SITE
    from tests.viewing import crawled

    file = tmp_path_factory.mktemp("known") / "crawl.db"
    return file, crawled(SITE, file)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """131 pages."""
    from tests.viewing import MANY, crawled

    file = tmp_path_factory.mktemp("many") / "crawl.db"
    crawled(MANY, file)
    return file


@pytest.fixture
def copy(many: Path, tmp_path: Path) -> Path:
    """The same, to write to."""
    return Path(shutil.copy(many, tmp_path / "crawl.db"))
