"""How a crawl is asked to end: once for a clean stop, twice for an immediate one (FAULTS D5, D6)."""

from __future__ import annotations

from collections.abc import Callable

GRACE = 8.0  # seconds fetches in flight may take after the first ask


class Stop:
    """A way to ask a running crawl to end: `ask` once for a clean stop, twice to drop what is in flight."""

    def __init__(self) -> None:
        self.asked = 0
        self._hooks: list[Callable[[float], None]] = []

    def calls(self, hook: Callable[[float], None]) -> None:
        """``hook`` gets the grace in seconds at each ask; at once, if it was asked already."""
        self._hooks.append(hook)
        if self.asked:
            hook(0.0)

    def end(self, grace: float) -> None:
        """End what listens, without having been asked."""
        for hook in self._hooks:
            hook(grace)

    def silence(self) -> None:
        """Nobody listens any more; asks still count."""
        self._hooks.clear()

    def ask(self) -> bool:
        """Ask for the end; whether anybody listened."""
        self.asked += 1
        for hook in self._hooks:
            hook(GRACE if self.asked == 1 else 0.0)
        return bool(self._hooks)
