"""Fetching: what the engine asks of a fetcher. `pool` is the one that speaks HTTP; tests put their own in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crawler.visit import Fault, Outcome, Visit


@dataclass(slots=True)
class Stats:
    """What a fetcher has done so far.

    ``requests`` that were sent, connections ``opened``, requests that ``reused`` one, ``bytes`` of bodies on the wire.
    """

    requests: int = 0
    opened: int = 0
    reused: int = 0
    bytes: int = 0


class ResolveError(Exception):
    """A host has no addresses we may dial: ``fault`` says why, ``text`` in words."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text


class Fetcher(Protocol):
    """Fetches visits.

    ``fetch`` gives an Outcome for whatever the web does and raises only CancelledError and our own bugs; it follows
    nothing. ``resolve`` gives the checked addresses of a host for a visit to be pinned to (none behind a proxy), or
    raises ResolveError. A host is a name or a literal, IPv6 with or without brackets.
    """

    @property
    def stats(self) -> Stats: ...

    async def fetch(self, visit: Visit) -> Outcome: ...

    async def resolve(self, host: str, port: int) -> tuple[str, ...]: ...
