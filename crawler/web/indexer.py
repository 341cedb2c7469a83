"""The crawl's index, made by `crawler index` as a process of its own when somebody asks: it writes, and this server does not."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from crawler.child import environment, python

KINDNESS = 10  # of the process, so that a crawl goes first


class Indexer:
    """At most one such process. ``told``: what is said of it, "" when none has run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self.told = ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        self._process = await asyncio.create_subprocess_exec(
            *python("crawler", "index", "--", str(self._path)),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )  # fmt: skip
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, KINDNESS)
        self.told = "The index is being brought up to date."
        self._watching = asyncio.create_task(self._watch(self._process))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        _, errors = await process.communicate()
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        self.told = "" if process.returncode == 0 else f"The index could not be made: {' '.join(last)}"

    async def close(self) -> None:
        """Break it off: it keeps what is done."""
        if self._process and self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()
        if self._watching:
            await self._watching
