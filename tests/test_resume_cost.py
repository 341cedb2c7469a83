"""What a resume costs does not depend on how much is queued (FAULTS D20); benchmarks/bounded.py writes ten million."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.bounded import HOSTS, write_queued
from crawler import api
from crawler.api import run_async
from crawler.clock import SystemClock
from crawler.engine import Stop
from crawler.frontier.supply import ROWS_IN_HAND
from storage.model import HostRow, Queued
from storage.sqlite import SqliteStore
from tests.conftest import Serve
from tests.crawls import spec_of
from tests.web import Request, Site, page

DELAY = 0.2
EVERY = 100  # instructions of SQLite's machine


class Counting(SqliteStore):
    """Counts what is read and what SQLite does for it."""

    rows = steps = 0

    async def open(self) -> None:
        await super().open()
        for connection in (self._db, self._reader):
            assert connection
            await connection.set_progress_handler(self.step, EVERY)

    @classmethod
    def step(cls) -> int:
        cls.steps += EVERY
        return 0

    async def hosts(self, *args: Any, **options: Any) -> list[HostRow]:
        return self._counted(await super().hosts(*args, **options))

    async def due(self, *args: Any, **options: Any) -> list[Queued]:
        return self._counted(await super().due(*args, **options))

    @classmethod
    def _counted(cls, found: list[Any]) -> list[Any]:
        cls.rows += len(found)
        return found


async def cost(serve: Serve, file: Path, queued: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, float]:
    """Until the first request after a resume: rows read, instructions of SQLite, seconds."""
    found: list[tuple[int, int, float]] = []
    stop, clock = Stop(), SystemClock()

    def answer(request: Request) -> str:
        found.append((Counting.rows, Counting.steps, clock.now() - began))
        if stop.asked == 0:
            stop.ask()
        return page()

    web = await serve(*[Site({"/robots.txt": answer})] * HOSTS)
    await write_queued(file, web, queued)
    monkeypatch.setattr(api, "SqliteStore", Counting)
    Counting.rows = Counting.steps = 0
    began = clock.now()
    spec = spec_of(web, *(web.url(host=host + 1) for host in range(HOSTS)), delay=DELAY, scope="any")
    await run_async(spec, file, stop=stop)
    return found[0]


async def test_d20_a_long_queue_is_resumed_as_fast_as_a_short_one(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 40,000 queued URLs the first request leaves within the host's delay + 5 s; until then at most 8,192 queued rows
    were read, and SQLite has done no more than 1.2 times what it does for 10,000."""
    few = await cost(serve, tmp_path / "few.db", 10_000, monkeypatch)
    many = await cost(serve, tmp_path / "many.db", 40_000, monkeypatch)
    assert many[0] <= ROWS_IN_HAND + HOSTS
    assert many[1] <= 1.2 * few[1]
    assert many[2] <= DELAY + 5.0
