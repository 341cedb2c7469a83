"""What runs inside worker processes: ``python -m crawler.parse.worker PARENT_PID [MODULE:FUNCTION ...]``, which forks them
for whoever asks (`crawler.parse.forkserver`).

Pages come framed on stdin, answers go framed to what was stdout. The kernel holds the limits of each page, so that no
supervision is needed: 2 s of CPU (SIGPROF), 10 s of wall time (SIGALRM), 1 GiB of address space. A breach ends the
process; the pool reads the reason from how it ended (FAULTS P1-P6).
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import orjson

from crawler.child import die_with
from crawler.parse import OUT_OF_MEMORY, BadExtractor, wire
from crawler.parse.forkserver import fork_on_demand
from crawler.parse.html import Headers, Packed, read
from crawler.parse.mime import sniff
from crawler.visit import Extract
from storage.links import Link, Links
from storage.text import to_json

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CPU = 2.0  # s of a page's CPU time
SITEMAP_CPU = 8.0  # s: 50 MiB may hold a million elements
WALL = 10.0  # s a page may take at all: an extractor that waits burns no CPU
MEMORY = 1 << 30  # bytes of address space
MAX_DATA = 256 << 10  # bytes of JSON a user's extractor may return
# Level 3 makes a page 2 % smaller and costs a fifth more (22 µs for 27 kB); so does a new one for each body. A table of 32 kB
# instead of 128 costs 0.2 % of a page's size, 3 % of a megabyte's, and leaves the caches to others: 2 % of what a page costs.
_compressor = zstd.ZstdCompressor(
    options={zstd.CompressionParameter.compression_level: 2, zstd.CompressionParameter.hash_log: 13}
)


class TooMuch(ValueError):
    """An extractor's findings are larger than a page's may be."""


Extractor = Callable[[Any, str], Mapping[str, Any]]


def load(name: str) -> Extractor:
    """The function called ``module:function``; with JSON after a blank: what it makes of that, which is one of ours and gives
    plain values of bounded size. Raises BadExtractor."""
    name, _, argument = name.partition(" ")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # a user's module may raise anything when imported
        raise BadExtractor(f"{name}: {_line(error)}") from error
    if not callable(found):
        raise BadExtractor(f"{name} is not a function")
    return found(json.loads(argument)) if argument else partial(_plain, found)


def pack(body: bytes) -> Packed:
    """SHA-256, codec ('zstd', or 'raw' where that is no smaller) and the body so packed."""
    digest = hashlib.sha256(body).digest()
    packed = _compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME)
    return (digest, "zstd", packed) if len(packed) < len(body) else (digest, "raw", body)


def work(
    body: bytes,
    url: str,
    content_type: str | None,
    headers: Headers,
    *,
    extractors: Sequence[Extractor] = (),
    parse: bool = True,
    sitemap: bool = False,
) -> Extract:
    """All that is done to one page. ``parse`` False: digest and pack only. Raises MemoryError."""
    if sitemap:
        return survey(body, url) if parse else keep(body, content_type, "")
    packed = pack(body)
    if not parse:
        digest, codec, kept = packed
        return Extract(mime=sniff(content_type, body), size=len(body), digest=digest, codec=codec, packed=kept)
    found, tree = read(body, url, content_type, headers, packed)
    if not extractors:
        return found
    data, errors = dict(found.data), list[str]()
    for extractor in extractors:
        more, error = _ask(extractor, tree, url)
        data |= more
        errors += [error] if error else []
    return replace(found, parse="; ".join(errors) or None, data=data)


def survey(body: bytes, url: str) -> Extract:
    """A sitemap's URLs as links of kind 'sitemap', the text of each its lastmod; those to other sitemaps have rel 'index'.

    ``parse`` says why it is none. The body is neither packed nor kept: its links are all there is to it.
    """
    from crawler.parse.sitemap import parse  # many a worker never meets one

    found = parse(body, url)
    links = [Link(place, "sitemap", None, lastmod) for place, lastmod in found.urls]
    links += [Link(place, "sitemap", "index", lastmod) for place, lastmod in found.children]
    return Extract(
        links=Links.of(links),
        parse=found.refused and f"not a sitemap: {found.refused}",
        data={"urls": len(links)},
        dropped=found.dropped,
        truncated=found.truncated,
        digest=hashlib.sha256(body).digest(),
        size=len(body),
        packed=body,
    )


def keep(body: bytes, content_type: str | None, reason: str) -> Extract:
    """A page of which nothing but its raw body is kept, and why."""
    digest = hashlib.sha256(body).digest()
    return Extract(mime=sniff(content_type, body), parse=reason, size=len(body), digest=digest, packed=body)


def _ask(extractor: Extractor, tree: Any, url: str) -> tuple[Mapping[str, Any], str | None]:
    """What an extractor says of a page, or why it could not."""
    try:
        return extractor(tree, url), None
    except MemoryError:
        raise
    except TooMuch as error:
        return {}, f"error: {error}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function may raise anything; the page is kept
        return {}, f"error: {_line(error)}"


def _plain(extractor: Extractor, tree: Any, url: str) -> Mapping[str, Any]:
    """What JSON makes of a user's findings: the same inline and through the pipe."""
    data = dict(extractor(tree, url))
    text = json.dumps(data, allow_nan=False)
    orjson.dumps(orjson.loads(to_json(data)))  # raises for what is nested too deep for whoever reads it
    if len(text) > MAX_DATA:
        raise TooMuch(f"the extractor returned {len(text)} bytes of JSON, {MAX_DATA} are allowed")
    return json.loads(text)  # type: ignore[no-any-return]


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


# --- The process ---


def main() -> None:
    """Fork workers; each serves until its stdin ends. Leaves by `os._exit`, so that nothing of the server's is done twice."""
    gc.freeze()  # the imports never become garbage
    gc.set_threshold(20_000, 20, 20)  # a page makes some thousand objects, and hardly a cycle
    try:
        _confine(int(sys.argv[1]))
        _goes_first(900)  # with it would go all workers, and it is the largest
        fork_on_demand()
        _goes_first(1000)
        inbox, outbox = _take_streams()
        _serve(inbox, outbox, sys.argv[2:])
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - reported here, and by the exit status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _serve(inbox: BinaryIO, outbox: int, names: Sequence[str]) -> None:
    try:
        extractors = [load(name) for name in names]
    except BadExtractor as error:
        _write(outbox, wire.frame({"hello": None, "error": str(error)}, 0))
        return
    _write(outbox, wire.frame({"hello": os.getpid()}, 0))
    while head := inbox.read(8):
        header, binary = wire.lengths(head)
        request = orjson.loads(inbox.read(header))
        body = inbox.read(binary)
        sitemap = request["sitemap"]
        _arm(SITEMAP_CPU if sitemap else CPU, WALL)
        asked = extractors if request["extract"] else ()
        found = work(body, *request["page"], extractors=asked, parse=request["parse"], sitemap=sitemap)
        answer = wire.answer(found, wire.MAX_SITEMAP if sitemap else wire.MAX_ANSWER)
        _arm(0, 0)
        _write(outbox, answer)


def _arm(cpu: float, wall: float) -> None:
    """Set the kernel's timers, whose signals end the process by default; 0 disarms."""
    signal.setitimer(signal.ITIMER_PROF, cpu)
    signal.setitimer(signal.ITIMER_REAL, wall)


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


def _take_streams() -> tuple[BinaryIO, int]:
    """The pipes, out of reach of a user's `print`, `input` or child process: fd 0 reads nothing, fd 1 is stderr."""
    inbox, outbox = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return open(inbox, "rb", buffering=256 << 10), outbox


def _confine(parent: int) -> None:
    """Die with the parent, not before it: Ctrl-C reaches the whole group, but it is the parent's to decide. Nothing that
    whoever started the crawler has blocked or ignored, or closed, counts here."""
    try:
        os.fstat(2)
    except OSError:  # closed; the next descriptor would take its place
        os.open(os.devnull, os.O_WRONLY)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS enforces no RLIMIT_AS; there the end of stdin is all that tells of the parent
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        die_with(parent)


def _goes_first(score: int) -> None:
    """If memory runs out, the kernel ends the process with the highest score first: never the crawl (X2)."""
    if sys.platform == "linux":
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(score))


if __name__ == "__main__":
    main()
