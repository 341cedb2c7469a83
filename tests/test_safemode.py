"""crawler.safemode: a page that makes the crawler's own process die does not hold the crawl up for ever (FAULTS P11)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.model import Begun
from storage.sqlite import SqliteStore
from tests.conftest import Serve
from tests.crawls import ask
from tests.killing import environment
from tests.settlements import NOW, failure, first, page, place, queue, start
from tests.web import Site
from tests.web import page as html


async def test_p11_a_poison_page_is_found_and_set_aside(serve: Serve, crawl_file: Path) -> None:
    """A page whose processing ends the process: after ≤ 5 deaths it is a final failure `quarantined`, said by name, and
    every other page is in the file; nothing but a death asked for it again."""
    names = ["/poison", "/1", "/2", "/3", "/4", "/5", "/6"]  # the first, so that nothing is stored between two deaths
    web = await serve(Site({"/": html(*names), **{name: html() for name in names}}))
    said, code, deaths = b"", 99, 0
    while code == 99 and deaths <= 6:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "tests.poisoned", web.url(), str(crawl_file)],
            env=environment(), capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        code, said = done.returncode, done.stderr
        deaths += code == 99
    assert (code, deaths) == (0, 5)
    assert f"set aside, for the crawl died twice while it was alone in flight: {web.url('/poison')}" in said.decode()
    assert ask(crawl_file, "SELECT url, reason, retry_at FROM failures") == [(web.url("/poison"), "quarantined", None)]
    assert ask(crawl_file, "SELECT pages, queued FROM counts") == [(7, 0)]
    assert sum(r.path == "/poison" for r in web.requests) == 5


async def history(folder: Path, *runs: str) -> Begun:
    """What `begin` finds after these runs: 'died', 'stored' (a page, then died), 'ended', 'alone' (died alone with /x)
    'settled' (alone with /x, which was then stored) or 'retried' (alone with /x, which is to be tried again)."""
    seeds = place(), place("/x"), *(place(f"/{n}") for n in range(9))
    for run in (*runs, ""):
        async with SqliteStore(folder / "crawl.db") as store:
            begun: Begun = await start(store, *seeds)
            if run in ("alone", "settled", "retried"):
                await store.alone((await first(store, "/x")).id)
            if run == "stored":
                await store.commit([page((await queue(store))[-1])], now=NOW)
            if run == "settled":
                await store.commit([page(await first(store, "/x"))], now=NOW)
            if run == "retried":
                await store.commit([failure(await first(store, "/x"), due_at=NOW)], now=NOW)
            if run == "ended":
                await store.end("interrupted", now=NOW)
    return begun


HISTORIES: dict[str, tuple[tuple[str, ...], Any]] = {
    "nothing happened": ((), (0, False, 0)),
    "it ended well": (("ended", "ended", "ended"), (0, False, 0)),
    "two deaths": (("died", "died"), (2, False, 0)),
    "three deaths": (("died", "died", "died"), (3, False, 0)),
    "a commit before the first death": (("stored", "died", "died"), (3, False, 0)),
    "a commit between": (("died", "stored", "died"), (2, False, 0)),
    "a clean end between": (("died", "ended", "died"), (1, False, 0)),
    "alone once": (("died", "died", "died", "alone"), (4, True, 0)),
    "alone twice": (("died", "died", "died", "alone", "alone"), (5, True, 1)),
    "alone twice, not in a row": (("alone", "stored", "alone"), (2, True, 1)),
    "alone, and answered": (("retried", "retried"), (1, False, 0)),
    "alone, and then stored": (("alone", "settled", "died"), (2, False, 0)),
}


@pytest.mark.parametrize(("runs", "found"), HISTORIES.values(), ids=list(HISTORIES))
async def test_p11_only_deaths_with_no_commit_between_count(tmp_path: Path, runs: tuple[str, ...], found: Any) -> None:
    """(deaths in a row, whether the last one was alone with a URL, how many URLs two deaths were alone with)."""
    begun = await history(tmp_path, *runs)
    assert (begun.deaths, begun.died_alone, len(begun.suspects)) == found
    assert all(suspect.place == place("/x") for suspect in begun.suspects)
