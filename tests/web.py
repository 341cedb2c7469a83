"""A known web on real sockets: what it answers is a table or a pure function, and what it was asked is on record.

    async with Web(Site({"/": page("/a", "/b"), "/a": 404, "/b": redirect("/")}, robots="User-agent: *")) as web:
        ...  # crawl web.url(); host K of Web(site, site, ...) is 127.0.1.K, all on one port
        assert [r.path for r in web.requests] == ["/robots.txt", "/", "/a", "/b"]

The generated web as a process of its own (prints its first address; SIGTERM ends it):

    python -m tests.web --hosts 20 --pages 5000 --port 0 --log FILE
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import ssl
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

HTML = (("Content-Type", "text/html; charset=utf-8"),)
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python does not name it


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived. ``at``: monotonic s of its arrival; header names are in lower case."""

    at: float
    host: str
    path: str
    headers: Mapping[str, str]
    port: int = 0
    method: str = "GET"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. ``raw``: these very bytes (or stream of bytes) instead of a response, then the connection ends."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = HTML
    raw: bytes | AsyncIterator[bytes] | None = None

    def encode(self, *, bodyless: bool = False) -> bytes:
        """The response on the wire; a Content-Length or Transfer-Encoding in ``headers`` is believed."""
        names = {name.lower() for name, _ in self.headers}
        lines = [f"HTTP/1.1 {self.status} Status", *(f"{name}: {value}" for name, value in self.headers)]
        if not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if bodyless else self.body)


Plain = str | bytes | int | tuple[Any, ...] | Answer
Handler = Callable[[Request], Plain | Awaitable[Plain]]


def answer_of(value: Plain) -> Answer:
    """A table's shorthand: HTML text, bytes, a status, or (status, body[, headers]) as an Answer."""
    if isinstance(value, Answer):
        return value
    if isinstance(value, int):
        return Answer(value)
    if isinstance(value, tuple):
        status, body, headers = (*value, {})[:3]
        merged = {"Content-Type": HTML[0][1], **dict(headers)}
        return Answer(status, body.encode() if isinstance(body, str) else body, tuple(merged.items()))
    return Answer(body=value.encode() if isinstance(value, str) else value)


def redirect(target: str, status: int = 301) -> Answer:
    """A redirect to ``target``, sent as it stands."""
    return Answer(status, headers=(("Location", target),))


def page(*hrefs: str, title: str = "A page") -> str:
    """A small HTML page with these links."""
    links = "".join(f'<p><a href="{href}">{number}</a>' for number, href in enumerate(hrefs))
    return f"<!DOCTYPE html><title>{title}</title>{links}"


class Site(dict[str, Plain | Handler]):
    """A hand-written site: path → shorthand, Answer, or (async) function of the request. What is absent is a 404.

    To hold an answer back, give an async function that awaits an event.
    """

    def __init__(self, table: Mapping[str, Plain | Handler], robots: str | None = None) -> None:
        super().__init__(table)
        if robots is not None:
            self["/robots.txt"] = Answer(body=robots.encode(), headers=TEXT)

    def __call__(self, request: Request) -> Plain | Awaitable[Plain]:
        value = self.get(request.path, 404)
        return value(request) if callable(value) else value


# --- the generated web -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """What a crawl must make of a URL: its view, status or reason, SHA-256, least depth and edges (dst, kind)."""

    kind: str  # page, redirect, failure, skipped
    status: int | None = None
    reason: str | None = None
    digest: str | None = None
    depth: int = 0
    links: frozenset[tuple[str, str]] = frozenset()


WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
         "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company")


@dataclass(slots=True)
class Generated:
    """``pages`` pages over ``hosts`` hosts, each a pure function of (seed, host, n); only a 500-then-200 has a memory.

    A ternary tree on each host reaches every page; parents, random pages and other hosts are linked too, so that the
    web is full of cycles. About 1 % each: redirects, 500-then-200, links that leave the web; 2 % each: 404s and links
    into /private/, which robots.txt forbids.
    """

    seed: int = 1
    hosts: int = 8
    pages: int = 400
    words: int = 60
    failed: set[tuple[str, str]] = field(default_factory=set)

    def __call__(self, request: Request) -> Answer:
        host, path = int(request.host.rpartition(".")[2]), request.path
        if path == "/robots.txt":
            return Answer(body=b"User-agent: *\nDisallow: /private/\n", headers=TEXT)
        kind, number = self._named(path)
        if kind == "r" and number is not None:
            return redirect(self.path(self._goal(host, number)), 301)
        if kind == "flaky" and (request.host, path) not in self.failed:
            self.failed.add((request.host, path))
            return Answer(500, b"once")
        if kind in ("flaky", "private") and number is not None:
            return Answer(body=self._body(host, f"{kind} {number}", ["/", self.path(number)]))
        if kind == "p" and number is not None and number < self.size:
            hrefs = [self._href(host, *link, request.port) for link in self._links(host, number)]
            return Answer(body=self._body(host, f"page {number}", hrefs))
        return Answer(404, b"nothing here")

    @property
    def size(self) -> int:
        """Pages on each host."""
        return self.pages // self.hosts

    @staticmethod
    def path(number: int) -> str:
        return f"/p/{number}.html" if number else "/"

    @staticmethod
    def _named(path: str) -> tuple[str, int | None]:
        if path == "/":
            return "p", 0
        kind, _, name = path[1:].partition("/")
        digits = name.removesuffix(".html")
        return kind, int(digits) if digits.isdigit() else None

    def _rng(self, host: int, number: int) -> random.Random:
        return random.Random((self.seed * 1_009 + host) * 10_000_019 + number)

    def _goal(self, host: int, number: int) -> int:
        return (number * 7 + host) % self.size

    def _links(self, host: int, n: int) -> list[tuple[int, str, int]]:
        """(host or 0 for outside, path, form) of each link of page n; ``form`` chooses how the href is written."""
        rng = self._rng(host, n)
        found = [(host, self.path(child)) for child in range(3 * n + 1, 3 * n + 4) if child < self.size]
        found += [(host, self.path(m)) for m in ((n - 1) // 3 if n else 0, rng.randrange(self.size))]
        found.append((rng.randrange(self.hosts) + 1, self.path(rng.randrange(self.size))))
        special = {1: (host, f"/flaky/{n}.html"), 2: (host, f"/r/{n}.html"), 4: (0, f"/outside/{n}.html")}
        special |= {3: (host, f"/missing/{n}.html"), 5: (host, f"/private/{n}.html"), 53: (host, f"/missing/{n}.html"),
                    55: (host, f"/private/{n}.html")}
        if n % 100 in special:
            found.append(special[n % 100])
        return [(*link, rng.randrange(3)) for link in found]

    @staticmethod
    def url(host: int, path: str, port: int) -> str:
        """The canonical URL of a path on host K; host 0 stands for one outside of the web."""
        return f"http://127.0.{1 if host else 2}.{host or 1}:{port}{path}"

    def _href(self, here: int, host: int, path: str, form: int, port: int) -> str:
        """The same as a page of host ``here`` writes it: absolute, without its scheme, or from the root if it can."""
        if form == 1:
            return self.url(host, path, port)[5:] + "#part"
        return path if form == 2 and here == host else self.url(host, path, port)

    def _body(self, host: int, title: str, hrefs: Iterable[str]) -> bytes:
        rng = random.Random(f"{self.seed} {host} {title}")
        links = "".join(f'<li><a href="{href}">{rng.choice(WORDS)}</a>\n' for href in hrefs)
        text = " ".join(rng.choices(WORDS, k=self.words))
        return f"<!DOCTYPE html>\n<title>{title} of host {host}</title>\n<ul>\n{links}</ul>\n<p>{text}\n".encode()

    # the truth

    def seeds(self, port: int) -> list[str]:
        """The root of each host: with all of them as seeds the scope `host` holds the whole web."""
        return [f"http://127.0.1.{host}:{port}/" for host in range(1, self.hosts + 1)]

    def expected(self, port: int) -> dict[str, Expected]:
        """Every URL a crawl from `seeds` must have met, and what must have come of it; a breadth-first walk."""
        found: dict[str, Expected] = {}
        line = deque((0, host, "/") for host in range(1, self.hosts + 1))
        while line:
            depth, host, path = line.popleft()
            url = self.url(host, path, port)
            if url in found:
                continue
            kind, number = self._named(path)
            found[url] = self._truth(host, kind, number or 0, depth, port)
            if kind == "r":
                line.appendleft((depth, host, self.path(self._goal(host, number or 0))))
            elif found[url].kind == "page":
                line.extend((depth + 1, *target) for target in self._targets(host, kind, number or 0))
        return found

    def _targets(self, host: int, kind: str, number: int) -> list[tuple[int, str]]:
        if kind == "p":
            return [(to, path) for to, path, _ in self._links(host, number)]
        return [(host, "/"), (host, self.path(number))]

    def _truth(self, host: int, kind: str, number: int, depth: int, port: int) -> Expected:
        if host == 0 or kind == "private":
            return Expected("skipped", reason="robots" if host else "scope", depth=depth)
        if kind == "missing":
            return Expected("failure", 404, "http_404", depth=depth)
        if kind == "r":
            goal = self.url(host, self.path(self._goal(host, number)), port)
            return Expected("redirect", 301, depth=depth, links=frozenset({(goal, "redirect")}))
        path = f"/flaky/{number}.html" if kind == "flaky" else self.path(number)
        name = f"127.0.1.{host}"
        self_again = Generated(self.seed, self.hosts, self.pages, self.words, {(name, path)})
        body = self_again(Request(0, name, path, {}, port)).body
        links = {(self.url(to, where, port), "a") for to, where in self._targets(host, kind, number)}
        return Expected("page", 200, None, hashlib.sha256(body).hexdigest(), depth, frozenset(links))


# --- the server --------------------------------------------------------------------------------------------------


class Web:
    """Serves handler K on 127.0.1.K, all on one port. ``requests`` (or the file ``log``) records each, in order.

    ``open`` and ``most`` count the requests being answered by host, now and at most; ``connections`` those accepted.
    """

    def __init__(
        self, *handlers: Handler, port: int = 0, log: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.handlers = handlers
        self.port = port
        self.tls = tls
        self.requests: list[Request] = []
        self.open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.connections = 0
        self._log_path = log
        self._log: TextIO | None = None
        self._servers: list[asyncio.Server] = []
        self.alive: set[asyncio.Transport] = set()

    def url(self, path: str = "/", host: int = 1) -> str:
        """The address of a path on host K."""
        return f"http{'s' if self.tls else ''}://127.0.1.{host}:{self.port}{path}"

    def expected(self) -> dict[str, Expected]:
        """The truth about a generated web."""
        generated = self.handlers[0]
        assert isinstance(generated, Generated)
        return generated.expected(self.port)

    async def __aenter__(self) -> Web:
        if self._log_path:
            self._log = self._log_path.open("a", buffering=1, encoding="utf-8")
        loop = asyncio.get_running_loop()
        for number, sock in enumerate(self._sockets()):
            handler = self.handlers[number]
            server = await loop.create_server(lambda h=handler: _Connection(self, h), sock=sock, backlog=1024,
                                              ssl=self.tls)
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for transport in list(self.alive):
            transport.abort()
        if self._log:
            self._log.close()
        await asyncio.sleep(0)  # lets each connection_lost run

    def _sockets(self) -> list[socket.socket]:
        for _ in range(50):
            sockets: list[socket.socket] = []
            wanted = self.port
            try:
                for number in range(1, len(self.handlers) + 1):
                    sock = socket.create_server((f"127.0.1.{number}", wanted), backlog=1024)
                    if sys.platform == "linux":
                        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                    sockets.append(sock)
                    wanted = wanted or sock.getsockname()[1]
            except OSError:
                for sock in sockets:
                    sock.close()
                if self.port:
                    raise
                continue
            self.port = wanted
            return sockets
        raise OSError("no port is free on all hosts")

    def record(self, request: Request) -> None:
        """Note a request, before anything is answered."""
        if self._log:
            self._log.write(f"{request.at:.6f}\t{request.host}\t{request.path}\t{json.dumps(request.headers)}\n")
        else:
            self.requests.append(request)


class _Connection(asyncio.BufferedProtocol):
    """One keep-alive connection; answers in order, one at a time.

    It is buffered for the sake of `get_buffer`, which comes before each read: there the kernel is asked when the data
    arrived. A busy event loop may look milliseconds later, and delays are judged by 1 % of 0.1 s.
    """

    transport: asyncio.Transport

    def __init__(self, web: Web, handler: Handler) -> None:
        self.web = web
        self.handler = handler
        self.buffer = b""
        self.room = bytearray(65536)
        self.at = 0.0
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self.address, self.port = transport.get_extra_info("sockname")[:2]
        self.socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self.web.connections += 1
        self.web.alive.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.web.alive.discard(self.transport)
        self.socket.close()
        if self.task:
            self.task.cancel()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.at = arrival(self.socket)
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.buffer += self.room[:nbytes]
        self._serve(self.at)

    def _serve(self, at: float) -> None:
        while not self.task and b"\r\n\r\n" in self.buffer and not self.transport.is_closing():
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            request = self._request(at, head.decode("latin-1"))
            self.web.record(request)
            self.web.open[request.host] += 1
            self.web.most[request.host] = max(self.web.most[request.host], self.web.open[request.host])
            found = self.handler(request)
            if isinstance(found, Awaitable):
                self.task = asyncio.ensure_future(self._later(request, found))
            else:
                answer = answer_of(found)
                if isinstance(answer.raw, AsyncIterator):
                    self.task = asyncio.ensure_future(self._stream(request, answer.raw))
                else:
                    self._send(request, answer)
                    self.web.open[request.host] -= 1

    def _request(self, at: float, head: str) -> Request:
        first, *lines = head.split("\r\n")
        method, path, _ = (*first.split(" "), "", "")[:3]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Request(at, headers.get("host", self.address).partition(":")[0], path, headers, self.port, method)

    def _send(self, request: Request, answer: Answer) -> None:
        if isinstance(answer.raw, bytes):
            self.transport.write(answer.raw)
            self.transport.close()
        else:
            self.transport.write(answer.encode(bodyless=request.method == "HEAD" or answer.status in (204, 304)))

    async def _later(self, request: Request, found: Awaitable[Plain]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                answer = answer_of(await found)
                if isinstance(answer.raw, AsyncIterator):
                    await self._write(answer.raw)
                else:
                    self._send(request, answer)
            finally:
                self.web.open[request.host] -= 1
                self.task = None
        self._serve(time.monotonic())

    async def _stream(self, request: Request, chunks: AsyncIterator[bytes]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await self._write(chunks)
            finally:
                self.web.open[request.host] -= 1

    async def _write(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.transport.write(chunk)
        self.transport.close()


def arrival(sock: socket.socket) -> float:
    """When the data now waiting arrived, in monotonic s, by the kernel's stamp (socket(7), SO_TIMESTAMPNS) or now."""
    with contextlib.suppress(OSError):
        for _, kind, stamp in sock.recvmsg(1, 64, socket.MSG_PEEK)[1]:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", stamp)
                return float(time.monotonic() - (time.time() - seconds - nanoseconds / 1e9))
    return time.monotonic()


def read_log(path: Path, port: int) -> list[Request]:
    """The requests of a log file, in order of arrival; a line still being written is left out."""
    whole = path.read_text("utf-8").split("\n")[:-1]
    rows = (line.split("\t") for line in whole)
    return [Request(float(at), host, where, json.loads(headers), port) for at, host, where, headers in rows]


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.web", description="Serve the generated web on loopback.")
    for name, default in (("hosts", 20), ("pages", 5000), ("port", 0), ("seed", 1), ("words", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    generated = Generated(options.seed, options.hosts, options.pages, options.words)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Web(*[generated] * options.hosts, port=options.port, log=options.log) as web:
        print(web.url(), flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_main())
