"""The names of hosts in hand, looked up: many at once, so that dead names keep no other host waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from crawler.clock import Clock
from crawler.frontier.exclusions import Exclusions
from crawler.frontier.workbench import ADDRESS_FRESH, Host, Workbench
from storage.model import Place

UNKNOWN_FRESH = 5.0  # seconds until a name that could not be resolved is looked up again
AT_ONCE = 1024  # tasks, the resolver has its own threads; dead names hold theirs for 5 s (FAULTS X7)

Resolve = Callable[[Place], Awaitable[tuple[str, tuple[str, ...]] | None]]
"""Looks up a place's host: (address group, pinned addresses), or None when it cannot be resolved."""


class Lookups:
    """Takes what the workbench wants resolved. ``excluded`` gives the exclusions in force; ``done`` is called after each."""

    def __init__(
        self,
        bench: Workbench,
        resolve: Resolve,
        clock: Clock,
        excluded: Callable[[], Exclusions],
        done: Callable[[Host], None],
    ) -> None:
        self._bench = bench
        self._resolve = resolve
        self._clock = clock
        self._excluded = excluded
        self._done = done
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self) -> None:
        """Look up who waits for it."""
        while self._bench.unresolved and len(self._tasks) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._look_up(self._bench.unresolved.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look_up(self, host: Host) -> None:
        if not (host.errands or host.window or host.later):  # barred while it waited for its look-up
            host.resolving = False
            return
        place = host.errands[0].place if host.errands else (host.window or host.later)[0][-1].place
        found = await self._resolve(place)
        group, addresses = found or (f"?{host.name}", ())
        if why := self._excluded().refusal(host.name, addresses):
            self._bench.bar(host, why, self._clock.now())
        fresh = ADDRESS_FRESH if found else UNKNOWN_FRESH
        self._bench.resolved(host, group, addresses, self._clock.now(), fresh=fresh)
        self._done(host)
