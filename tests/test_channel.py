"""The socket beside a running crawl: its owner's alone, on any path, and nothing that comes over it harms the crawl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from crawler import channel
from crawler.api import run_async
from crawler.channel import Nobody, socket_of
from storage.lock import FileLock
from storage.store import StoreUnreadable
from tests.commands import Hanging, cli, sh, until
from tests.conftest import Serve
from tests.controlled import WIDE, crawling, gaps, order
from tests.crawls import ask, asked, spec_of
from tests.web import Site, page


async def test_the_socket_is_its_owners(serve: Serve, crawl_file: Path) -> None:
    """Mode 0600; a peer of another user is hung up on even if the mode were changed."""
    web = await serve(Site({"/": Hanging()}))
    async with crawling(web, crawl_file):
        assert stat.S_IMODE(socket_of(crawl_file).stat().st_mode) == 0o600
    a, b = socket.socketpair()
    with a, b, pytest.MonkeyPatch.context() as patch:
        assert channel.ours(a)
        patch.setattr(channel, "TRUSTED", ())
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert not channel.ours(a)


async def test_a_path_longer_than_a_socket_address(serve: Serve, tmp_path: Path) -> None:
    """A folder of 200 characters: it works all the same; a name that cannot be shortened is said, and the crawl goes on."""
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    web = await serve(Site({"/": Hanging()}))
    async with crawling(web, folder / "crawl.db"):
        assert (await order(folder / "crawl.db", "show"))["ok"]
    notes: list[str] = []
    web = await serve(Site(WIDE))
    ending = await run_async(spec_of(web), tmp_path / ("y" * 120), note=notes.append)
    assert ending.counts.pages == 41
    assert any("cannot reach this crawl" in note for note in notes)
    with pytest.raises(Nobody, match="cannot be reached"):
        channel.ask(tmp_path / ("y" * 120), {"do": "show"})


async def test_a_file_in_the_way_is_not_touched(serve: Serve, crawl_file: Path) -> None:
    """Something called crawl.db.sock that is no socket stays as it is; the crawl says that it cannot be controlled."""
    socket_of(crawl_file).write_text("mine")
    notes: list[str] = []
    web = await serve(Site({"/": page()}))
    assert (await run_async(spec_of(web), crawl_file, note=notes.append)).state == "complete"
    assert "something is in the way that is no socket" in notes[0]
    assert socket_of(crawl_file).read_text() == "mine"


async def test_peers_that_hang_or_flood_do_no_harm(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 silent peers, 10 MB without a line's end, rubbish, and answers that nobody takes: the crawl ends complete, asked as
    fast as without, and is controlled again when the silent ones are hung up on."""
    monkeypatch.setattr("crawler.listener.PATIENCE", 0.3)
    web = await serve(Site(WIDE))
    silent = []
    async with crawling(web, crawl_file, delay=0.05) as task:
        await until(lambda: len(asked(web)) > 1)
        for _ in range(60):
            with contextlib.suppress(OSError):
                silent.append(socket.socket(socket.AF_UNIX))
                silent[-1].setblocking(False)
                silent[-1].connect(str(socket_of(crawl_file)))
        await asyncio.sleep(0.4)
        flood = await asyncio.open_unix_connection(socket_of(crawl_file))
        with contextlib.suppress(OSError):
            flood[1].write(b"x" * 10_000_000)
            assert b"65,536 bytes at most" in await flood[0].read()
        for rubbish in (b"\n", b"\xff\n", b"[" * 60_000 + b"\n", b"{}\n", b'{"do": "set", "settings": {"delay": {}}}\n'):
            reader, writer = await asyncio.open_unix_connection(socket_of(crawl_file))
            writer.write(rubbish)
            assert b'"ok": false' in await reader.read()
            writer.close()
        assert (await order(crawl_file, "show"))["ok"]
        assert (await asyncio.wait_for(task, 10)).state == "complete"
        flood[1].close()
    for sock in silent:
        sock.close()
    assert len(asked(web)) == 41
    assert max(gaps(web)) < 1.0


@pytest.mark.parametrize("command", [
    ("add", "{file}", "http://127.0.0.1/"), ("resume", "{file}"), ("crawl", "http://127.0.0.1:9/", "-o", "{file}"),
    ("purge", "{file}", "--host", "127.0.1.1", "--yes"), ("recrawl", "{file}"), ("retry", "{file}"),
    ("block", "{file}", "--where", "1"), ("rescope", "{file}", "--max-depth", "3")], ids=lambda c: c[0])
async def test_d8_who_writes_beside_a_crawl_is_refused(serve: Serve, crawl_file: Path, command: tuple[str, ...]) -> None:
    """Exit code 75, and the crawl goes on: only `control` changes a crawl that runs."""
    web = await serve(Site({"/": Hanging()}))
    async with crawling(web, crawl_file) as task:
        done = await cli(*(part.format(file=crawl_file) for part in command))
        assert done.code == 75
        assert "is being crawled by process" in done.err
        assert not task.done()


def test_without_a_file_and_with_wrong_words(tmp_path: Path) -> None:
    """Exit code 2, and a sentence that shows how."""
    assert sh("control", tmp_path / "none.db").code == 2
    (tmp_path / "crawl.db").touch()
    for words, said in ((("set",), "NAME=VALUE"), (("set", "delay"), "NAME=VALUE"), (("pause", "now"), "nothing more")):
        done = sh("control", tmp_path / "crawl.db", *words)
        assert (done.code, said in done.err) == (2, True)


async def test_a_host_in_the_store_waits_for_nobody(serve: Serve, crawl_file: Path) -> None:
    """`control set` is answered, durable and in force within 0.3 s of a crawl at work, start of the process apart."""
    web = await serve(*[Site(WIDE)] * 5)
    async with crawling(web, crawl_file, scope="any", delay=0.02):
        await until(lambda: len(asked(web)) > 3)
        took = []
        for n in range(5):
            at = time.monotonic()
            await order(crawl_file, "set", settings={"max_pages": 1000 + n})
            took.append(time.monotonic() - at)
        assert min(took) < 0.3
        assert ask(crawl_file, "SELECT count(*) FROM controls") == [(5,)]




@pytest.mark.parametrize(("stranger", "answer", "words"), [
    (True, b'{"ok": true, "said": ["done"]}\n', "another user's"), (False, b'{"ok": true, "sa', "hung up")])  # fmt: skip
def test_who_listens_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stranger: bool, answer: bytes, words: str
) -> None:
    """A socket that another user put beside the file is told nothing and not believed; half an answer is none."""
    file = tmp_path / "crawl.db"
    file.touch()
    if stranger:
        monkeypatch.setattr(channel, "TRUSTED", ())
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        monkeypatch.setattr(channel, "_owner", lambda _: os.getuid() + 2)
    heard = []

    def listen(sock: socket.socket) -> None:
        peer, _ = sock.accept()
        with peer:
            heard.append(peer.recv(1000))
            with contextlib.suppress(OSError):
                peer.sendall(answer)

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(socket_of(file)))
        sock.listen()
        listening = threading.Thread(target=listen, args=(sock,))
        listening.start()
        with pytest.raises(Nobody, match=words):
            channel.ask(file, {"do": "stop"})
        listening.join()
    assert bool(heard[0]) is not stranger


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """What it leads to keeps its content: in a folder that others can write to, it may be any file of ours."""
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "crawl.db.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreUnreadable, match=r"crawl\.db\.lock"):
        FileLock(tmp_path / "crawl.db").acquire()
    assert (tmp_path / "mine").read_text() == "precious"
