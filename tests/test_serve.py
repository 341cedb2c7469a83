"""`crawler serve`: who may ask, what every answer carries, and that nothing from the web is ever markup."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from selectolax.lexbor import LexborHTMLParser

from crawler.web import guard
from crawler.web.app import VIEWS
from storage.questions import QUESTIONS
from tests.commands import running, sh
from tests.test_report import EVIL
from tests.test_upgrade import OLD, restored
from tests.viewing import view


def every(root: str) -> list[str]:
    """Each page of the view once, and some more."""
    url = quote(root, safe="")
    return [*sorted(VIEWS.keys() - {"/page", "/links"}), f"/page?url={url}evil", f"/links?way=in&url={url}gone",
            f"/page?url={url}never", "/page?url=javascript:1", "/pages?sort=-title", "/redirects?which=chains",
            f"/search?q={quote(EVIL)}", f"/pages?q={quote(EVIL)}&host={quote(EVIL)}", "/sql?sql=SELECT+*+FROM+links",
            f"/sql?sql={quote(EVIL)}", *(f"/sql?name={name}" for name in QUESTIONS)]  # fmt: skip


# --- who may ask


@pytest.mark.parametrize(("method", "headers", "status"), [
    ("GET", {}, None), ("HEAD", {}, None), ("GET", {"Host": "localhost:8330"}, None), ("GET", {"Host": "[::1]:8330"}, None),
    ("GET", {"Host": "LOCALHOST:8330"}, None),
    ("GET", {"Host": "evil.test:8330"}, 421), ("GET", {"Host": "127.0.0.1"}, 421), ("GET", {"Host": "127.0.0.1:80"}, 421),
    ("GET", {"Host": ""}, 421), ("GET", {"Host": "127.0.0.1:8330.evil.test"}, 421), ("GET", {"Host": "127.0.0.2:8330"}, 421),
    ("PUT", {}, 405), ("DELETE", {}, 405), ("OPTIONS", {}, 405),
    ("GET", {"Sec-Fetch-Site": "same-origin"}, None), ("GET", {"Sec-Fetch-Site": "none"}, None),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, None),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
    ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
    ("POST", {"Origin": "http://evil.test"}, 403), ("POST", {"Origin": "null"}, 403),
    ("POST", {"Origin": "https://127.0.0.1:8330"}, 403),
    ("POST", {"Origin": "http://127.0.0.1:8330"}, None), ("POST", {}, None),
])  # fmt: skip
def test_serve_lets_in_who_asks_for_this_machine(method: str, headers: dict[str, str], status: int | None) -> None:
    """The Host header names loopback and the port (no DNS rebinding); another site may link here and do nothing else."""
    no = guard.refusal(method, {"Host": "127.0.0.1:8330", **headers}, guard.authorities("127.0.0.1", 8330))
    assert (no and no[0]) == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "10.0.0.1", ""])
def test_serve_listens_on_loopback_only(known: tuple[Path, str], host: str) -> None:
    """Any other address is exit 2 and a sentence that says what to do."""
    done = sh("serve", known[0], "--host", host)
    assert (done.code, "loopback" in done.err, "ssh -L" in done.err) == (2, True, True)


def test_serve_refuses_what_it_cannot_show(tmp_path: Path, known: tuple[Path, str]) -> None:
    """No file, no crawl, a file of an older version, a port that is taken: exit 2 and a sentence."""
    (tmp_path / "text.db").write_text("no crawl" * 1000)
    old = restored(OLD[-1], tmp_path / "old.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, arguments in (("no such file", [tmp_path / "no.db"]), ("text.db", [tmp_path / "text.db"]),
                                 ("crawler resume", [old]), ("--port 0", [known[0], "--port", port])):  # fmt: skip
            done = sh("serve", *arguments)
            assert (done.code, words in done.err, "Traceback" in done.err) == (2, True, False), done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_says_where_and_ends_when_told(known: tuple[Path, str], number: signal.Signals) -> None:
    """The URL on stderr; Ctrl-C and SIGTERM end it with exit code 0 within two seconds, also while SQL runs."""
    async with running("serve", known[0], "--port", "0") as process:
        assert process.stderr
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        endless = quote("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n")
        async with aiohttp.ClientSession() as session:
            asked = asyncio.create_task(session.get(f"{found[0]}sql?sql={endless}"))
            async with session.get(found[0]) as answer:
                assert answer.status == 200
            process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), 2) == 0
            with suppress(aiohttp.ClientError):
                assert (await asked).status == 503


async def test_serve_is_not_troubled(known: tuple[Path, str]) -> None:
    """Who hangs up in the middle of a download, or speaks no HTTP, or names strange things, leaves no word on stderr."""
    many = "WITH+RECURSIVE+n(i)+AS+(SELECT+1+UNION+ALL+SELECT+i%2B1+FROM+n+LIMIT+300000)+SELECT+i,'0123456789012345678'+FROM+n"
    async with running("serve", known[0], "--port", "0") as process:
        assert process.stderr
        found = re.search(r":(\d+)/", (await asyncio.wait_for(process.stderr.readline(), 20)).decode())
        assert found
        for path in (f"/sql.csv?sql={many}", "/page?url=http://%00/", "/search?q=%ff%00%1b", "/sql?sql=%00", "\x16\x03"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{found[1]}\r\n\r\n".encode())
            assert (await reader.read(200)).startswith(b"HTTP/1.")
            writer.close()
        process.send_signal(signal.SIGTERM)
        assert await process.stderr.read() == b""


async def test_serve_every_answer_carries_the_policy(known: tuple[Path, str]) -> None:
    """Pages, errors, refusals, downloads, bodies and the static files: no inline script or style, nothing from elsewhere,
    no frame, no sniffing."""
    file, root = known
    async with view(file) as v:
        for path in [*every(root), "/none", "/pages?sort=evil", "/sql.csv?name=hosts", "/sql.json?name=none", "/static/script.js",
                     "/favicon.ico", "/static/none", "/static/..%2fapp.py",
                     f"/body?url={quote(root + 'evil', safe='')}"]:  # fmt: skip
            _, _, headers = await v.ask(path)
            assert {k: headers.get(k) for k in guard.HEADERS} == guard.HEADERS, path
        status, text, headers = await v.ask("/", Host="evil.test")
        assert (status, headers["Content-Security-Policy"]) == (421, guard.HEADERS["Content-Security-Policy"])
        assert root not in text
    policy = guard.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


# --- nothing from the web is markup


async def test_o3_nothing_of_a_page_runs(known: tuple[Path, str]) -> None:
    """Hostile titles, URLs, link texts, bodies and parameters, parsed back: one script, ours; no on*, no style, no javascript:,
    nothing that loads from elsewhere; a way out of the view is http(s) and carries no referrer."""
    file, root = known
    async with view(file) as v:
        for path in every(root):
            status, text, _ = await v.ask(path)
            assert status in (200, 400), (path, status)
            html = LexborHTMLParser(text)
            assert [s.attributes for s in html.css("script")] == [{"src": "/static/script.js", "defer": ""}], path
            assert html.css("img, iframe, object, embed, base, style, foreignObject, use, image") == [], path
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), path
            for node in html.css("*"):
                for name, value in node.attributes.items():
                    assert not name.startswith("on"), (path, name)
                    assert name not in ("style", "srcset", "xlink:href", "background", "ping"), (path, name)
                    if name in ("href", "src", "action") and not (value or "").startswith(("/", "#")):
                        assert (value or "").startswith(("http://", "https://")), (path, value)
                        assert "noreferrer" in (node.attributes["rel"] or "")


async def test_o3_a_stored_body_is_text(known: tuple[Path, str]) -> None:
    """A body is sent as text/plain, whatever it was, and as it was decoded."""
    file, root = known
    async with view(file) as v:
        status, text, headers = await v.ask(f"/body?url={quote(root + 'evil', safe='')}")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert text.startswith("<title>")
        assert (await v.ask(f"/body?url={quote(root + 'first', safe='')}"))[0] in (200, 404)
        assert (await v.ask("/body?url=http://never.test/"))[0] == 404


@pytest.mark.parametrize("path", [
    "/pages?after=[99999999999999999999,1]", '/pages?after=["%5Cud800",1]', "/broken?before=[1e400,1]", "/pages?q=%00",
    "/failures?after=[9999999999999999999999]", "/skipped?after=[%22%5Cudfff%22]"])  # fmt: skip
async def test_serve_answers_what_nobody_holds_with_words(known: tuple[Path, str], path: str) -> None:
    """Numbers and characters in an address that SQLite cannot hold: a page or a sentence, never 500."""
    async with view(known[0]) as v:
        assert (await v.ask(path))[0] in (200, 400)


async def test_serve_takes_forms_of_its_own(known: tuple[Path, str]) -> None:
    """What is no form of the view starts nothing."""
    async with view(known[0]) as v:
        status, text, _ = await v.ask("/index", "POST", **{"Content-Type": "multipart/form-data"})
        assert (status, "no form of this view" in text) == (400, True)
