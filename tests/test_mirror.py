"""`crawler export --mirror`: a copy to browse offline, whose names are nobody's on the web and whose links lead somewhere."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.mirror.names import another, file_of, href, key
from crawler.parse.css import rewritten
from crawler.url import canonical
from tests.commands import Done, sh
from tests.conftest import Serve
from tests.crawls import run
from tests.killing import environment
from tests.test_upgrade import OLD, restored
from tests.web import Answer, Site, Web, page, redirect

PNG = ("Content-Type", "image/png")
CSS = Answer(body=b"@import 'more.css'; a{background:url(../i.png)} b{background:url(\"http://out.test/x.png\")}",
             headers=(("Content-Type", "text/css"),))
RICH = """<!DOCTYPE html><meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><base href="/deep/">
<meta http-equiv="Content-Security-Policy" content="default-src 'self'"><link rel=canonical href="/rich">
<link rel=stylesheet href="s.css" integrity="sha256-x" crossorigin><style>p{background:url(../i.png)} q{background:url("http://out.test/(a)&b")}</style>
<p style="background:url('../i.png')">caf\xe9 <a href="../a?x=1&amp;y=2#f">q</a> <a href="#top">top</a> <a href="/moved">m</a>
<img src="../i.png" srcset="../i.png 1x, /none.png 2x" crossorigin=anonymous> <a href="mailto:x@y.test">mail</a>
<a href="javascript:alert(1)">js</a> <a href="http://out.test/o?a=1&amp;b=2">out</a> <form action="/a"><input></form>
<script>"<a href='/a'>"</script><a href="/gone" ping="http://spy.test/">gone</a>"""


def site() -> Site:
    html = ("Content-Type", "text/html; charset=iso-8859-1")
    return Site({
        "/": page("/a", "/A", "/a/b", "/a?x=1&y=2", "/rich", "/gone", "/moved", "/big", "/x.txt", "/x.txt/y"),
        "/a": page("/a/b"), "/A": page("/a"), "/a/b": page("/a", "../A"), "/a?x=1&y=2": page("/"), "/moved": redirect("/to"),
        "/to": page("/"), "/rich": Answer(body=RICH.encode("latin-1"), headers=(html,)), "/deep/s.css": CSS,
        "/deep/more.css": Answer(body=b"p{}", headers=CSS.headers), "/i.png": Answer(body=b"\x89PNG", headers=(PNG,)),
        "/big": page(*(f"/a?n={n}" for n in range(9))) + "<p>" + "é&lt;" * 90_000,
        "/x.txt": Answer(body=b"plain", headers=(("Content-Type", "text/plain"),)), "/x.txt/y": page("/x.txt"),
        "/a?n=0": page(), "/robots.txt": "",
    })


async def do(*arguments: object) -> Done:
    """`crawler` beside the loop of this test: it has one of its own."""
    return await asyncio.to_thread(sh, *arguments)


async def mirrored(serve: Serve, file: Path, target: Path) -> tuple[Web, Path]:
    """The copy, and the folder of its host."""
    web = await serve(site())
    await run(web, file, "/", "/i.png", "/deep/s.css", "/deep/more.css")
    done = await do("export", file, "--mirror", target)
    assert done.code == 0, done.err
    return web, target / f"127.0.1.1_{web.port}"


class Links(HTMLParser):
    """Every href, src and srcset of a page, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.found.append(value)
            elif value and name == "srcset":
                self.found += [part.split()[0] for part in value.split(",")]


def broken(folder: Path) -> list[str]:
    """Relative links of the HTML and CSS files that lead to no file of the folder."""
    found = []
    for path in folder.rglob("*"):
        text = path.read_text("utf-8", "replace") if path.suffix in (".html", ".css") else ""
        links = Links(text).found if path.suffix == ".html" else re.findall(r'"([^"]+)"', text)
        for link in links:
            parts = urlsplit(link)
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not parts.scheme and not (goal.is_file() and goal.is_relative_to(folder.resolve())):
                found.append(f"{path}: {link}")
    return found


async def test_every_link_leads_to_a_file_or_to_the_web(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """No relative link is broken; every page has a file of its own, in any letter case, and the list says which; folders and
    files never meet; it opens at index.html; all of it is its owner's alone."""
    target = tmp_path / "copy"
    web, host = await mirrored(serve, crawl_file, target)
    assert broken(target) == []
    listed = {line["url"]: line["file"] for line in map(json.loads, (target / "pages.jsonl").read_text().splitlines())}
    assert len(listed) == len({key(name) for name in listed.values()}) == 14
    assert all((target / name).is_file() for name in listed.values())
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {
        *listed.values(), "index.html", "pages.jsonl"}
    assert Links((target / "index.html").read_text()).found[0] == f"{host.name}/index.html"
    for path in [target, *target.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert listed[web.url("/a")] == f"{host.name}/a.html"
    assert listed[web.url("/a/b")] == f"{host.name}/a/b.html"
    assert listed[web.url("/x.txt/y")] == f"{host.name}/x.txt/y.html"


async def test_a_page_is_what_it_was_but_for_its_links(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Base gone and counted, links to stored pages and redirects relative with their fragment, others absolute originals;
    srcset, style attributes and elements, style sheets; UTF-8 said and written; nothing that a folder cannot keep."""
    web, host = await mirrored(serve, crawl_file, tmp_path / "copy")
    text = (host / "rich.html").read_text("utf-8")
    links = Links(text)
    assert "café" in text
    assert links.found == [
        web.url("/rich"), "deep/s.css", "a@x=1&y=2.html".replace("&", "%26") + "#f", web.url("/deep/") + "#top", "to.html",
        "i.png", "i.png", web.url("/none.png"), "mailto:x@y.test", "javascript:alert(1)", "http://out.test/o?a=1&b=2",
        web.url("/gone")]
    tags = [tag for tag, _ in links.tags]
    assert "base" not in tags
    assert tags.count("meta") == 1
    assert dict(links.tags)["meta"]["content"] == "text/html; charset=utf-8"
    assert dict(links.tags)["form"]["action"] == web.url("/a")
    assert '<style>p{background:url("i.png")} q{background:url("http://out.test/(a)&b")}</style>' in text
    assert 'style="background:url(&quot;i.png&quot;)"' in text
    assert """<script>"<a href='/a'>"</script>""" in text
    assert not {"integrity", "crossorigin", "ping"} & {name for _, attributes in links.tags for name in attributes}
    assert (host / "deep" / "s.css").read_text() == (
        '@import "more.css"; a{background:url("../i.png")} b{background:url("http://out.test/x.png")}')
    assert (host / "i.png").read_bytes() == b"\x89PNG"
    big = (host / "big.html").read_text("utf-8")
    assert big.count("é&lt;") == 90_000
    assert 'href="a@n=0.html"' in big


async def test_p1_a_page_that_kills_its_worker_is_copied_as_it_came(serve: Serve, crawl_file: Path, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Its raw body is in the copy, the list says why, and all other pages are there."""
    web = await serve(Site({path: page("/good", "/segv", title="t") for path in ("/", "/good", "/segv")}))
    await run(web, crawl_file)
    monkeypatch.setattr("crawler.mirror.makers.Mirror.extractor", "tests.bombs:misbehave")
    done = await do("export", crawl_file, "--mirror", tmp_path / "copy")
    assert (done.code, "3 of them as they came" in done.err) == (0, True)
    notes = {line["url"]: line["note"] for line in map(json.loads, (tmp_path / "copy/pages.jsonl").read_text().splitlines())}
    assert notes[web.url("/segv")] == "as it came: crash"
    body = (tmp_path / f"copy/127.0.1.1_{web.port}/segv.html").read_text()
    assert body == page("/good", "/segv", title="t")


@pytest.mark.parametrize("option", ["--mirror", "--markdown"])
async def test_a_folder_is_replaced_only_if_it_is_an_export(serve: Serve, crawl_file: Path, tmp_path: Path, option: str) -> None:
    """An empty folder is taken; an export with --force; a folder with anything else never, nor one by the name of a part."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    await run(web, crawl_file)
    target = tmp_path / "copy"
    target.mkdir()
    assert (await do("export", crawl_file, option, target)).code == 0
    assert (await do("export", crawl_file, option, target)).code == 2
    assert (await do("export", crawl_file, option, target, "--force")).code == 0
    for name in ("home", "home.part", "home.old"):
        mine = tmp_path / name / "thesis.txt"
        mine.parent.mkdir()
        mine.write_text("mine")
        done = await do("export", crawl_file, option, tmp_path / "home", "--force")
        assert (done.code, "not an export" in done.err, mine.read_text()) == (2, True, "mine")
        mine.unlink()
        mine.parent.rmdir()
    done = await do("export", crawl_file, option, tmp_path / "other", "--sql", "SELECT nothing")
    assert (done.code, (tmp_path / "other").exists(), list(tmp_path.glob("*.part"))) == (2, False, [])
    assert (await do("export", crawl_file, tmp_path / "x.csv", option, target)).code == 2
    assert (await do("export", crawl_file)).code == 2


async def test_kill_9_leaves_no_folder_under_the_final_name(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Killed with half of the files written, there is a part; the next export clears it away. What was there is there."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    await run(web, crawl_file)
    target = tmp_path / "copy"
    assert (await do("export", crawl_file, "--mirror", target)).code == 0
    before = (target / "pages.jsonl").read_bytes()
    script = ("import os, crawler.mirror.copy as c; write = c.write\n"
              "def once(*a):\n    write(*a)\n    os.kill(os.getpid(), 9)\n"
              "c.write = once; from crawler.__main__ import main; main()")
    for more in ([str(tmp_path / "new")], [str(target), "--force"]):
        command = [sys.executable, "-c", script, "export", str(crawl_file), "--mirror", *more]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, env=environment(), check=False)
        assert (done.returncode, (tmp_path / "new").exists()) == (-9, False)
    assert (target / "pages.jsonl").read_bytes() == before
    assert (await do("export", crawl_file, "--mirror", target, "--force")).code == 0
    assert list(tmp_path.glob("copy*")) == [target]


@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
def test_a_file_of_an_older_version_is_mirrored(tmp_path: Path, dump: Path) -> None:
    """Without an upgrade: it is only read."""
    file = restored(dump, tmp_path / "crawl.db")
    assert sh("export", file, "--mirror", tmp_path / "copy").code == 0
    assert broken(tmp_path / "copy") == []


@pytest.mark.parametrize(("url", "mime", "name"), [
    ("http://x.test/", "text/html", "x.test/index.html"), ("http://x.test/a", "text/html", "x.test/a.html"),
    ("http://x.test:81/b?page=2", "text/html", "x.test_81/b@page=2.html"), ("http://x.test/nul", None, "x.test/_nul"),
    ("http://x.test/..%2f..%2fetc/passwd", "text/plain", "x.test/_.._.._etc/passwd.txt"),
    ("http://x.test/v.php", "text/css", "x.test/v.php.css"),
    ("http://x.test/.htaccess", "text/plain", "x.test/_.htaccess"), ("http://x.test/a%2e", None, "x.test/a_"),
    ("http://x.test/com1.txt/%00%1b[2J", None, "x.test/_com1.txt/__[2J"), ("http://[::1]/a//b", None, "[__1]/a/_/b"),
    ("http://x.test/%E6%97%A5", "text/html", "x.test/日.html"), ("http://x.test/i.JPG", "image/jpeg", "x.test/i.JPG"),
    ("http://x.test/%E2%80%AEgpj.exe", None, "x.test/_gpj.exe"),
    ("http://x.test/s.js?v=1", "text/javascript", "x.test/s.js@v=1.js")])
def test_o5_names(url: str, mime: str | None, name: str) -> None:
    """A name says what the URL said, where no file system minds."""
    assert file_of(url, mime) == name


@given(st.text(max_size=400), st.text(max_size=40), st.sampled_from(["text/html", "image/png", "text/plain", "", None]))
def test_o5_any_url_has_a_safe_name(path: str, query: str, mime: str | None) -> None:
    """Relative, below the folder, no part hidden or reserved, none too long, nothing that draws; and the link back is it."""
    url = canonical(f"http://h.test/{path}?{query}")
    for name in (file_of(url, mime), another(file_of(url, mime), url)):
        parts = name.split("/")
        assert parts[0] == "h.test"
        assert len(parts) > 1
        assert not [part for part in parts if part in ("", ".", "..") or part[0] == "." or len(part.encode()) > 200]
        assert len(name.encode()) <= 220
        assert not re.search(r'[\x00-\x1f<>:"\\|?*\u202a-\u202e]', name)
        for start in ("index.html", "h.test/a/b.html", "other/x", name):
            there = os.path.normpath(os.path.join(os.path.dirname(start), unquote(href(name, start))))
            assert there == name


@pytest.mark.parametrize(("css", "seen"), [
    ("url(a.png) url( 'b' ) URL(\"c d\")", ["a.png", "b", "c d"]), ("@import 'x.css' screen; @import url(y)", ["x.css", "y"]),
    (r"url(a\20 b) url('q\'r')", ["a b", "q'r"]), ("url() url( url(", []), ("src:url(f.woff)format('woff')", ["f.woff"])])
def test_the_urls_of_a_style_sheet(css: str, seen: list[str]) -> None:
    """Quoted or not, with escapes, imports included; the rest stays."""
    found: list[str] = []
    assert rewritten(css, found.append) == css
    assert found == seen
    assert rewritten("a{b:url( x )}", lambda url: "new") == 'a{b:url( "new" )}'
