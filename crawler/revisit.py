"""Asking again: when. Pure; told the time.

Adaptive: after a visit that found no change a URL is left alone twice as long, after one that found a change half as long,
between two bounds (as Nutch's AdaptiveFetchSchedule and Heritrix's WaitEvaluators do it; that change rates differ by orders
of magnitude between pages: Cho & Garcia-Molina, TODS 28(4), 2003). How long is the URL's priority: 1 + k, where its
interval is 2^k times the shortest. So nothing more has to be stored, and of what is due the pages that change most go first.
"""

from __future__ import annotations

import re

from storage.model import Settlement, record

NEVER, ADAPTIVE = "never", "adaptive"
SHORTEST, LONGEST = "1d", "32d"  # what 'adaptive' means
LONGEST_TIME = 1_000 * 365.25 * 86_400.0  # s; times are Unix ms in 64 bits
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@record
class Policy:
    """The shortest and the longest time between two visits of a URL, in s; where they are equal, it is that."""

    shortest: float
    longest: float

    def after(self, priority: int, changed: bool | None) -> tuple[float, int]:
        """Seconds until the next visit, and the priority then. ``changed`` None: this was the first."""
        step = 0 if changed is None else priority - 1 + (-1 if changed else 1)
        while step > 0 and self.shortest * 2.0 ** (step - 1) >= self.longest:
            step -= 1
        step = max(step, 0)
        return min(self.shortest * 2.0**step, self.longest), 1 + step


def seconds(text: str) -> float:
    """A time as people write it: 90s, 15min, 6h, 7d, 2w. Raises ValueError, in words."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h|d|w)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time; write it like 90s, 15min, 6h, 7d or 2w")
    value = float(found[1]) * UNITS[found[2]]
    if value > LONGEST_TIME:
        raise ValueError(f"{text[:20]!r} is longer than 1,000 years")
    return value


def policy(text: str) -> Policy | None:
    """What a `revisit` setting says; None: nothing is asked again by itself. Raises ValueError, in words."""
    if text == NEVER:
        return None
    first, dots, last = (f"{SHORTEST}..{LONGEST}" if text == ADAPTIVE else text).partition("..")
    shortest = seconds(first)
    longest = seconds(last) if dots else shortest
    if not 1.0 <= shortest <= longest:
        raise ValueError(f"{text!r} must be 1 s at least, and the shorter time comes first")
    return Policy(shortest, longest)


def schedule(settled: Settlement, policy: Policy, priority: int, at: int) -> None:
    """Queue what has just been settled for its next visit. ``priority``: as it was queued; ``at``: Unix ms.

    A sitemap is what new pages are found by: it is asked for at the shortest interval, whatever it said.
    """
    if settled.due_at is not None or settled.outcome == "skipped" or settled.page is not None:
        return
    changed = None if settled.role is not None else _changed(settled)
    wait, settled.priority = policy.after(priority, changed)
    settled.due_at, settled.attempts = at + round(wait * 1000), 0


def _changed(settled: Settlement) -> bool | None:
    """Whether a visit found another page than the one before; None: there was none before."""
    if settled.before is None:
        return None
    if settled.outcome is None:  # 304
        return False
    return not settled.same if settled.outcome == "page" else settled.outcome != settled.before.outcome
