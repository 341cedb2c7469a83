"""`crawler export` as WARC/1.1 and WACZ, read back by warcio and FastWARC, which know nothing of us."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import io
import json
import sqlite3
import stat
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import fastwarc
import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from storage import open_reader
from storage.export.captures import Captures, choose
from storage.export.surt import surt
from storage.export.wacz import WaczWriter
from storage.export.warc import About
from tests.commands import Done, sh
from tests.conftest import Serve
from tests.crawls import run
from tests.killing import environment
from tests.test_upgrade import OLD, restored
from tests.web import Answer, Site, Web, page, redirect

TEXT = page("/", title="Ünïcode") + "word " * 2_000
SQUEEZED = Answer(body=gzip.compress(TEXT.encode()),
                  headers=(("Content-Type", "text/html; charset=utf-8"), ("Content-Encoding", "gzip"), ("ETag", '"v1"')))
ODD = Answer(body=b"\x00odd bytes", headers=(("Content-Type", "text/html"), ("Content-Encoding", "compress")))


def site() -> Site:
    return Site({
        "/": page("/squeezed", "/copy", "/old", "/gone", "/odd", "/long", "/empty", title="Start"),
        "/squeezed": SQUEEZED, "/copy": page("/"), "/old": redirect("/twin"), "/twin": page("/"), "/odd": ODD,
        "/long": Answer(body=b"x" * 300_000, headers=(("Content-Type", "text/plain"),)), "/empty": "",
        "/gone": Answer(404, b"nothing here"),
    }, robots="User-agent: *\nDisallow: /private\n")


async def do(*arguments: object) -> Done:
    """`crawler` beside the loop of this test: it has one of its own."""
    return await asyncio.to_thread(sh, *arguments)


async def archived(serve: Serve, file: Path, target: Path, **options: Any) -> Web:
    web = await serve(site())
    await run(web, file, max_body=200_000, **options)
    done = await do("export", file, target)
    assert done.code == 0, done.err
    return web


def records(target: Path) -> list[Any]:
    """(type, URL, headers, HTTP headers, payload) of each record, as warcio reads them."""
    with target.open("rb") as stream:
        return [(r.rec_type, r.rec_headers.get_header("WARC-Target-URI"), dict(r.rec_headers.headers), r.http_headers,
                 r.content_stream().read()) for r in ArchiveIterator(stream, check_digests="raise")]


def of(found: list[Any], kind: str, url: str) -> Any:
    (one,) = [r for r in found if r[:2] == (kind, url)]
    return one


async def test_the_digests_hold(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """`warcio check` and FastWARC find no wrong digest, and as many records as there are; mode 0600."""
    target = tmp_path / "crawl.warc.gz"
    await archived(serve, crawl_file, target)
    assert Checker(type("Options", (), {"inputs": [str(target)], "verbose": False})).process_all() == 0
    count = 0
    for record in fastwarc.ArchiveIterator(io.BytesIO(target.read_bytes()), parse_http=False):
        assert record.verify_block_digest()
        record.parse_http()
        assert record.headers["WARC-Type"] != "response" or record.verify_payload_digest()
        count += 1
    assert count == len(records(target)) == 1 + 3 * 10
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_a_response_is_what_is_stored(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Decoded bodies do not say they are packed; a body that was not decoded does; what was cut or not kept says so."""
    target = tmp_path / "crawl.warc.gz"
    web = await archived(serve, crawl_file, target)
    found = records(target)
    _, _, fields, http, body = of(found, "response", web.url("/squeezed"))
    assert body == TEXT.encode()
    assert (http.get_header("Content-Encoding"), http.get_header("X-Crawler-Content-Encoding")) == (None, "gzip")
    assert http.get_header("Content-Length") == str(len(TEXT.encode()))
    assert http.get_header("X-Crawler-Content-Length") == str(len(SQUEEZED.body))
    assert fields["WARC-Payload-Digest"] == f"sha256:{hashlib.sha256(TEXT.encode()).hexdigest()}"
    assert (fields["WARC-IP-Address"], "WARC-Truncated" in fields) == ("127.0.1.1", False)
    http, body = of(found, "response", web.url("/odd"))[3:]
    assert (http.get_header("Content-Encoding"), body) == ("compress", ODD.body)
    fields, _, body = of(found, "response", web.url("/long"))[2:]
    assert (fields["WARC-Truncated"], body) == ("length", b"x" * 200_000)
    fields, http, body = of(found, "response", web.url("/gone"))[2:]
    assert (fields["WARC-Truncated"], http.get_statuscode(), body) == ("unspecified", "404", b"")
    assert of(found, "response", web.url("/old"))[3].get_header("Location") == "/twin"
    assert of(found, "response", web.url("/robots.txt"))[4].startswith(b"User-agent")


async def test_request_metadata_and_info(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """The request as it was sent, but for secrets; how the URL was found; who made the archive."""
    target = tmp_path / "crawl.warc"
    web = await archived(serve, crawl_file, target, contact="me@example.org", header=("Authorization: CANARY",))
    found = records(target)
    _, _, fields, http, _ = of(found, "request", web.url("/squeezed"))
    sent = next(r for r in web.requests if r.path == "/squeezed").headers
    assert {name.lower(): value for name, value in http.headers} == {k: v for k, v in sent.items() if k != "authorization"}
    assert fields["WARC-Concurrent-To"] == of(found, "response", web.url("/squeezed"))[2]["WARC-Record-ID"]
    assert b"CANARY" not in target.read_bytes()
    about = of(found, "metadata", web.url("/twin"))[4].decode()
    assert f"via: {web.url('/old')}\r\nhopsFromSeed: LR\r\n" in about
    assert b"hopsFromSeed: P" in of(found, "metadata", web.url("/robots.txt"))[4]
    kind, _, fields, _, info = found[0]
    assert (kind, fields["WARC-Filename"]) == ("warcinfo", "crawl.warc")
    assert b"operator: me@example.org\r\n" in info
    assert {r[2]["WARC-Warcinfo-ID"] for r in found[1:]} == {fields["WARC-Record-ID"]}


async def test_what_was_there_before_is_a_revisit(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """The same body again, and a 304, refer to the response that has it, which comes earlier in the archive."""
    web = await serve(site())
    await run(web, crawl_file)
    with closing(sqlite3.connect(crawl_file)) as db:  # as if /squeezed had been asked again, with its ETag
        db.execute("INSERT INTO fetch (url, run, at, outcome, status, elapsed_ms, attempt, wire_size) "
                   "SELECT id, 1, 1e12, 'page', 304, 1, 1, 0 FROM url WHERE path = '/squeezed'")
        db.commit()
    target = tmp_path / "crawl.warc.gz"
    assert "2 revisits" in (await do("export", crawl_file, target)).err
    found = records(target)
    for path, first, profile in (("/twin", "/copy", "identical-payload-digest"),
                                 ("/squeezed", "/squeezed", "server-not-modified")):
        _, _, fields, _, body = of(found, "revisit", web.url(path))
        original = of(found, "response", web.url(first))
        assert fields["WARC-Profile"] == f"http://netpreserve.org/warc/1.1/revisit/{profile}"
        assert [fields[f"WARC-{name}"] for name in ("Refers-To", "Refers-To-Target-URI", "Refers-To-Date", "Payload-Digest")] == [
            original[2][f"WARC-{name}"] for name in ("Record-ID", "Target-URI", "Date", "Payload-Digest")]
        assert (body, found.index(original) < [r[2] for r in found].index(fields)) == (b"", True)
    asked = [r for r in found if r[:2] == ("request", web.url("/squeezed"))][1]
    assert asked[3].get_header("If-None-Match") == '"v1"'


async def test_rows_choose_what_is_archived(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """--sql with a column `url`, or a ready-made question: these URLs and no others; the same export has the same ids."""
    web = await serve(site())
    await run(web, crawl_file)
    target = tmp_path / "some.warc.gz"
    for sql, paths in (("SELECT url FROM pages WHERE title = 'Start'", ["/"]),
                       ("not-parsed", ["/odd"]), ("SELECT url FROM skipped", [])):
        assert (await do("export", crawl_file, target, "--sql", sql, "--force")).code == 0
        assert [r[1] for r in records(target) if r[0] == "response"] == [web.url(path) for path in paths]
    done = await do("export", crawl_file, target, "--sql", "SELECT title FROM pages", "--force")
    assert (done.code, "no column `url`" in done.err) == (2, True)
    assert (await do("export", crawl_file, target, "--force")).code == 0
    assert (await do("export", crawl_file, tmp_path / "again.warc.gz")).code == 0
    ids = [[r[2]["WARC-Record-ID"] for r in records(path)] for path in (target, tmp_path / "again.warc.gz")]
    assert ids[0] == ids[1]


async def test_a_wacz_is_whole(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Nothing in it is compressed once more; sizes and hashes are those of the parts; each line of the index leads to a
    record of that URL; the pages are the HTML pages; the index is sorted."""
    target = tmp_path / "crawl.wacz"
    web = await archived(serve, crawl_file, target)
    with zipfile.ZipFile(target) as parts:
        assert {i.compress_type for i in parts.infolist()} == {zipfile.ZIP_STORED}
        package = parts.read("datapackage.json")
        resources = {r["path"]: r for r in json.loads(package)["resources"]}
        assert {*resources, "datapackage.json", "datapackage-digest.json"} == {*parts.namelist()}
        for path, said in resources.items():
            assert (said["bytes"], said["hash"]) == (len(parts.read(path)), digest(parts.read(path)))
        assert json.loads(parts.read("datapackage-digest.json"))["hash"] == digest(package)
        archive = parts.read("archive/data.warc.gz")
        lines = gzip.decompress(parts.read("indexes/index.cdx.gz")).decode().splitlines()
        (head, *pages) = [json.loads(line) for line in parts.read("pages/pages.jsonl").splitlines()]
        blocks = [json.loads(line.split(" ", 2)[2]) for line in parts.read("indexes/index.idx").decode().splitlines()]
    assert sum(block["length"] for block in blocks[1:]) == resources["indexes/index.cdx.gz"]["bytes"]
    assert len(lines) == 10
    assert lines == sorted(lines, key=lambda line: line.split(" ")[:2])
    for line in lines:
        key, _, entry = line.split(" ", 2)
        said = json.loads(entry)
        piece = archive[int(said["offset"]):][:int(said["length"])]
        (record,) = ArchiveIterator(io.BytesIO(piece))
        assert record.rec_headers.get_header("WARC-Target-URI") == said["url"]
        assert key == surt(said["url"])
    assert (head["format"], {p["url"] for p in pages}) == (
        "json-pages-1.0", {web.url(path) for path in ("/", "/squeezed", "/copy", "/twin", "/empty")})


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_wacz_that_is_broken_off_says_nothing_more(tmp_path: Path) -> None:
    """Ctrl-C in the midst of it: nothing is left that would still be written when the file is closed."""
    with open_reader(restored(OLD[0], tmp_path / "crawl.db")) as reader, io.BytesIO() as out:
        choose(reader, None)
        with pytest.raises(KeyboardInterrupt), WaczWriter(out, reader.db, About("1", "a", "b", "c", 0), lambda *_: {}) as writer:
            writer.put(next(iter(Captures(reader))))
            raise KeyboardInterrupt
    del writer
    gc.collect()


@pytest.mark.parametrize(("url", "key"), [  # as the Internet Archive's `surt` has them
    ("http://127.0.0.1:8080/", "1,0,0,127:8080)/"), ("http://www.example.org/", "org,example)/"),
    ("https://example.org:8443/A/B/?b=2&a=1", "org,example:8443)/a/b?a=1&b=2"), ("http://x.test/a//b", "test,x)/a/b"),
    ("http://www2.foo.co.uk/a%20b", "uk,co,foo)/a%20b"), ("http://[::1]:80/x", "::1)/x"), ("http://x.test/?q", "test,x)/?q"),
    ("https://xn--bcher-kva.example/%C3%BC", "example,xn--bcher-kva)/%c3%bc"),
    ("http://x.test/?a=1&a=0&&b", "test,x)/?&a=0&a=1&b"), ("https://x.test:443/%7Euser", "test,x)/~user")])
def test_an_index_has_the_keys_that_replay_tools_look_for(url: str, key: str) -> None:
    """The sort-friendly form of a URL is what pywb and ReplayWeb.page compute."""
    assert surt(url) == key


@pytest.mark.parametrize("ending", ["warc.gz", "wacz"])
@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
def test_a_file_of_an_older_version_is_archived(tmp_path: Path, dump: Path, ending: str) -> None:
    """Without an upgrade: it is only read."""
    file = restored(dump, tmp_path / "crawl.db")
    done = sh("export", file, tmp_path / f"old.{ending}")
    assert (done.code, "responses" in done.err) == (0, True)


@pytest.mark.parametrize("ending", ["warc.gz", "wacz", "jsonl"])
async def test_kill_9_leaves_no_file_under_the_final_name(serve: Serve, crawl_file: Path, tmp_path: Path, ending: str) -> None:
    """Killed between two answers, there is a part and no archive; the next export clears it away."""
    web = await serve(site())
    await run(web, crawl_file)
    target = tmp_path / f"crawl.{ending}"
    script = ("import os, crawler.cli.bar as b\n"
              "def bar(things, *more):\n    for n, thing in enumerate(things):\n"
              "        if n == 3: os.kill(os.getpid(), 9)\n        yield thing\n"
              "b.bar = bar; from crawler.__main__ import main; main()")
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, "export", str(crawl_file), str(target)],
                                   capture_output=True, timeout=30, env=environment(), check=False)
    assert (done.returncode, target.exists()) == (-9, False)
    assert (await do("export", crawl_file, target)).code == 0
    assert [p.name for p in tmp_path.glob(f"crawl.{ending}*")] == [target.name]
