"""A lane of daemon threads for calls that block and cannot be stopped, such as getaddrinfo (FAULTS X7, D7)."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class _Job(Generic[T]):
    """One call: its future belongs to the loop, ``call`` runs in a thread. ``late``: it holds a spare thread."""

    __slots__ = ("call", "future", "late", "timers")

    def __init__(self, call: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.call = call
        self.future = future
        self.late = False
        self.timers: list[asyncio.TimerHandle] = []


class Lane(Generic[T]):
    """Runs blocking calls in at most ``size`` threads, beside at most ``spare`` more for calls that hang.

    A call that runs longer than ``patience`` s no longer counts as one of the ``size``: another thread takes its place,
    so that calls which hang do not starve the rest. Threads are daemons: none delays the end of the process, which
    concurrent.futures would (its threads are joined at exit).
    """

    def __init__(self, size: int, *, spare: int = 0, patience: float = 0.5) -> None:
        self._size, self._spare, self._patience = size, spare, patience
        self._queue: SimpleQueue[_Job[T] | None] = SimpleQueue()  # None: look whether someone may go
        self._goers: deque[None] = deque()  # one for each thread that is too many; whoever is free first takes it
        self._pending = 0  # jobs queued or running; this and the next two are touched by the loop's thread only
        self._threads = 0
        self._late = 0

    async def run(self, call: Callable[[], T], deadline: float) -> T:
        """The call's result, or its exception. TimeoutError when it runs longer than ``deadline`` s."""
        loop = asyncio.get_running_loop()
        job: _Job[T] = _Job(call, loop.create_future())
        self._pending += 1
        self._queue.put(job)
        self._staff(loop, deadline)
        return await job.future

    def close(self) -> None:
        """Lets idle threads go; a thread in a call goes when the call comes back."""
        for _ in range(self._threads):
            self._let_go()

    def _let_go(self) -> None:
        """One thread ends as soon as it is free, however many calls are queued."""
        self._threads -= 1
        self._goers.append(None)
        self._queue.put(None)

    def _may_go(self) -> bool:
        try:
            self._goers.pop()
        except IndexError:
            return False
        return True

    def _staff(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if self._threads < min(self._pending, self._size + self._late):
            self._threads += 1
            threading.Thread(target=self._work, args=(loop, deadline), name="resolver", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        try:
            while not self._may_go():
                job = self._queue.get()
                if job is None:
                    continue
                if not job.future.cancelled():
                    loop.call_soon_threadsafe(self._began, job, deadline)
                    loop.call_soon_threadsafe(self._ended, job, *_outcome(job.call))
                else:
                    loop.call_soon_threadsafe(self._ended, job, None, None)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _began(self, job: _Job[T], deadline: float) -> None:
        loop = job.future.get_loop()
        job.timers = [loop.call_later(deadline, _expire, job.future)]
        if self._late < self._spare:
            job.timers.append(loop.call_later(self._patience, self._overdue, job, deadline))

    def _overdue(self, job: _Job[T], deadline: float) -> None:
        if self._late < self._spare:
            job.late = True
            self._late += 1
            self._staff(job.future.get_loop(), deadline)

    def _ended(self, job: _Job[T], result: T | None, error: BaseException | None) -> None:
        self._pending -= 1
        for timer in job.timers:
            timer.cancel()
        self._late -= job.late
        if self._threads > self._size + self._late:
            self._let_go()
        if job.future.done():
            return
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)  # type: ignore[arg-type]  # no error, so the call returned a T


def _expire(future: asyncio.Future[T]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _outcome(call: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001  # handed to whoever awaits the call
        return None, error
