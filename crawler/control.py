"""Live control: another process changes a running crawl over the socket beside its file.

The crawl itself writes each change as a row, and answers when that is durable.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from crawler.channel import bound, ours, refused, socket_of
from crawler.engine import Engine
from crawler.listener import LONGEST, listening
from crawler.orders import LIVE, BadOrder, Order, decide, sentence
from crawler.spec import BadSpec
from storage.model import JsonObject
from storage.store import StoreError

REJUDGED = {"exclude", "max_pages_per_host"}  # settings after which what is stored has to be judged again


@asynccontextmanager
async def controlled(engine: Engine, file: Path, note: Callable[[str], None]) -> AsyncIterator[None]:
    """Listen while the block runs, which holds the file's lock; where that is not possible, ``note`` says why."""
    path = socket_of(file)
    try:
        sock = bound(path)
    except OSError as error:
        note(f"note: `crawler control` cannot reach this crawl: {path}: {error.strerror or error}")
        yield
        return
    control = Control(engine, note)
    try:
        async with listening(sock, control.answer, b"\n"):
            yield
    finally:
        with suppress(OSError):
            path.unlink()


class Control:
    """Answers requests to a running crawl."""

    def __init__(self, engine: Engine, note: Callable[[str], None]) -> None:
        self._engine = engine
        self._note = note

    async def answer(self, request: bytes | None, peer: socket.socket) -> bytes:
        if not ours(peer):
            return b""
        return json.dumps(await self._answer(request)).encode() + b"\n"

    async def _answer(self, request: bytes | None) -> JsonObject:
        if request is None:
            return refused(f"a request has {LONGEST:,} bytes at most")
        try:
            order = decide(json.loads(request), self._engine.spec, paused=bool(self._engine.frontier.held))
        except (BadOrder, BadSpec) as error:
            return refused(str(error))
        except (ValueError, RecursionError):
            return refused('a request is one line of JSON, such as {"do": "pause"}')
        if self._engine.stop.asked and order.do != "show":
            return refused("the crawl is stopping")
        try:
            return await self._obey(order)
        except StoreError as error:
            return refused(f"it holds for this run, but could not be written down: {error}")

    async def _obey(self, order: Order) -> JsonObject:
        """Take effect at once, then be written down, then answered."""
        engine = self._engine
        if order.settings:
            engine.change(order.settings)
        elif order.changes and order.do in ("pause", "resume"):
            engine.frontier.hold(f"by `crawler control`, since {self._time()}" if order.do == "pause" else "")
        said = [sentence(change) for change in order.changes]
        for text in said:
            self._note(f"control: {text}")
        if order.do == "stop":
            engine.stop.ask()
        if order.changes:
            await engine.record(order.changes, rescope=not REJUDGED.isdisjoint(order.settings))
        return {"ok": True, "said": said or ["nothing has changed"], "changes": order.changes, **self._facts(order)}

    def _time(self) -> str:
        return datetime.fromtimestamp(self._engine.clock.wall() / 1000, UTC).strftime("%H:%M:%S UTC")

    def _facts(self, order: Order) -> JsonObject:
        """How it stands now, for who asks for it; and what delay a host really has, which others have a say in."""
        engine = self._engine
        if order.do == "show":
            settings = {name: getattr(engine.spec, name) for name in (*LIVE, "host_delay", "exclude", "exclude_host")}
            return {"settings": settings, "progress": engine.snapshot().to_json()}
        host = engine.frontier.bench.hosts.get(order.host or "")
        if host is None:
            return {}
        return {
            "in_force": {"delay": host.delay, "crawl_delay": host.crawl_delay, "ip_delay": engine.spec.address_delay}
        }
