"""A power cut at any moment (FAULTS D2): the store's own writes and syncs, recorded by strace, replayed up to a cut.

What was synced before the cut is on the disk. Of what was written after its file's last sync, any part may be: each write
is kept, lost, or torn in the middle of a sector, at random.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import long
from tests.killing import environment

CUTS = long(100, 500)
COMMITS = 14
WORKLOAD = f"""import asyncio, os, sys
from pathlib import Path
from storage import sqlite
from tests.settlements import NOW, link, page, place, queue, start
sqlite.PRAGMAS = sqlite.PRAGMAS.replace("wal_autocheckpoint = 16000", "wal_autocheckpoint = 40")
async def main():
    async with sqlite.SqliteStore(Path(sys.argv[1])) as store:
        await start(store, *(place(f"/{{n}}") for n in range({COMMITS})))
        for n, row in enumerate(await queue(store)):
            links = [link(f"/x{{n}}-{{i}}") for i in range(8)]
            await store.commit([page(row, *links, content=os.urandom(6000))], now=NOW)
            os.write(1, b"done")
        os._exit(0)
asyncio.run(main())"""
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)")
FILE = re.compile(r"\((\d+)<([^>]*)>")


@dataclass(frozen=True)
class Event:
    """``kind``: 'write', 'cut' (ftruncate), 'sync' or 'done' (a commit has returned)."""

    kind: str
    file: str = ""
    at: int = 0
    data: bytes = b""


def recorded(folder: Path) -> list[Event]:
    """What the workload did to its file and its write-ahead log, in order."""
    log = folder / "strace.txt"
    calls = "pwrite64,fsync,fdatasync,ftruncate,write"
    command = ["strace", "-f", "-y", "-xx", "-s", "100000", "-e", f"trace={calls}", "-o", str(log)]
    subprocess.run(
        [*command, sys.executable, "-c", WORKLOAD, str(folder / "crawl.db")],
        env=environment(), check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    events, waiting = list[Event](), dict[str, str]()
    for line in log.read_text("ascii").splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            waiting[pid] = line.removesuffix("<unfinished ...>")
            continue
        whole = waiting.pop(pid) + line.split("resumed>", 1)[1] if "resumed>" in line else line
        if event := _event(whole):
            events.append(event)
    return events


def _event(line: str) -> Event | None:
    call, found = CALL.match(line), FILE.search(line)
    if call is None or found is None or " = -1 " in line:
        return None
    name, path = call[1], bytes.fromhex(found[2].replace("\\x", "")).decode() if "\\x" in found[2] else found[2]
    if name == "write":
        return Event("done") if found[1] == "1" else None
    if not path.endswith(("crawl.db", "crawl.db-wal")):
        return None
    if name == "pwrite64":
        text, rest = line.split('"')[1:3]
        return Event("write", path, int(rest.split(",")[2].partition(")")[0]), bytes.fromhex(text.replace("\\x", "")))
    if name == "ftruncate":
        return Event("cut", path, int(line.rpartition(",")[2].partition(")")[0]))
    return Event("sync", path)


def after_power_cut(events: list[Event], rng: random.Random) -> dict[str, bytes]:
    """What the disk may hold when the power goes after these events."""
    synced = {event.file: n for n, event in enumerate(events) if event.kind == "sync"}
    files: dict[str, bytearray] = {}
    for n, event in enumerate(events):
        if event.kind not in ("write", "cut"):
            continue
        content = files.setdefault(event.file, bytearray())
        data, fate = event.data, 0.0 if n < synced.get(event.file, -1) else rng.random()
        if fate > 0.6:
            continue
        if event.kind == "cut":
            del content[event.at :]
            content.extend(bytes(event.at - len(content)))
            continue
        if fate > 0.4:
            data = data[: rng.randrange(0, len(data) + 1, 512)]
        content.extend(bytes(max(0, event.at - len(content))))
        content[event.at : event.at + len(data)] = data
    return {name: bytes(content) for name, content in files.items()}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    folder = tmp_path_factory.mktemp("power")
    if subprocess.run(["strace", "-o", folder / "try", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return recorded(folder)


def test_d2_the_recording_has_all_of_it(events: list[Event]) -> None:
    """Every commit syncs the write-ahead log before it returns, and there were checkpoints: the replay means something."""
    kinds = [(event.kind, event.file[-4:]) for event in events]
    assert kinds.count(("done", "")) == COMMITS
    assert kinds.count(("sync", "-wal")) >= COMMITS
    assert kinds.count(("sync", "l.db")) >= 2


def test_d2_no_power_cut_undoes_a_commit(events: list[Event], tmp_path: Path) -> None:
    """100 cuts (500 in the long form): integrity ok, every page whose commit had returned is there with its links."""
    rng = random.Random(2)
    first = next(n for n, event in enumerate(events) if event.kind == "done")
    for n in range(CUTS):
        at = rng.randrange(first, len(events) + 1)
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, content in after_power_cut(events[:at], rng).items():
            (folder / Path(name).name).write_bytes(content)
        done = sum(event.kind == "done" for event in events[:at])
        with closing(sqlite3.connect(folder / "crawl.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], at
            [(pages, links)] = db.execute("SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM links)")
            assert done <= pages <= done + 1, at
            assert links == 8 * pages, at
        shutil.rmtree(folder)
