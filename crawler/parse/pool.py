"""Killable processes that parse pages: a page may end its worker, never the crawl (DESIGN §6, FAULTS P1-P6).

Each worker has a few pages in its pipe and answers in order, so when one dies the page at the head is the culprit: it
is sent again with parsing switched off (the body is still digested and packed), the pages behind it as they were.
What parses is imported only where it parses: the crawler's own process need not wait for it before its first request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from crawler.parse import BadExtractor
from crawler.parse.forkserver import ForkServer
from crawler.parse.process import Job, Worker
from crawler.visit import Extract

if TYPE_CHECKING:
    from crawler.parse.worker import Extractor

MAX_STARTS = 5  # that fail in a row, at 0.2 s doubling: then workers cannot run here, and the crawl cannot go on
_MAX_DELAY = 5.0  # s between attempts to start a worker


class WorkerBroken(RuntimeError):
    """Parse workers do not start on this machine. A bug or a broken installation, not the web's doing."""


class ParsePool:
    """``workers`` processes (0: parse right here, for tests and debugging); each loads the ``extractors``, module:function.

    An async context manager: entering starts the workers, leaving kills them. With an extractor it waits until all have
    loaded it and raises BadExtractor; without one pages wait for the workers, and only `parse` may raise WorkerBroken.
    """

    def __init__(self, workers: int, *extractors: str) -> None:
        self.deaths = 0  # of workers, for whatever reason
        self._size, self._extractors = workers, extractors
        self._server = ForkServer(extractors)
        self._functions: Sequence[Extractor] = ()
        self._workers: list[Worker] = []
        self._waiting: deque[Job] = deque()
        self._starts: set[asyncio.Task[None]] = set()
        self._failed_starts = 0
        self._broken: Exception | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._ticked = 0.0

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers alive now; one that is yet to be forked has none."""
        return tuple(pid for w in self._workers if (pid := w.process.pid) is not None)

    @property
    def queued(self) -> int:
        """Pages handed in and not answered yet."""
        return len(self._waiting) + sum(len(w.jobs) for w in self._workers)

    async def __aenter__(self) -> ParsePool:
        self._closing = asyncio.Event()
        if self._size == 0:
            from crawler.parse.worker import load

            self._functions = [load(name) for name in self._extractors]
            return self
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._ticked = loop.time()
        self._tick()
        for _ in range(self._size):
            self._start_soon(0.0)
        try:
            await asyncio.sleep(0)  # they are begun now, whatever keeps the loop busy next
            if self._extractors:
                await self._ready
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill and reap all workers; pages not answered are cancelled. Idempotent."""
        self._closing.set()
        if self._watch is not None:
            self._watch.cancel()
        self._server.close()  # milliseconds; nothing was awaited so far, so no cancellation leaves a worker behind
        for job in [*self._waiting, *(job for worker in self._workers for job in worker.jobs)]:
            job.answer.cancel()
        self._waiting.clear()
        await asyncio.gather(*self._starts)
        for worker in self._workers:
            worker.close()
        await asyncio.gather(*(w.closed for w in self._workers))
        self._workers.clear()

    async def parse(
        self,
        body: bytes,
        url: str,
        content_type: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        *,
        sitemap: bool = False,
    ) -> Extract:
        """What the page holds, with its body digested and packed. Whatever the page does, it is an Extract.

        ``parse`` of it says what went wrong: 'timeout', 'memory', 'crash' or 'error: …'. May be cancelled at any time.
        Of a ``sitemap`` it is what `crawler.parse.worker.survey` says. Raises WorkerBroken when workers do not start.
        """
        if self._size == 0:
            return self._inline(body, url, content_type, headers, sitemap)
        if self._broken is not None:
            raise self._broken
        if self._closing.is_set():
            raise RuntimeError("the pool is closed")
        answer = asyncio.get_running_loop().create_future()
        job = Job((url, content_type, tuple(headers)), body, answer, sitemap=sitemap, extract=bool(self._extractors))
        self._waiting.append(job)
        self._feed()
        return await job.answer

    def _inline(
        self, body: bytes, url: str, content_type: str | None, headers: Sequence[tuple[str, str]], sitemap: bool
    ) -> Extract:
        from crawler.parse.worker import keep, work

        try:
            return work(body, url, content_type, headers, extractors=self._functions, sitemap=sitemap)
        except MemoryError:
            return keep(body, content_type, "memory")

    def _feed(self) -> None:
        """Give what waits to the workers with the least to do."""
        while self._waiting:
            worker = min((w for w in self._workers if w.takes), key=_load_of, default=None)
            if worker is None:
                return
            job = self._waiting.popleft()
            if not job.answer.done():  # else cancelled before it was sent
                worker.send(job)

    def _tick(self) -> None:
        """The backstop: once a second, kill what has sat on one page for too long."""
        loop = asyncio.get_running_loop()
        late = loop.time() - self._ticked > 5.0  # we were suspended, and the workers with us
        self._ticked = loop.time()
        for worker in self._workers:
            worker.check(forgive=late)
        self._watch = loop.call_later(1.0, self._tick)

    # --- what workers report (see process.Owner) ---

    def started(self, worker: Worker) -> None:
        self._failed_starts = 0
        if not self._ready.done() and sum(w.said_hello for w in self._workers) == self._size:
            self._ready.set_result(None)

    def answered(self) -> None:
        self._feed()

    def died(self, worker: Worker, status: int) -> None:
        """Settle the page at the head, put the others back in front, start another worker."""
        if self._closing.is_set():
            return
        self.deaths += 1
        self._workers.remove(worker)
        if worker.jobs:
            self._blame(worker.jobs, worker.fault(status))
        self._waiting.extendleft(reversed(worker.jobs))
        if worker.said_hello:
            self._start_soon(0.0)
        else:
            error = worker.refusal or WorkerBroken(f"a parse worker ended at start with status {status}")
            self._start_failed(worker, error)
        self._feed()

    def _blame(self, jobs: deque[Job], fault: str | None) -> None:
        """``fault`` None: the worker was killed by someone, which may not be the page's fault; it has one more try."""
        job = jobs[0]
        if fault is None and not job.killed:
            job.killed = True
        elif job.extract:
            job.extract, job.reason = False, fault or "crash"
        elif job.parse:
            job.parse, job.reason = False, fault or "crash"
        else:  # not even packing went well: do without
            from crawler.parse.worker import keep

            jobs.popleft()
            job.settle(keep(job.body, job.page[1], job.reason or "crash"))

    # --- starting ---

    def _start_soon(self, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._start(delay))
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    async def _start(self, delay: float) -> None:
        """Never cancelled: `aclose` cuts the delay short and awaits the rest, so no process escapes it."""
        if delay and await self._closed_within(delay):
            return
        if self._closing.is_set():
            return
        worker = Worker(self, self._failed_starts)
        try:
            ours = worker.spawn(self._server)
        except (OSError, MemoryError) as error:  # no descriptors, no memory: ours, and it may pass
            self._start_failed(worker, error)
            return
        self._workers.append(worker)
        await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)

    async def _closed_within(self, delay: float) -> bool:
        try:
            async with asyncio.timeout(delay):
                return await self._closing.wait()
        except TimeoutError:
            return False

    def _start_failed(self, worker: Worker, error: Exception) -> None:
        """Those that start at the same time fail for the same reason, and are one failure."""
        self._failed_starts = max(self._failed_starts, worker.failed_starts + 1)
        passing = isinstance(error, OSError) and self._ready.done()
        if isinstance(error, BadExtractor) or (self._failed_starts > MAX_STARTS and not passing):
            self._give_up(error)
        else:
            self._start_soon(min(0.1 * 2 ** min(self._failed_starts, 10), _MAX_DELAY))

    def _give_up(self, error: Exception) -> None:
        self._broken = error if isinstance(error, BadExtractor | WorkerBroken) else WorkerBroken(str(error))
        if not self._ready.done():
            self._ready.set_exception(self._broken)
            self._ready.exception()  # nobody need wait for it; `parse` says it, too
        for job in self._waiting:
            if not job.answer.done():
                job.answer.set_exception(self._broken)
        self._waiting.clear()


def _load_of(worker: Worker) -> int:
    return len(worker.jobs)
