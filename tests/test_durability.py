"""The crawl file among other programs: one writer, readers that harm nothing, endings, places where it cannot be (FAULTS D)."""

from __future__ import annotations

import ast
import asyncio
import ctypes
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import closing
from fcntl import ioctl
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from storage import StoreUnreadable, disk, open_reader
from storage import sqlite as store_module
from storage.sqlite import SqliteStore
from tests.conftest import Serve
from tests.crawls import ask
from tests.killing import environment
from tests.settlements import NOW, first, link, page, place, queue, start
from tests.test_floors import ROOT, modules
from tests.test_sqlite_store import whole_crawl
from tests.web import Request, Site
from tests.web import page as html

QUICK = ("--delay", "0", "--progress", "none", "--patience", "1")
WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "CREATE", "DROP", "VACUUM", "REPLACE", "ALTER")
LOCKED = """import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    db.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)"""

# --- one connection writes


async def test_d13_d16_one_connection_writes_and_its_transactions_are_immediate(crawl_file: Path) -> None:
    """Of the store's two connections one writes and checkpoints; each of its transactions is BEGIN IMMEDIATE, so no
    snapshot is ever upgraded. The other reads, and could not write."""
    said: dict[str, list[str]] = {"writer": [], "reader": []}
    async with SqliteStore(crawl_file) as store:
        assert store._db is not None
        assert store._reader is not None
        await store._db.set_trace_callback(said["writer"].append)
        await store._reader.set_trace_callback(said["reader"].append)
        await whole_crawl(store)
        await store.rescope(lambda target: link(target.path), now=NOW)
        await store.end("complete", now=NOW)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store._reader.execute("DELETE FROM url")
    begins = {sql for sql in said["writer"] if sql.startswith("BEGIN")}
    assert begins == {"BEGIN IMMEDIATE"}
    assert not [sql for sql in said["reader"] if sql.startswith(WRITES) and sql != "DELETE FROM url"]


def calls(module: str, *names: str) -> list[tuple[str, str]]:
    """(function around it, source) of each call of one of these names in a module."""
    source = modules()[module].read_text("utf-8")
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in names:
                    found.append((node.name, ast.unparse(call)))
    return found


def test_d13_every_other_connection_is_read_only() -> None:
    """The source knows a few places that open a file to write; all others say mode=ro, and so cannot checkpoint."""
    writing = {
        (module, function)
        for module in modules()
        for function, call in calls(module, "connect")
        if "sqlite" in call and "uri=True" not in call and ":memory:" not in call and "connect(''," not in call  # no file
    }
    index = {("storage.indexing", "_usable"), ("storage.indexing", "_create")}  # its own file, under its own lock
    alone = {("storage.purge", "purge"), ("storage.writing", "writing")}  # under the crawl's lock
    assert writing == {("storage.sqlite", "open"), ("storage.sqlite", "_prepare")} | alone | index


def test_d14_nothing_opens_the_file_but_sqlite() -> None:
    """Closing any descriptor of a file drops this process's POSIX locks on it, SQLite's among them: in `storage` only the
    lock file, the making of a new file and the schema are opened."""
    opening = {
        (module, function)
        for module in modules()
        if module.startswith("storage.")
        for function, _ in calls(module, "open", "read_text", "read_bytes", "write_text", "write_bytes", "copy", "copyfile")
    }
    allowed = {("lock", "acquire"), ("lock", "holder"), ("migrate", "create_file"), ("migrate", "_create"),
               ("migrate", "_changes"), ("verify", "definitions"), ("disk", "mounts"), ("sqlite", "__aenter__")}
    allowed |= {("index", "attach"), ("reader", "_look"), ("indexing", "_create")}  # the statements of this package
    allowed |= {("export.wacz", "_part")}  # a part of the ZIP that is being written
    allowed |= {("index", "wipe")}  # of the index, whose lock file is held: it is overwritten and unlinked, never the crawl's
    assert {(module.partition(".")[2], function) for module, function in opening} <= allowed


async def test_d14_sqlites_lock_survives_our_readers(crawl_file: Path) -> None:
    """While a commit is under way, readers in the same process come and go; another process still finds it locked."""
    async with SqliteStore(crawl_file) as store:
        await start(store)

        def work(db: sqlite3.Connection) -> str:
            db.execute("UPDATE url SET priority = 0")
            with open_reader(crawl_file) as reader:
                reader.counts()
            done = subprocess.run([sys.executable, "-c", LOCKED, crawl_file], capture_output=True, text=True, check=True)
            return done.stdout

        assert await store._transact(work) == "database is locked\n"


async def test_d16_four_readers_disturb_nobody(crawl_file: Path) -> None:
    """Four readers that never stop reading: every commit succeeds, none of them ever sees half of one or an error."""
    problems: list[object] = []
    reads, going = [0], True

    def read() -> None:
        while going:
            try:
                with open_reader(crawl_file) as reader:
                    reader.db.execute("BEGIN")
                    pages, links = reader.one("SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM links)") or ()
                    if links != 3 * pages or reader.counts().pages != pages:
                        problems.append((pages, links))
                reads[0] += 1
            except Exception as error:
                problems.append(error)

    async with SqliteStore(crawl_file) as store:
        await start(store, *(place(f"/{n}") for n in range(40)))
        threads = [Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for row in [row for row in await queue(store) if row.place.path[1:].isdigit()]:
            await store.commit([page(row, *(link(f"/x{row.id}-{n}") for n in range(3)))], now=NOW)
        going = False
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert problems == []
    assert reads[0] > 10


async def test_d15_the_log_shrinks_when_a_long_reader_has_left(crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that holds a snapshot lets the write-ahead log grow; after it has left, the next commits fold it in and cut
    it to its limit (64 MiB, here 1). Commits go on all the while."""
    assert "journal_size_limit = 67108864" in store_module.PRAGMAS
    small = store_module.PRAGMAS.replace("67108864", "1048576").replace("autocheckpoint = 16000", "autocheckpoint = 100")
    monkeypatch.setattr(store_module, "PRAGMAS", small)
    async with SqliteStore(crawl_file) as store:
        await start(store, *(place(f"/{n}") for n in range(30)))
        rows = [row for row in await queue(store) if row.place.path[1:].isdigit()]
        with open_reader(crawl_file) as reader:
            reader.db.execute("BEGIN")
            reader.counts()
            for row in rows[:20]:
                await store.commit([page(row, content=os.urandom(200_000))], now=NOW)
            assert store.unfolded() > 3 * 2**20
        for row in rows[20:24]:
            await store.commit([page(row, content=b"small")], now=NOW)
        assert store.unfolded() <= 2**20


# --- endings


async def test_d5_ctrl_c_on_a_terminal_is_clean(serve: Serve, crawl_file: Path) -> None:
    """Typed on a terminal, it reaches the parse workers too. From 100 ms after it no request comes; 130 within 8 s, no
    traceback, and resume finds what was queued."""
    web = await serve(Site({"/": html(*(f"/{n}" for n in range(500))), **{f"/{n}": html() for n in range(500)}}))
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)

    def terminal() -> None:
        os.setsid()
        ioctl(slave, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "crawler", "crawl", web.url(), "-o", crawl_file, "--delay", "0.02", "--progress", "none"]
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=environment(), stdin=slave, stdout=slave, stderr=slave, preexec_fn=terminal
    )
    os.close(slave)
    async with asyncio.timeout(20):
        while len(web.requests) < 20:
            await asyncio.sleep(0.01)
        os.write(master, b"\x03")
        typed = time.monotonic()
        code = await process.wait()
    assert code == 130
    assert time.monotonic() - typed < 8
    assert not [r for r in web.requests if r.at > typed + 0.1]
    said = os.read(master, 100_000).decode()
    os.close(master)
    assert "stopping" in said
    assert "Traceback" not in said
    [(pages, queued)] = ask(crawl_file, "SELECT pages, queued FROM counts")
    assert (pages > 5, pages + queued) == (True, 501)


async def test_d4_in_flight_is_never_written(serve: Serve, crawl_file: Path) -> None:
    """A URL whose answer is awaited is queued in the file; after kill -9 the next run asks for it within 2 s of starting,
    without any reset."""
    asked = asyncio.Event()

    async def hang(_: Request) -> str:
        asked.set()
        await asyncio.sleep(999)
        raise AssertionError

    site = Site({"/": html("/slow"), "/slow": hang})
    web = await serve(site)
    command = [sys.executable, "-m", "crawler", "crawl", web.url(), "-o", str(crawl_file), *QUICK]
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stderr=subprocess.DEVNULL)
    await asyncio.wait_for(asked.wait(), 10)
    assert ask(crawl_file, "SELECT count(*) FROM queue WHERE url LIKE '%/slow'") == [(1,)]
    process.send_signal(signal.SIGKILL)
    await process.wait()
    site["/slow"] = html()
    sent, began = len(web.requests), time.monotonic()
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stderr=subprocess.DEVNULL)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    assert web.requests[sent].at - began < 2 + 1  # of which Python's start on a busy machine is one
    assert ask(crawl_file, "SELECT pages, queued FROM counts") == [(2, 0)]


# --- places where a crawl file cannot be


def without_override() -> None:
    """Root, too, is to be told by the permission bits: CAP_DAC_OVERRIDE is dropped from what exec may give."""
    if os.geteuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP


def folder_closed(file: Path) -> None:
    file.parent.chmod(0o500)


def file_closed(file: Path) -> None:
    file.chmod(0o400)


@pytest.mark.parametrize("close", [folder_closed, file_closed])
async def test_d11_what_may_not_be_written_is_exit_2(
    serve: Serve, tmp_path: Path, close: Callable[[Path], None]
) -> None:
    """A folder or a file without the write permission: exit 2 with path and reason, 0 requests."""
    web = await serve(Site({"/": html("/a"), "/a": html()}))
    file = tmp_path / "closed" / "crawl.db"
    file.parent.mkdir()
    if close is file_closed:
        async with SqliteStore(file):
            pass
    close(file)
    command = [sys.executable, "-m", "crawler", "crawl", web.url(), "-o", file, *QUICK]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment(), capture_output=True, text=True, timeout=20, preexec_fn=without_override,
        check=False,
    )  # fmt: skip
    file.parent.chmod(0o700)
    assert (done.returncode, web.requests) == (2, [])
    assert str(file) in done.stderr
    assert "ermission denied" in done.stderr or "read-only" in done.stderr


MOUNTS = """/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
tmpfs /home/local tmpfs rw 0 0
me@host: /home/me/remote fuse.sshfs rw 0 0
"""
PLACES = {
    "/var/crawl": None,
    "/home/me/crawl": "nfs4",
    "/home/local/crawl": None,
    "/homework": None,
    "/mnt/my share/x": "cifs",
    "/home/me/remote": "fuse.sshfs",
}


@pytest.mark.parametrize(("folder", "kind"), PLACES.items())
def test_d19_network_file_systems_are_known(folder: str, kind: str | None) -> None:
    """By the type of the mount that is nearest above: NFS, SMB, sshfs and their like."""
    assert disk.network(Path(folder), MOUNTS) == kind


async def test_d19_a_network_file_system_is_refused(crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's write-ahead log needs memory shared between processes: a sentence that says so, and no file is made."""
    monkeypatch.setattr(disk, "mounts", lambda: f"server:/x {crawl_file.parent} nfs rw 0 0\n")
    with pytest.raises(StoreUnreadable, match="network file system"):
        await SqliteStore(crawl_file).open()
    assert list(crawl_file.parent.iterdir()) == []


async def test_d22_the_backup_of_operations_md_is_a_crawl(crawl_file: Path) -> None:
    """VACUUM INTO through a read-only connection, while the store is open: a whole crawl file that a run goes on with."""
    async with SqliteStore(crawl_file) as store:
        await start(store)
        await store.commit([page(await first(store), link("/x"))], now=NOW)
        backup = crawl_file.with_name("backup.db")
        with closing(sqlite3.connect(f"file:{crawl_file}?mode=ro", uri=True)) as db:
            db.execute("VACUUM INTO ?", (str(backup),))
    async with SqliteStore(backup) as store:
        begun: Any = await start(store)
        assert (begun.resumed, begun.counts.pages, begun.counts.queued) == (True, 1, 1)
        assert ROOT.is_dir()


async def test_d6_d7_closing_ends_though_it_is_cancelled(tmp_path: Path) -> None:
    """A second signal that comes while the store closes leaves no connection open, whose thread would hold the process, and
    the file's lock, for ever."""
    file = tmp_path / "crawl.db"
    store = SqliteStore(file)
    await store.open()
    await start(store)
    looking = asyncio.create_task(
        store._rows("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT count(*) FROM n")
    )
    await asyncio.sleep(0)
    closing_ = asyncio.create_task(store.close())
    for _ in range(2):
        await asyncio.sleep(0.01)
        closing_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_
    await looking
    async with asyncio.timeout(5):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
    async with SqliteStore(file):
        pass
