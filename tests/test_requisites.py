"""`--requisites`: what pages are shown with is fetched too, so that a copy of them is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crawler.parse.html import extract
from tests.commands import sh
from tests.conftest import Serve
from tests.crawls import ask, asked, run
from tests.test_mirror import broken
from tests.web import Answer, Site, page


def typed(body: bytes, mime: str) -> Answer:
    return Answer(body=body, headers=(("Content-Type", mime),))


SHEET = b"@import 'b.css'; @import url(c.css) print; p{src:url(/f.woff)} q{background:url(data:,x)}"
HEAD = """<link rel=stylesheet href=/s/a.css><link rel=icon href=/i.ico><link rel=preconnect href=/pre>
<img src=/i.png srcset="/i2.png 2x"><script src=/j.js></script><img src=http://127.0.2.1:1/far.png>"""
PARTS = {"/s/a.css", "/s/b.css", "/s/c.css", "/f.woff", "/i.ico", "/i.png", "/i2.png", "/j.js"}


def site() -> Site:
    return Site({
        "/": HEAD + page("/a"), "/a": HEAD + page("/"), "/pre": page(), "/i.ico": typed(b"i", "image/x-icon"),
        "/s/a.css": typed(SHEET, "text/css"), "/s/b.css": typed(b"@import 'a.css';", "text/css"),
        "/s/c.css": typed(b"", "text/css"), "/f.woff": typed(b"f", "font/woff"),
        "/i.png": typed(b"p", "image/png"), "/i2.png": typed(b"q", "image/png"), "/j.js": typed(b"", "text/javascript"),
    })


@pytest.mark.parametrize("wanted", [False, True])
async def test_requisites_are_fetched_when_asked_for(serve: Serve, crawl_file: Path, wanted: bool) -> None:
    """Style sheets, what they import and show, images, scripts and icons, each once; those of a host that is not in the scope
    are skipped with the reason. Nothing of it without the option."""
    web = await serve(site())
    await run(web, crawl_file, requisites=wanted)
    assert sorted(asked(web)) == sorted({"/", "/a"} | (PARTS if wanted else set()))
    skipped = ask(crawl_file, "SELECT url, reason FROM skipped")
    assert skipped == ([("http://127.0.2.1:1/far.png", "scope")] if wanted else [])


async def test_a_copy_with_requisites_is_whole(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Every one of them is a file of the copy, and no link of the copy asks their server for it."""
    web = await serve(site())
    await run(web, crawl_file, requisites=True)
    assert (await asyncio.to_thread(sh, "export", crawl_file, "--mirror", tmp_path / "copy")).code == 0
    assert broken(tmp_path / "copy") == []
    host = tmp_path / "copy" / f"127.0.1.1_{web.port}"
    assert {f"/{path.relative_to(host)}" for path in host.rglob("*") if path.is_file()} == PARTS | {"/index.html", "/a.html"}
    for path in host.rglob("*"):
        assert path.is_dir() or web.url("/i") not in path.read_text("utf-8", "replace"), path
    assert (host / "s" / "a.css").read_text().startswith(
        '@import "b.css"; @import url("c.css") print; p{src:url("../f.woff")}')


def test_the_links_of_a_style_sheet() -> None:
    """Imports are style sheets, all else is `css`; other bodies have none."""
    found = extract(b"@import 'b.css'; @import  url(c.css); a{b:url(d)} /* url(e) */", "http://h.test/s/a.css", "text/css")
    assert [(link.place.path, link.kind) for link in found.links] == [
        ("/s/b.css", "stylesheet"), ("/s/c.css", "stylesheet"), ("/s/d", "css"), ("/s/e", "css")]
    assert not extract(b"a{b:url(d)}", "http://h.test/s/a.css", "text/plain").links
