"""Time, injected: rules and tests are told it, only this reads it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds for waiting; Unix milliseconds for what is stored."""

    def now(self) -> float: ...

    def wall(self) -> int: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns() // 1_000_000


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds, the unit of what is stored."""
    return round(seconds * 1000)
