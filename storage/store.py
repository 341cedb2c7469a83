"""The Store protocol: what the engine asks of a place that keeps a crawl. This docstring is the contract.

A store holds URLs, the visit state, pages and links. Its one durable word about a URL is ``due_at``: None is settled,
anything else is queued and not before that time. *In flight* is never written: a URL handed out by `due` is queued
until the `commit` that settles it. `tests/store_contract.py` holds every implementation to what is said here.

- `begin` opens a run. A seed is due at once, unless the store already knows what came of it. Nothing is ever deleted.
  With ``rescope`` the rules have changed: `Begun.rescope` says so, to every run until one has done it by `rescope`.
- `hosts` gives hosts that have something queued, longest-waiting first, without those in ``held`` and without those
  blocked beyond ``horizon``.
- `due` gives, for each host asked for, up to `each` URLs due by ``horizon``, in the order (priority, depth, id), without
  those in ``held``. What was visited before has a priority above 0 and says what it was (`Queued.before`): with
  ``revisits`` only URLs are given whose visit adds no page.
- `commit` makes a batch of settlements durable in ONE transaction: outcome, body, links, newly discovered URLs, the
  host's clock. It decides what is known and what is new; a lower depth, or fewer redirects in a row, found later is
  passed on along stored links, so that the result does not depend on the order of arrival. A redirect that follows
  ``budgets.redirects`` others admits nothing. It returns only when a power cut cannot undo it.
  It may raise `LeaseLost` when the hosts of the batch are no longer ours; the batch is then void.
- Every method may raise `StoreBlocked`: nothing was written then, and the same call may work later. It does so within
  a second or two, so that nobody who wants to leave waits for it.
- `pending` says what waits. `end` closes the run with its ending.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from storage.model import (
    BUDGETS,
    Begun,
    Budgets,
    Counts,
    HostRow,
    JsonObject,
    LinkRow,
    Pending,
    Place,
    Queued,
    Settlement,
    Tally,
)


class StoreError(Exception):
    """The store could not be read or written; the message names the file and says what to do."""


class StoreLocked(StoreError):
    """Another process is crawling this file."""


class StoreUnreadable(StoreError):
    """Not a crawl file, damaged, of a newer version, or not permitted."""


class StoreBlocked(StoreError):
    """What keeps the store from being written may pass: nothing was written, and the same call may work later."""


class StoreBusy(StoreBlocked):
    """Another program holds the file's write lock."""


class StoreFull(StoreBlocked):
    """There is no room: a full disk, a quota, a limit on the size of files."""


class LeaseLost(StoreError):
    """The hosts of this batch now belong to another process."""


Judge = Callable[[Place], LinkRow]


class Store(Protocol):
    """See the module's docstring for what each method promises."""

    async def begin(
        self,
        *,
        now: int,
        version: str,
        spec: JsonObject,
        seeds: Sequence[Place],
        max_depth: int | None,
        budgets: Budgets = BUDGETS,
        rescope: bool = False,
    ) -> Begun: ...

    async def hosts(
        self, limit: int, *, horizon: int, held: Collection[int] = (), names: Collection[str] | None = None
    ) -> list[HostRow]:
        """With ``names``: exactly these hosts, whether something is queued or not, as far as they are known."""
        ...

    async def due(
        self, hosts: Collection[int], each: int, *, horizon: int, held: Collection[int] = (), revisits: bool = False
    ) -> list[Queued]: ...

    async def commit(self, batch: Sequence[Settlement], *, now: int, tally: Tally | None = None) -> None: ...

    async def alone(self, url_id: int | None) -> None:
        """Note, durably, the only URL in flight before it goes out; the commit that settles it takes the note back."""
        ...

    async def rescope(self, judge: Judge, *, now: int, links: bool = True) -> int:
        """Judge again what is queued but untried, or was refused by scope, depth, robots or limit; how many changed.

        ``links`` False: only what a sitemap named.
        """
        ...

    async def refuse(self, host_id: int, reason: str, detail: str, *, revisits: bool = True) -> int:
        """Refuse everything still queued on a host (a budget is used up); how many that were. What was visited before keeps
        its outcome and is only not asked again; not even that with ``revisits`` False."""
        ...

    async def postpone(self, hosts: Mapping[int, int], why: str) -> None:
        """Leave hosts alone until the times (Unix ms) given by their ids; ``why`` is for people."""
        ...

    async def record(
        self,
        changes: Sequence[JsonObject],
        *,
        now: int,
        spec: JsonObject,
        tally: Tally | None = None,
        rescope: bool = False,
    ) -> None:
        """Note, durably, what somebody has changed in the running crawl, a row each, and the settings in force from now on.
        ``rescope``: what is queued or was refused has to be judged again; if `rescope` does not come to it, the next run's."""
        ...

    async def counts(self) -> Counts: ...

    def room(self) -> int | None:
        """Bytes the store may still grow by before its disk is full; None: unknown."""
        ...

    def unfolded(self) -> int:
        """Bytes beside the store that are still to be folded into it (SQLite's write-ahead log); 0: nothing."""
        ...

    async def pending(self, *, now: int) -> Pending: ...

    async def revisit_at(self) -> int | None:
        """When the first of the queued URLs whose visit adds no page falls due (Unix ms); None: there is none."""
        ...

    async def end(self, ending: str, *, now: int, tally: Tally | None = None) -> None: ...
