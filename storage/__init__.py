"""Where a crawl is kept: records, the Store protocol, and its SQLite implementation. Never imports `crawler`.

Names are loaded when first used, so that a command that reads no file does not load SQLite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.reader import Body, Reader, RunInfo, open_reader
    from storage.store import LeaseLost, Store, StoreError, StoreLocked, StoreUnreadable

_READER = ("Body", "Reader", "RunInfo", "open_reader")
_STORE = ("LeaseLost", "Store", "StoreError", "StoreLocked", "StoreUnreadable")
_HOME = dict.fromkeys(_READER, "storage.reader") | dict.fromkeys(_STORE, "storage.store")

__all__ = [
    "Body",
    "LeaseLost",
    "Reader",
    "RunInfo",
    "Store",
    "StoreError",
    "StoreLocked",
    "StoreUnreadable",
    "open_reader",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'storage' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
