"""Where parse workers come from: a process that has imported what they need, and forks one whenever it is asked.

That costs an interpreter 0.12 s of CPU at each start, a fork 2 ms, and all workers share what was imported, in the caches of
the processor, too. The server is exec'ed, never forked from the crawler, whose lock on its file a child would keep; it has
one thread. Both sides are here. A request is a byte with two descriptors: the worker's pipe, and where to say its pid and,
later, how it ended.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from crawler.child import die_with, environment, python

PATIENCE = 2.0  # s until a server that says nothing of a worker's end is taken for stuck
STUCK = 10.0  # s until one is that takes no request: it may be importing
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Else glibc may give back the memory of every page and fault it in again for the next: 50 faults, 0.2 ms of CPU a page,
# in one worker of three, by the chance of what lies at the end of its heap. The price: up to 16 MiB a worker stay its own.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
_NUMBER = struct.Struct("i")
_TAKEN = b"!"
_ANSWERS = sys.platform == "darwin"  # there, descriptors may not be closed before they have come (CPython's issue 14669)

# --- The crawler's side ---


class Forked:
    """A worker as `subprocess.Popen` would show it. ``told`` is where the server says its pid, or why there is none (a negative
    errno: ``refusal``), and its end. ``orphaned``: it ended because the server did, not by itself."""

    def __init__(self, server: subprocess.Popen[bytes], told: int) -> None:
        self.refusal: OSError | None = None
        self.orphaned = False
        self._server, self._told = server, told
        self._pid: int | None = None
        self._status: int | None = None
        self._ears = select.poll()
        self._ears.register(told, select.POLLIN)

    @property
    def pid(self) -> int | None:
        """None: not forked yet."""
        self._listen(0)
        return self._pid

    def kill(self) -> None:
        """SIGKILL, unless it has ended; to the server while nobody knows the worker."""
        if self._listen(0) is None:
            if self._pid is None:
                self._server.kill()
            else:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int:
        """How a worker ended that has ended or is about to, as `subprocess.Popen.returncode` says it."""
        status = self._listen(PATIENCE)
        if status is None:
            self._server.kill()
            status = self._end(self._orphaned())
        return status

    def _listen(self, within: float) -> int | None:
        """Hear what the server has to say within so many seconds; the status, once it is known."""
        while self._status is None and self._ears.poll(1000 * within):
            said = os.read(self._told, _NUMBER.size)
            if not said:
                self._end(self._orphaned())
                break
            (number,) = _NUMBER.unpack(said)
            if self._pid is not None:
                self._end(number)
            elif number > 0:
                self._pid = number
            else:
                self.refusal = OSError(-number, os.strerror(-number))
                self._end(-signal.SIGKILL)
        return self._status

    def _orphaned(self) -> int:
        """The status of one whose server has died: the kernel kills it then, if it was there already."""
        self.orphaned = True
        if self._pid is None:
            with suppress(subprocess.TimeoutExpired):
                return self._server.wait(0.2)
            return -signal.SIGKILL
        if sys.platform != "linux":
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)  # it is ours now where we are process 1, as in a container
        return -signal.SIGKILL

    def _end(self, status: int) -> int:
        os.close(self._told)
        self._status = status
        return status


class ForkServer:
    """Starts when it is first asked, and anew when it has died. Each worker loads the ``extractors``, module:function."""

    def __init__(self, extractors: Sequence[str]) -> None:
        self._extractors = extractors
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, pipe: socket.socket) -> Forked:
        """A worker at the other end of ``pipe``. Raises OSError.

        Call it in a thread that lives as long as the pool: the kernel takes a thread's end for the parent's death.
        """
        told, tell = os.pipe()
        try:
            if not self._asked(pipe, tell):
                self.close()
                self._start()
                self._asked(pipe, tell)  # if it has gone already, the pipe's end says so
            assert self._process is not None
            return Forked(self._process, told)
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell)

    def close(self) -> None:
        """End the server, and with it all workers: they are killed and reaped. Idempotent."""
        if self._process is None or self._control is None:
            return
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # a program that we are a part of may have forked, and hold it open
        self._control.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def _asked(self, pipe: socket.socket, tell: int) -> bool:
        if self._control is None:
            return False
        try:
            socket.send_fds(self._control, [b"+"], [pipe.fileno(), tell])
            return not _ANSWERS or self._control.recv(1) == _TAKEN
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = python("crawler.parse.worker", str(os.getpid()), *self._extractors)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # inherited: Ctrl-C must not meet a half-started server
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_ALLOCATOR | environment()
            )
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            theirs.close()
        ours.settimeout(STUCK)
        self._control = ours


# --- The server's side ---


def fork_on_demand() -> None:
    """Fork for whoever asks on stdin, and say how each ended. Returns in the workers, whose stdin and stdout are their pipe.

    When stdin ends so do they all, and the process.
    """
    control = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    telling: dict[int, int] = {}  # pid → where its end is to be said
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell(telling, os.WNOHANG)
        if control.fileno() in ready:
            asked, given, _, _ = socket.recv_fds(control, 1, 2)
            if not asked:
                break
            if _ANSWERS:
                control.send(_TAKEN)
            if len(given) != 2:  # we may have no more of them: that the ends are closed is answer enough
                for descriptor in given:
                    os.close(descriptor)
            elif not _fork(telling, *given):
                control.detach()
                return
    for pid in telling:
        os.kill(pid, signal.SIGKILL)
    _tell(telling, 0)
    os._exit(0)


def _fork(telling: dict[int, int], pipe: int, tell: int) -> bool:
    """True in the server, also where the kernel refuses."""
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        _say(tell, -(error.errno or errno.EAGAIN))
        os.close(tell)
        os.close(pipe)
        return True
    if pid:
        os.close(pipe)
        telling[pid] = tell
        _say(tell, pid)
        return True
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(pipe, 0)
    os.dup2(pipe, 1)
    os.closerange(3, max(pipe, tell, *telling.values()) + 1)  # an end that a sibling holds open is none
    die_with(server)
    return False


def _tell(telling: dict[int, int], how: int) -> None:
    """Reap what has ended (``how`` 0: all, when they have), and say so."""
    while telling:
        pid, status = os.waitpid(-1, how)
        if not pid:
            return
        tell = telling.pop(pid)
        _say(tell, os.waitstatus_to_exitcode(status))
        os.close(tell)


def _say(tell: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(tell, _NUMBER.pack(number))
