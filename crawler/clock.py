"""Time, injected: rules and tests are told it, only this reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

_BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _running() -> int:
    """ns since some moment, the time in which the machine slept included."""
    return time.clock_gettime_ns(_BOOTTIME)


class Clock(Protocol):
    """Monotonic seconds for waiting; Unix milliseconds for what is stored."""

    def now(self) -> float: ...

    def wall(self) -> int: ...


class SystemClock:
    """The machine's clocks. The wall clock may be set while a crawl runs, and a year's jump would move every stored time
    (FAULTS X4): small corrections are followed, of a jump nothing is believed before the next run."""

    JUMP = 60_000  # ms

    def __init__(self, unix: Callable[[], int] = time.time_ns, running: Callable[[], int] = _running) -> None:
        self._unix, self._running = unix, running
        self._offset = unix() - running()  # ns

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        running, unix = self._running(), self._unix()
        if abs(unix - running - self._offset) <= self.JUMP * 1_000_000:
            self._offset = unix - running
        return (running + self._offset) // 1_000_000


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds, the unit of what is stored."""
    return round(seconds * 1000)
