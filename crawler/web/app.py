"""The server: its addresses, and how a view is run: in a thread, with a reader of its own, for a bounded time."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import IO, TYPE_CHECKING, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from crawler.web import frame, guard
from crawler.web.asked import Asked, BadRequest, Elsewhere, View
from crawler.web.broken import broken, redirects
from crawler.web.hosts import hosts
from crawler.web.indexer import Indexer
from crawler.web.overview import overview
from crawler.web.page import body_text, links, page
from crawler.web.pages import pages
from crawler.web.search import search
from crawler.web.sheet import Sheet
from crawler.web.sql import refused, saved, sql
from crawler.web.urls import failures, skipped
from storage.reader import open_reader
from storage.store import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VIEWS: Mapping[str, View] = {
    "/": overview, "/pages": pages, "/page": page, "/links": links, "/hosts": hosts, "/failures": failures, "/broken": broken,
    "/redirects": redirects, "/skipped": skipped, "/search": search, "/sql": sql,
}  # fmt: skip
OURS, REPORTS = files("crawler.web") / "static", files("crawler.report")
STATIC = {"style.css": (OURS, "text/css"), "plots.css": (REPORTS, "text/css"), "script.js": (OURS, "text/javascript"),
          "icon.svg": (OURS, "image/svg+xml")}  # fmt: skip
SECONDS, SAVING = 10.0, 120.0  # that a page, and a download, may take
AT_ONCE, SLOW_AT_ONCE = 3, 2  # requests that read the file, and that run somebody's SQL, which may take long; the others wait
CATCH_UP = 0.1  # s that a request waits for what was fetched since to be read; that goes on beside it
LONGEST_LINE = 1 << 16  # of a request: SQL stands in the address
PIECE = 1 << 16  # bytes of a download that are sent at once


class Server:
    """The view of one crawl file while it is served."""

    def __init__(self, path: Path, ours: frozenset[str]) -> None:
        self._path, self._ours = path, ours
        self._sheet, self._indexer = Sheet(), Indexer(path)
        self._stop = Event()
        self._gate, self._slow_gate = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(SLOW_AT_ONCE)
        self._filling: asyncio.Task[None] | None = None

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded])
        app.on_response_prepare.append(_headed)
        app.router.add_routes([web.get(path, self._page(view)) for path, view in VIEWS.items()])
        app.router.add_routes([web.get("/static/{name}", _static), web.get("/favicon.ico", _icon)])
        app.router.add_routes([web.post("/index", self._index), web.get("/body", self._body)])
        app.router.add_routes([web.get(f"/sql.{form}", self._download(form)) for form in ("csv", "json")])
        return app

    async def close(self) -> None:
        """What runs is broken off."""
        self._stop.set()
        if self._filling:
            self._filling.cancel()
            with suppress(asyncio.CancelledError):
                await self._filling
        await self._indexer.close()
        self._sheet.close()

    # --- who may ask

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if no := guard.refusal(request.method, request.headers, self._ours):
            return _failed(no[0], "Not from there", no[1])
        try:
            return await handler(request)
        except Elsewhere as there:
            raise web.HTTPSeeOther(there.address) from None
        except BadRequest as error:
            return _failed(error.status, "This cannot be shown", str(error))
        except (StoreError, OSError) as error:
            return _failed(503, "The file cannot be read", str(error))
        except sqlite3.Error as error:
            no_time = refused(error)
            return _failed(no_time.status if no_time.status != 400 else 503, "The file cannot be asked", str(no_time))
        except web.HTTPNotFound:
            return _failed(404, "There is no such page", f"Nothing is at {request.path}.")

    # --- what is asked

    def _page(self, view: View) -> Handler:
        def shown(asked: Asked) -> tuple[int, str]:
            found = view(asked)
            return found.status, frame.document(found, asked)

        async def handle(request: web.Request) -> web.Response:
            await asyncio.wait({self.fill()}, timeout=CATCH_UP)
            status, html = await self._ask(request, shown, SECONDS)
            return web.Response(status=status, text=html, content_type="text/html")

        return handle

    async def _ask(self, request: web.Request, view: Callable[[Asked], T], seconds: float) -> T:
        def asked() -> T:
            with open_reader(self._path) as reader:
                return view(Asked(request.path, dict(request.query), reader, self._sheet, seconds,
                                  indexing=self._indexer.told, stopped=self._stop.is_set))  # fmt: skip

        async with self._slow_gate if request.path.startswith("/sql") else self._gate:
            return await asyncio.to_thread(asked)

    async def _body(self, request: web.Request) -> web.Response:
        text = await self._ask(request, body_text, SECONDS)
        return web.Response(text=text, content_type="text/plain", charset="utf-8")

    def _download(self, form: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            file = await self._ask(request, lambda asked: saved(asked, form), SAVING)
            return await _sent(request, file, form)

        return handle

    async def _index(self, request: web.Request) -> web.Response:
        try:
            back = str((await request.post()).get("back", ""))
        except (ValueError, LookupError):  # no form of ours
            return _failed(400, "This cannot be done", "This is no form of this view.")
        await self._indexer.start()
        raise web.HTTPSeeOther(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/search")

    # --- beside

    def fill(self) -> asyncio.Task[None]:
        """Reads what was fetched since; a request waits a little for it, and it goes on."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._filled())
        return self._filling

    async def _filled(self) -> None:
        def more() -> int:
            with open_reader(self._path) as reader:
                self._sheet.catch_up(reader, CATCH_UP)
            return self._sheet.missing

        with suppress(StoreError, sqlite3.Error):  # the next request says it
            while await asyncio.to_thread(more):
                pass


def _ours(record: logging.LogRecord) -> bool:
    """A bug of ours goes to stderr; what strangers send does not."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _headed(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in guard.HEADERS.items():
        response.headers.setdefault(name, value)


async def _static(request: web.Request) -> web.Response:
    return _file(request.match_info["name"])


async def _icon(_: web.Request) -> web.Response:
    """What a browser asks for by itself beside an answer that is no HTML."""
    return _file("icon.svg")


def _file(name: str) -> web.Response:
    if name not in STATIC:
        raise web.HTTPNotFound
    folder, kind = STATIC[name]
    return web.Response(text=folder.joinpath(name).read_text("utf-8"), content_type=kind, charset="utf-8")


def _failed(status: int, title: str, sentence: str) -> web.Response:
    return web.Response(status=status, text=frame.failed(title, sentence), content_type="text/html")


async def _sent(request: web.Request, file: IO[bytes], form: str) -> web.StreamResponse:
    """A file as a download."""
    name = "".join(c for c in request.query.get("name", "") if c.isascii() and (c.isalnum() or c == "-")) or "rows"
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}.{form}"'})
    response.content_type, response.charset = ("text/csv" if form == "csv" else "application/json"), "utf-8"
    with file, suppress(ConnectionError):  # nobody listens any more
        response.content_length = file.seek(0, io.SEEK_END)
        file.seek(0)
        await response.prepare(request)
        while piece := file.read(PIECE):
            await response.write(piece)
    return response


@asynccontextmanager
async def serving(path: Path, host: str, port: int) -> AsyncIterator[str]:
    """Serve the view of a crawl file until the end of the block; gives its URL. Raises OSError when the port is not free."""
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        port = listening.getsockname()[1]
        server = Server(path, guard.authorities(host, port))
        log = logging.getLogger("crawler.web")
        log.addFilter(_ours)
        runner = web.AppRunner(
            server.application(), access_log=None, logger=log, max_line_size=LONGEST_LINE, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            server.fill()
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        finally:
            await server.close()
            await runner.cleanup()
