"""One parse worker as the crawler sees it: a process, its pipe, and the pages in it in the order they were sent."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from crawler.parse import OUT_OF_MEMORY, BadExtractor, wire
from crawler.parse.forkserver import Forked, ForkServer
from crawler.visit import Extract

AHEAD = 8  # pages in a worker's pipe: it never waits for the loop, and a death repeats no more than seven
AHEAD_BYTES = 256 << 10  # beyond which one page at a time: nothing waits behind a large one
BACKSTOP = 12.0  # s for one page on the parent's clock; the kernel's 10 s in the worker come first
START = 30.0  # s until a new worker must have said hello
_JOIN = 64 << 10  # bytes up to which copying a body costs less than a second write
_SLICE = 128 << 10  # bytes handed to the transport at once
_TIMEOUTS = (-signal.SIGPROF, -signal.SIGALRM, -signal.SIGXCPU)


@dataclass(slots=True, eq=False)
class Job:
    """One page handed in. What costs a worker is left out then, and ``reason`` says why: first ``extract``, then ``parse``;
    what is left is packed. ``killed``: it lost a worker to a SIGKILL."""

    page: tuple[str, str | None, tuple[tuple[str, str], ...]]
    body: bytes
    answer: asyncio.Future[Extract]
    reason: str | None = None
    killed: bool = False
    sitemap: bool = False
    extract: bool = False
    parse: bool = True

    def request(self) -> bytes:
        header = {"page": self.page, "parse": self.parse, "extract": self.extract, "sitemap": self.sitemap}
        return wire.frame(header, len(self.body))

    def settle(self, extract: Extract) -> None:
        if not self.answer.done():  # else cancelled meanwhile
            self.answer.set_result(replace(extract, parse=self.reason) if self.reason else extract)


class Owner(Protocol):
    """Whom a worker reports to."""

    def started(self, worker: Worker) -> None: ...
    def answered(self) -> None: ...
    def died(self, worker: Worker, status: int) -> None: ...


class Worker(asyncio.BufferedProtocol):
    """Held from `spawn` until `closed` is done. ``status`` of `Owner.died` is that of `subprocess.Popen.returncode`.
    ``failed_starts``: in a row, before this one."""

    process: Forked
    _spare: socket.socket  # the pipe once more, for what is left in it when the transport has gone

    def __init__(self, owner: Owner, failed_starts: int = 0) -> None:
        self.failed_starts = failed_starts
        self.jobs: deque[Job] = deque()
        self.said_hello = False
        self.refusal: BadExtractor | OSError | None = None  # why it could not start
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._inbox = wire.Inbox()
        self._transport: asyncio.Transport | None = None
        self._outbox: deque[memoryview] = deque()
        self._full = False
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._since = self._clock()  # when the page at the head got there, or the process was started
        self._bytes = 0
        self._verdict: str | None = None  # why we killed it
        self._ooms = _oom_kills()

    def spawn(self, server: ForkServer) -> socket.socket:
        """Have the process forked; what is returned is our end of its pipe. Raises OSError."""
        ours, theirs = socket.socketpair()
        self._spare = ours.dup()
        try:
            self.process = server.fork(theirs)
        except BaseException:
            ours.close()
            self._spare.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours

    @property
    def takes(self) -> bool:
        """There is room for one more page."""
        return (
            self.said_hello
            and self._verdict is None
            and not (self._transport is None or self._transport.is_closing())
            and len(self.jobs) < AHEAD
            and (not self.jobs or self._bytes < AHEAD_BYTES)
        )

    def send(self, job: Job) -> None:
        assert self._transport is not None
        if not self.jobs:
            self._since = self._clock()
        self.jobs.append(job)
        self._bytes += len(job.body)
        if len(job.body) < _JOIN:
            self._outbox.append(memoryview(job.request() + job.body))
        else:
            self._outbox += (memoryview(job.request()), memoryview(job.body))
        self._write()

    def _write(self) -> None:
        """Hand on what the pipe takes, a slice at a time: the transport copies what it has to keep."""
        assert self._transport is not None
        while self._outbox and not self._full and not self._transport.is_closing():
            piece = self._outbox.popleft()
            if len(piece) > _SLICE:
                self._outbox.appendleft(piece[_SLICE:])
            self._transport.write(piece[:_SLICE])

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._write()

    def check(self, *, forgive: bool = False) -> None:
        """The backstop. ``forgive``: the clock ran while nobody did (a suspended process); start over."""
        now = self._clock()
        if forgive:
            self._since = now
        if self.said_hello and self.jobs and now - self._since > BACKSTOP:
            self._kill("timeout")
        elif not self.said_hello and now - self._since > START:
            self._kill("crash")

    def fault(self, status: int) -> str | None:
        """Why the page at the head ended the process: 'timeout', 'memory', 'crash'; None: someone killed it."""
        if self._verdict is not None:
            return self._verdict
        if status in _TIMEOUTS:
            return "timeout"
        if status == OUT_OF_MEMORY:
            return "memory"
        if status == -signal.SIGKILL:
            return "memory" if _oom_kills() > self._ooms and not self.process.orphaned else None
        return "crash"

    def close(self) -> None:
        """Drop the pipe; the process is expected to be dead."""
        if self._transport is not None:
            self._transport.abort()

    def _kill(self, verdict: str) -> None:
        self._verdict = verdict
        self.process.kill()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from asyncio's

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox.room() if self._verdict is None else memoryview(bytearray(65_536))

    def buffer_updated(self, nbytes: int) -> None:
        if self._verdict is not None:
            return
        most = max((len(job.body) for job in self.jobs), default=0)
        try:
            for header, binary in self._inbox.took(nbytes, most):
                self._receive(header, binary)
        except wire.BadFrame:
            self._kill("crash")
        self._owner.answered()

    def _drain(self) -> None:
        """Read what was answered before the end: a failed write closes the transport with answers still in the pipe.

        Without them the page at the head would be one that was answered, and an innocent blamed.
        """
        with self._spare as pipe:
            while self._verdict is None:
                try:
                    size = pipe.recv_into(self._inbox.room())
                except OSError:  # reset: the worker left pages unread
                    return
                if not size:
                    return
                self.buffer_updated(size)

    def _receive(self, header: bytes, binary: bytes) -> None:
        if not self.said_hello:
            self._greet(header)
            return
        if not self.jobs:
            raise wire.BadFrame("an answer nobody asked for")
        job = self.jobs[0]
        extract = wire.from_answer(header, binary, job.body)
        self.jobs.popleft()
        self._bytes -= len(job.body)
        self._since = self._clock()
        job.settle(extract)

    def _greet(self, header: bytes) -> None:
        hello: dict[str, Any] = json.loads(header)
        if "error" in hello:
            self.refusal = BadExtractor(hello["error"])
        else:
            self.said_hello = True
            self._owner.started(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.process.pid is not None:  # else the server says in a moment why there is none
            self.process.kill()  # without effect on one that is ending already
        status = self.process.wait()  # a millisecond: the kernel closes the pipe last but one
        self._drain()
        self.refusal = self.refusal or self.process.refusal
        self.closed.set_result(None)
        self._owner.died(self, status)


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot; 0 where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
