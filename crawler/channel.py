"""The socket beside a crawl file, over which a running crawl is controlled: where it is, who listens, who asks.

One JSON line in, one out. It is the owner's alone (mode 0600).
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crawler.listener import LONGEST

ROOM = 100  # bytes of a socket's name: 108 on Linux, 104 on macOS, the last is a NUL
TRUSTED = (0,)  # who may besides its owner: root could do anything anyway
WAIT = 60.0  # seconds for an answer


class Nobody(Exception):
    """No crawl answers; the message says what is the matter."""


def socket_of(file: Path) -> Path:
    """Where a crawl of this file listens."""
    return file.with_name(file.name + ".sock")


def bound(path: Path) -> socket.socket:
    """A socket that listens there. What a killed crawl left is removed: who holds the file's lock is the only one."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError("something is in the way that is no socket")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            os.fchmod(sock.fileno(), 0o600)  # the file is made with these permissions
        with _named(path) as name:
            sock.bind(name)
        os.chmod(path, 0o600)
        sock.listen(8)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _named(path: Path) -> Iterator[str]:
    """The path as it fits into a socket's address: a long one goes by way of a descriptor of its folder (Linux)."""
    if len(os.fsencode(path)) <= ROOM:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ours(peer: socket.socket, *others: int) -> bool:
    """Whether the process at the other end is this user's, root's or one of the ``others``' (user ids); where that cannot be
    asked, the mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (*TRUSTED, os.geteuid(), *others)


def _owner(file: Path) -> int:
    return file.stat().st_uid


def refused(why: str) -> dict[str, Any]:
    """The answer to what cannot be done."""
    return {"ok": False, "error": why}


def ask(file: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the crawl of a file, from another process; its answer. Raises Nobody, without words where nobody listens."""
    line = json.dumps(request).encode() + b"\n"
    if len(line) > LONGEST:
        return refused(f"a request has {LONGEST:,} bytes at most, this one {len(line):,}")
    try:
        with socket.socket(socket.AF_UNIX) as sock, _named(socket_of(file)) as name:
            sock.settimeout(WAIT)
            sock.connect(name)
            if not ours(sock, _owner(file)):  # in a folder that others can write to, anybody can listen in its place
                raise Nobody(f"what listens at {socket_of(file)} is another user's, and is told nothing")
            sock.sendall(line)
            with sock.makefile("rb") as answers:
                answer = answers.readline()
    except TimeoutError:
        raise Nobody(
            f"the crawl of {file} has not answered within {WAIT:.0f} s; it may still do what it was asked"
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise Nobody("") from None
    except OSError as error:
        raise Nobody(f"the crawl of {file} cannot be reached: {error.strerror or error}") from None
    if not answer.endswith(b"\n"):
        raise Nobody(f"the crawl of {file} hung up: it has just ended, or is asked by too many at once")
    found: dict[str, Any] = json.loads(answer)
    return found
