"""What a person sees while a crawl runs: a few lines that redraw on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crawler.cli.errors import say
from crawler.progress import duration

if TYPE_CHECKING:
    from crawler.progress import Snapshot
    from crawler.spec import CrawlSpec

Show = Callable[["Snapshot"], None]
PLAIN_EVERY = 10.0  # seconds between two plain lines


@contextmanager
def view(progress: str, spec: CrawlSpec) -> Iterator[Show | None]:
    """The function to call with each snapshot, or None. ``progress``: auto, plain or none."""
    if progress == "none":
        yield None
    elif progress == "auto" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _live() as show:
            yield show
    else:
        yield _plain()


def _plain() -> Show:
    last = time.monotonic()

    def show(snapshot: Snapshot) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            say("  ".join(lines(snapshot)))

    return show


@contextmanager
def _live() -> Iterator[Show]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda snapshot: live.update(Text("\n".join(lines(snapshot)), no_wrap=True, overflow="ellipsis"))


def lines(s: Snapshot) -> list[str]:
    """The crawl in three lines: what is done, what it does, how long it may take."""
    counts, load = s.counts, s.load
    eta = "unknown" if s.eta is None else duration(s.eta)
    return [
        f"{counts.pages:,} pages  {s.rate:.1f}/s  {counts.queued:,} queued"
        f"  {counts.failures:,} failed  {counts.skipped:,} skipped",
        f"{load.fetching} open on {load.hosts:,} hosts in hand  {s.connections:,} connections, reused {s.reused:,}x"
        f"  {s.bytes / 1e6:,.1f} MB",
        f"bound by {s.bound_by}  ETA {eta} ({s.eta_reason})",
    ]
