"""How many file descriptors this process may have, and how large a pool they allow (FAULTS X1)."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from crawler.spec import CrawlSpec

RESERVED = 128  # not the pool's: the file with its WAL and readers, parse workers' pipes, look-ups, the log


def fitted(spec: CrawlSpec, note: Callable[[str], None] | None = None) -> CrawlSpec:
    """The spec with no more connections than descriptors allow; ``note`` hears of it when they had to be fewer.

    Raises this process's soft limit to the hard one first. Should they run out all the same, that is a fault of ours
    (`faults.LOCAL_ERRNOS`), for which no host and no URL is charged.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = allowed()
    if spec.connections <= room:
        return spec
    if note is not None:
        note(
            f"connections: {room} at once instead of {spec.connections}, for this process may have no more than "
            f"{_limit()} open files (ulimit -n)"
        )
    return replace(spec, connections=room)


def allowed() -> int:
    """How many connections may be open at once, idle ones among them."""
    return max(1, _limit() - RESERVED)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
