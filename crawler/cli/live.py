"""What a person sees while a crawl runs: a picture that redraws on a terminal, plain lines elsewhere."""

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
    from rich.console import Console, RenderableType

    from crawler.progress import Snapshot

Show = Callable[["Snapshot"], None]
PLAIN_EVERY = 10.0  # seconds between two plain lines
DUMB = ("", "dumb", "unknown")  # terminals on which nothing can be drawn


@contextmanager
def view(progress: str) -> Iterator[Show | None]:
    """The function to call with each snapshot, or None. ``progress``: auto, plain or none."""
    if progress == "none":
        yield None
    elif progress == "auto" and sys.stderr.isatty() and os.environ.get("TERM", "") not in DUMB:
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

    console = Console(stderr=True, highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Picture(console, lambda picture: live.update(picture, refresh=True))


class Picture:
    """Draws each snapshot over the last one. A terminal that has changed its size has broken lines that were on it, or has
    put some into its history, and nobody knows which: all of them go there then, and the picture is begun anew."""

    def __init__(self, console: Console, draw: Callable[[RenderableType], None]) -> None:
        self._console = console
        self._draw = draw
        self._size = console.size

    def __call__(self, snapshot: Snapshot) -> None:
        from rich.console import Group
        from rich.control import Control

        from crawler.cli.frame import frame

        before, self._size = self._size, self._console.size
        width, height = self._size
        if self._size != before:
            self._console.file.write("\n" * height)
            self._console.control(Control.clear(), Control.home())
        self._draw(Group(*frame(snapshot, width - 1, height - 1)))


def lines(s: Snapshot) -> list[str]:
    """The crawl in three lines: what is done, what it does, how long it may take."""
    counts, load, stats = s.counts, s.load, s.stats
    eta = "unknown" if s.eta is None else duration(s.eta)
    return [
        f"{counts.pages:,} pages  {s.rate:.1f}/s  {counts.queued:,} queued"
        f"  {counts.failures:,} failed  {counts.skipped:,} skipped",
        f"{load.fetching} open on {load.hosts:,} hosts in hand  {stats.opened:,} connections, reused {stats.reused:,}x"
        f"  {stats.bytes / 1e6:,.1f} MB",
        f"bound by {s.bound_by}  ETA {eta} ({s.eta_reason})",
    ]
