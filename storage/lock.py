"""One crawler a file: an advisory lock on a side file, told apart from SQLite's own locks.

POSIX locks vanish when any descriptor of the file is closed in the same process; `flock` on a file that nobody else
opens does not (FAULTS D8, D14).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from storage.store import StoreLocked, StoreUnreadable


class FileLock:
    """Holds ``path`` + '.lock' from `acquire` to `release`, or as a context; the kernel ends it with the process."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock now. Raises StoreLocked, naming the holder, or StoreUnreadable when the file cannot be made."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnreadable(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise StoreLocked(f"{self.path.with_suffix('')} is being crawled by process {pid}") from None
        self._fd = fd
        try:
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        except OSError as error:  # as on a full disk; a lock kept open would bar this process from the file for good
            self.release()
            raise StoreUnreadable(f"{self.path}: {error.strerror}") from None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder(path: Path) -> int | None:
    """The process that holds the file's lock, without touching the lock (Linux: /proc/locks; else the noted pid)."""
    side = path.with_name(path.name + ".lock")
    try:
        inode, text = os.stat(side).st_ino, side.read_text("ascii")
        pid = int(text)
    except (OSError, ValueError):
        return None
    try:
        locks = Path("/proc/locks").read_text("ascii")
    except OSError:
        return pid if _alive(pid) else None
    held = any(
        f[1] == "FLOCK" and f[5].rsplit(":", 1)[1] == str(inode)
        for f in map(str.split, locks.splitlines())
        if len(f) > 5
    )
    return pid if held else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
