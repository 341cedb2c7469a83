"""`crawler export --markdown`: pages as Markdown, links between them, and nothing of a page that could be markup."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.commands import EVIL, Done, sh
from tests.conftest import Serve
from tests.crawls import run
from tests.test_upgrade import OLD, restored
from tests.web import Answer, Site, page


async def do(*arguments: object) -> Done:
    """`crawler` beside the loop of this test: it has one of its own."""
    return await asyncio.to_thread(sh, *arguments)


async def test_each_html_page_is_a_file(serve: Serve, crawl_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In front what is known of it, quoted; links lead to the other files, or to the web; other bodies are left out."""
    web = await serve(Site({"/": page("/a(1)", "/gone", "/t.txt", title=EVIL),
                            "/a(1)": "<title>A</title><a href='/'>up\x1b[2J\x9b</a>",
                            "/t.txt": Answer(body=b"x", headers=(("Content-Type", "text/plain"),))}))
    await run(web, crawl_file)
    assert "2 pages" in (await do("export", crawl_file, "--markdown", tmp_path / "md")).err
    host = tmp_path / "md" / f"127.0.1.1_{web.port}"
    assert sorted(path.name for path in host.iterdir()) == ["a(1).md", "index.md"]
    front, text = (host / "index.md").read_text().split("---\n\n", 1)
    assert json.loads(front.split("\n")[2].removeprefix("title: ")) == " ".join(EVIL.split())
    assert "\x1b" not in front
    assert text == f"[0](a%281%29.md)\n\n[1]({web.url('/gone')})\n\n[2]({web.url('/t.txt')})\n"
    assert (host / "a(1).md").read_text().endswith("---\n\n[up\\[2J](index.md)\n")
    monkeypatch.setattr("crawler.mirror.makers.Markdown.extractor", "tests.bombs:misbehave")
    done = await do("export", crawl_file, "--markdown", tmp_path / "md", "--force")
    assert "2 of them as they came" in done.err
    assert (host / "a(1).md").read_text().endswith("<title>A</title><a href='/'>up\x1b[2J\x9b</a>")
    assert 'note: "as it came: ' in (host / "a(1).md").read_text()


@pytest.mark.parametrize("dump", OLD, ids=lambda p: p.stem)
def test_a_file_of_an_older_version_becomes_markdown(tmp_path: Path, dump: Path) -> None:
    """Without an upgrade: it is only read."""
    file = restored(dump, tmp_path / "crawl.db")
    assert sh("export", file, "--markdown", tmp_path / "md").code == 0
