"""`crawler serve` in a real browser: found, filtered, asked and downloaded by hand, live beside a crawl, usable by everybody, and
nothing from the web runs.

axe-core is looked for in build/node_modules (`npm install --prefix build axe-core`), or where AXE_CORE says.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from crawler.web.app import serving
from tests.browser import CHROMIUM, Tab, chromium, opened
from tests.commands import running, sh
from tests.conftest import Serve
from tests.test_floors import ROOT
from tests.test_report import SITE
from tests.test_serve import every
from tests.viewing import crawled
from tests.web import Request, Site, page

AXE = Path(os.environ.get("AXE_CORE", ROOT / "build/node_modules/axe-core/axe.min.js"))
SERIOUS = """axe.run(%s).then(r => r.violations.filter(v => ["serious", "critical"].includes(v.impact))
  .map(v => v.id + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" | ")))"""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl of a web with one of everything, hostile texts too, indexed; and its root."""
    file = tmp_path_factory.mktemp("known") / "crawl.db"
    root = crawled(SITE, file)
    assert sh("index", file).code == 0
    return file, root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One browser for all tests; where it listens."""
    with chromium(tmp_path_factory.mktemp("browser")) as port:
        yield port


@asynccontextmanager
async def looking(file: Path, browser: str) -> AsyncIterator[tuple[str, Tab]]:
    """The view of a file, and a browser tab to look at it with; nothing may be complained of."""
    async with serving(file, "127.0.0.1", 0) as root, opened(browser) as tab:
        await tab.look()
        yield root, tab
        assert tab.complaints == []
        assert [url for url in tab.requests if not url.startswith((root, "about:"))] == []


async def test_serve_by_hand(known: tuple[Path, str], browser: str) -> None:
    """Filter, sort, drill down, search and go back, by keys and clicks: the addresses and rows are those of the crawl."""
    file, site = known
    first = "document.querySelector('tbody td').innerText.trim()"
    async with looking(file, browser) as (root, tab):
        await tab.open(root)
        await tab.press("Tab")
        assert await tab.js("document.activeElement.className") == "skip"
        await tab.press("Enter")
        assert await tab.js("document.activeElement.id") == "main"
        await tab.does("document.querySelector('.tiles a').click()")
        await tab.js("document.querySelector('input[name=q]:not(#find)').focus()")
        await tab.type("twin")
        await tab.does_key("Enter")
        assert await tab.js("document.querySelectorAll('tbody tr').length") == 2
        await tab.does("[...document.querySelectorAll('th a')].find(a => a.innerText.startsWith('URL')).click()")
        assert "sort=url" in await tab.js("location.search")
        await tab.does("document.querySelector('tbody a').click()")
        assert await tab.js("document.querySelector('h1').innerText") == "Twin"
        await tab.does("document.querySelector('#links-in tbody a').click()")
        assert await tab.js("document.querySelector('p .url').innerText") == site
        await tab.press("/")
        await tab.type("links to same 2")
        await tab.does_key("Enter")
        assert await tab.js("location.pathname") == "/search"
        await tab.open(f"{root}pages")
        choose = "(s => { s.value = 'untitled'; s.dispatchEvent(new Event('change')); })"
        await tab.does(f"{choose}(document.querySelector('[name=only]'))")
        assert await tab.js(first) == "(no title)"
        await tab.js("history.back()")
        await tab.until("location.search === ''")


async def test_serve_sql_by_hand(known: tuple[Path, str], browser: str, tmp_path: Path) -> None:
    """SQL typed and run by Ctrl-Enter, a mistake told in place, a ready-made question by a click, its rows downloaded."""
    file, _ = known
    async with looking(file, browser) as (root, tab):
        await tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        await tab.open(f"{root}sql")
        await tab.js("document.getElementById('sql').focus()")
        await tab.type("SELECT count(*) AS n\nFROM pages WHERE title = 'Twin'")
        await tab.does_key("Enter", modifiers=2)
        assert await tab.js("document.querySelector('#rows tbody').innerText.trim()") == "2"
        assert await tab.js("document.getElementById('sql').value.includes('\\n')")
        await tab.js("document.querySelectorAll('details')[0].open = true")
        await tab.does("[...document.querySelectorAll('.questions a')].find(a => a.innerText === 'broken-links').click()")
        await tab.js("[...document.querySelectorAll('form.sql a')].find(a => a.innerText === 'CSV').click()")
        async with asyncio.timeout(10):
            while not (tmp_path / "broken-links.csv").is_file():
                await asyncio.sleep(0.02)
        assert (tmp_path / "broken-links.csv").read_text("utf-8") == sh("query", file, "broken-links", "--format", "csv").out


async def test_serve_live(serve: Serve, browser: str, tmp_path: Path) -> None:
    """While a crawl runs the overview changes by itself, without being loaded again, and says when the crawl has ended; a server
    that ends is told of."""
    gate = asyncio.Event()

    async def late(_: Request) -> str:
        await gate.wait()
        return page(title="Late")

    web = await serve(Site({"/": page("/a", "/b"), "/a": page(), "/b": late}))
    file = tmp_path / "crawl.db"
    async with running("crawl", web.url(), "-o", file, "--delay", "0", "--parse-workers", "0", "--patience", "1") as crawl:
        async with asyncio.timeout(20):
            while not file.is_file() or "2" not in sh("query", file, "SELECT count(*) FROM pages", "--format", "csv").out:
                await asyncio.sleep(0.05)
        pages = "document.querySelector('.tiles dd').firstChild.innerText"
        async with opened(browser) as tab:
            async with serving(file, "127.0.0.1", 0) as root:
                await tab.open(root)
                await tab.js("window.marker = true; document.querySelector('main').dataset.live = '0.1'; void 0")
                assert await tab.js(pages) == "2"
                assert (await tab.js("document.querySelector('.state').innerText")).startswith("running")
                gate.set()
                await tab.until(f"{pages} === '3'")
                await crawl.wait()
                await tab.until("document.querySelector('.state').innerText === 'complete'")
                assert await tab.js("window.marker") is True
                assert tab.complaints == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm install --prefix build axe-core")
@pytest.mark.parametrize(("width", "dark", "rules"), [(1280, False, None), (1280, True, ["color-contrast"]), (390, False, [])],
                         ids=["light", "dark", "phone"])  # fmt: skip
async def test_serve_can_be_used_by_everybody(known: tuple[Path, str], browser: str, width: int, dark: bool,
                                              rules: list[str] | None) -> None:  # fmt: skip
    """axe-core finds no serious or critical violation on any page; in the dark the contrast holds; on a phone nothing is wider
    than the phone."""
    file, site = known
    url = quote(site, safe="")
    paths = ["", "pages", f"page?url={url}evil", f"links?url={url}lost&way=in", "hosts", "failures", "broken", "redirects",
             "skipped", "search?q=a", "sql", "sql?name=pagerank", "sql?sql=x", "none"]  # fmt: skip
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    async with serving(file, "127.0.0.1", 0) as root, opened(browser) as tab:
        await tab.look(width=width, dark=dark)
        for path in paths:
            await tab.open(root + path)
            assert await tab.js("document.documentElement.scrollWidth") <= width, path
            if rules != []:
                await tab.js(AXE.read_text("utf-8") + "; void 0")
                assert (path, await tab.js(SERIOUS % json.dumps(options))) == (path, [])


async def test_o3_serve_runs_nothing_of_the_web(known: tuple[Path, str], browser: str) -> None:
    """Every page with hostile titles, URLs, link texts and bodies in it, scripts allowed: none has run, the policy had nothing to
    refuse, the console is empty, and nothing is asked of anybody else."""
    file, site = known
    async with looking(file, browser) as (root, tab):
        questions = ("/sql?name=broken-links", "/sql?name=skipped")
        paths = [path for path in every(site) if not path.startswith("/sql?name=") or path in questions]
        for path in [*paths, f"/body?url={quote(site, safe='')}evil"]:
            await tab.open(root + path[1:])
            assert "ran" not in (await tab.js("document.title")).split(" · ")[:1], path
            tab.complaints[:] = [told for told in tab.complaints if "status of 400" not in told]  # a question that is none


def test_serve_needs_no_file_from_elsewhere() -> None:
    """The script and the stylesheet name no address; all they need is in the package."""
    for name in ("web/static/script.js", "web/static/style.css", "web/static/icon.svg", "report/plots.css"):
        text = (ROOT / "crawler" / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", ""), name
        assert "url(" not in text
        assert "@import" not in text
