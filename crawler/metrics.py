"""A snapshot of a crawl as Prometheus reads it (text format 0.0.4), and the small server that gives it out.

Counters count from the run's begin and only grow; what may shrink is a gauge. Labels have a handful of values each: no host and
no URL is among them.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address

from crawler.listener import listening
from crawler.progress import Snapshot
from crawler.spec import VERSION, BadSpec

Publish = Callable[[Snapshot], None]
TYPE = "text/plain; version=0.0.4; charset=utf-8"
WHERE = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})", re.ASCII)


def exposition(s: Snapshot) -> str:
    """All of it as text."""
    lines = []
    for short, kind, text, values in metrics(s):
        name = f"poolcrawl_{short}"
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{label} {value}" for label, value in values.items()]
    return "\n".join(lines) + "\n"


def metrics(s: Snapshot) -> Iterator[tuple[str, str, str, Mapping[str, float]]]:
    """Name, type, meaning, and the value for each label."""
    yield "info", "gauge", "What crawls.", labelled("version", {VERSION: 1})
    for name, text, n in (
        ("requests", "Requests sent in this run.", s.stats.requests),
        ("requests_reused", "Of these, sent over a connection already open.", s.stats.reused),
        ("connections_opened", "Connections opened in this run.", s.stats.opened),
        ("received_bytes", "Bytes of bodies received on the wire in this run.", s.stats.bytes),
        ("visits", "URLs visited in this run and stored.", s.visits),
    ):
        yield f"{name}_total", "counter", text, {"": n}
    yield "answers_total", "counter", "Answers in this run by class of status.", labelled("class", s.answers)
    counts, load = s.counts, s.load
    urls = {
        "page": counts.pages, "redirect": counts.redirects, "failure": counts.failures, "skipped": counts.skipped,
        "queued": counts.queued,
    }  # fmt: skip
    yield "urls", "gauge", "URLs of the whole crawl by what came of them.", labelled("state", urls)
    hosts = {"ready": load.ready, "waiting": load.waiting, "busy": load.busy}
    yield (
        "hosts",
        "gauge",
        "Hosts in hand: may be asked, wait for their clock, are being asked.",
        labelled("state", hosts),
    )
    by = {s.bound_by.partition(":")[0]: 1}
    yield "bound", "gauge", "What more of would make the crawl faster now.", labelled("by", by)
    for name, text, value in (
        ("requests_open", "Requests sent and not yet answered.", load.fetching),
        ("parse_queue", "Pages that wait for a parse worker.", s.parsing),
        ("commit_queue", "Visits that wait for their commit.", s.backlog),
        ("paused", "1: nobody is asked now.", int(bool(load.paused))),
        ("run_seconds", "Seconds since the run began.", s.seconds),
        ("tasks", "Tasks of the event loop.", s.tasks),
    ):
        yield name, "gauge", text, {"": value}
    if s.eta is not None:
        yield "eta_seconds", "gauge", "Seconds for what is queued now; absent while nobody knows.", {"": s.eta}


def labelled(label: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f'{{{label}="{value}"}}': n for value, n in values.items()}


def where(text: str) -> tuple[str, int]:
    """Host and port of ``9400`` (then loopback), ``HOST:9400`` or ``[::1]:9400``. Raises BadSpec."""
    found = WHERE.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        raise BadSpec(f"metrics: {text!r} is neither a port, such as 9400, nor HOST:PORT")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


@asynccontextmanager
async def served(text: str, note: Callable[[str], None]) -> AsyncIterator[Publish]:
    """Serve what was published last at http://``text``/metrics while the block runs. Raises BadSpec where that cannot be."""
    host, port = where(text)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise BadSpec(f"metrics: {text}: {error.strerror or error}") from None
    sock.setblocking(False)
    latest: Snapshot | None = None
    ip, port = sock.getsockname()[:2]
    note(f"metrics: http://{f'[{ip}]' if ':' in ip else ip}:{port}/metrics" + _warning(ip))

    async def answer(request: bytes | None, _: socket.socket) -> bytes:
        return response(request, latest)

    def publish(snapshot: Snapshot) -> None:
        nonlocal latest
        latest = snapshot

    async with listening(sock, answer, b"\r\n\r\n"):
        yield publish


def _warning(ip: str) -> str:
    return "" if ip_address(ip).is_loopback else ", for everybody who can reach this machine"


def response(request: bytes | None, s: Snapshot | None) -> bytes:
    """The answer to the head of a request (RFC 9112)."""
    method, _, rest = (request or b"").partition(b"\r\n")[0].partition(b" ")
    path, status, body = rest.partition(b" ")[0].partition(b"?")[0], "200 OK", ""
    if method not in (b"GET", b"HEAD"):
        status = "405 Method Not Allowed" if request and rest else "400 Bad Request"
    elif path != b"/metrics":
        status = "404 Not Found"
    elif s is None:
        status = "503 Service Unavailable"  # the run has not begun
    else:
        body = exposition(s)
    body = body or f"{status}\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + ("" if method == b"HEAD" else body)).encode()
