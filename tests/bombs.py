"""Pages made to kill parsers (FAULTS P1-P7), and extractors made to kill workers. Shared by several test files."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

_MIB = 1 << 20

BOMBS: Mapping[str, Callable[[], bytes]] = {
    "deep_div": lambda: b"<div>" * 200_000,
    "ul_li": lambda: b"<ul><li>" * 65_536,
    "formatting": lambda: b"<b><i>" * 10_000 + b"<p>" * 5_000,
    "formatting_attributes": lambda: b"".join(b"<b a=%d><p>" % n for n in range(8_000)),
    "attributes": lambda: b"<p " + b" ".join(b"a%d=1" % n for n in range(40_000)) + b">",
    "select_option": lambda: b"<select>" + b"<option><optgroup>" * 60_000,
    "tables": lambda: b"<table><tr><td>" * 60_000,
    "adoption": lambda: b"<a><p>" * 30_000 + b"</a>" * 30_000,
    "buttons": lambda: b"<button><p><font>" * 20_000,
    "svg_math": lambda: b"<svg><foreignObject><math><mi>" * 40_000,
    "links": lambda: b"".join(b"<a href=/%d>x</a>" % n for n in range(1_000_000)),
    "huge_attribute": lambda: b'<a href="/' + b"x" * (50 * _MIB) + b'">x</a>',
}
"""Twelve shapes. Some are answered in time by now; each must end within its limits and keep its page."""


def misbehave(tree: Any, url: str) -> dict[str, Any]:
    """An extractor that does what the last segment of the URL's path says."""
    what = url.partition("?")[0].rpartition("/")[2]
    deed: Callable[[str], dict[str, Any]] = _DEEDS.get(what, _fine)
    return deed(url)


def _fine(url: str) -> dict[str, Any]:
    return {"seen": url}


def _signal(number: int) -> Callable[[str], dict[str, Any]]:
    def deed(url: str) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        return {}

    return deed


def _spin(url: str) -> dict[str, Any]:
    while True:
        pass


def _sleep(url: str) -> dict[str, Any]:
    time.sleep(3600)
    return {}


def _eat(url: str) -> dict[str, Any]:
    kept = []
    while True:
        kept.append(bytes(256 << 20))  # zeroed by the kernel only when touched: no CPU is spent


def _print(url: str) -> dict[str, Any]:
    print("\x00\x00\x00\x01 this is no frame")
    sys.stdout.flush()
    os.write(1, b"nor is this")
    return {"stdin": sys.stdin.read()}


def _raise(url: str) -> dict[str, Any]:
    raise ValueError("no such\nprice")


def _exit(url: str) -> dict[str, Any]:
    sys.exit(3)


_DEEDS: Mapping[str, Callable[[str], Any]] = {
    "segv": _signal(signal.SIGSEGV),
    "abort": _signal(signal.SIGABRT),
    "kill": _signal(signal.SIGKILL),
    "spin": _spin,
    "sleep": _sleep,
    "eat": _eat,
    "print": _print,
    "raise": _raise,
    "exit": _exit,
    "nan": lambda url: {"price": float("nan")},
    "bytes": lambda url: {"raw": b"x"},
    "none": lambda url: None,
    "huge": lambda url: {"text": "x" * (300 << 10)},
    "deep": lambda url: {"list": json.loads("[" * 300 + "]" * 300)},
    "nested": lambda url: {"tree": {"a": [1, "é", None]}},
}
