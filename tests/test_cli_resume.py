"""The commands resume and add (CONTRACT §1)."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import QUICK, cli
from tests.conftest import Serve
from tests.web import Site, page


async def test_resume_overrides_are_named_and_recorded(serve: Serve, crawl_file: Path) -> None:
    """An option given to `resume` is named on stderr, recorded with the run, and holds for the next `resume` too."""
    web = await serve(Site({"/": page("/a"), "/a": page("/b"), "/b": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--max-depth", 0)
    done = await cli("resume", crawl_file, "--max-depth", 1)
    assert done.code == 0
    assert any("max-depth" in line and "0" in line and "1" in line for line in done.err.splitlines())
    plain = await cli("resume", crawl_file)
    assert (plain.code, "changed" in plain.err) == (0, False)
    specs = json.loads(
        (
            await cli(
                "query", crawl_file, "SELECT json_extract(spec, '$.max_depth') AS d FROM runs", "--format", "json"
            )
        ).out
    )
    assert [s["d"] for s in specs] == [0, 1]
    assert [r.path for r in web.requests] == ["/robots.txt", "/", "/a"]


async def test_add_then_resume_visits_the_new_seed(serve: Serve, crawl_file: Path) -> None:
    """`add` says how many are new and sends nothing; `resume` fetches them, with the stored settings."""
    web = await serve(Site({"/": page(), "/new": page()}), Site({"/": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK)
    sent = len(web.requests)
    done = await cli("add", crawl_file, web.url(), web.url("/new"), web.url(host=2))
    assert (done.code, len(web.requests)) == (0, sent)
    assert "2 of 3 seeds are new" in done.err
    assert (await cli("resume", crawl_file)).code == 0
    assert {(r.host, r.path) for r in web.requests[sent:]} == {
        ("127.0.1.1", "/new"),
        ("127.0.1.2", "/robots.txt"),
        ("127.0.1.2", "/"),
    }
    assert (await cli("add", crawl_file, "https://example.org/")).code == 2


async def test_resume_keeps_header_values_out_of_the_file(serve: Serve, crawl_file: Path) -> None:
    """V1: a header's value is not stored; resume says that it must be given again."""
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--header", "X-Key: s3cret", "--max-pages", 1)
    assert web.requests[-1].headers["x-key"] == "s3cret"
    assert all(b"s3cret" not in p.read_bytes() for p in crawl_file.parent.iterdir())
    done = await cli("resume", crawl_file, "--max-pages", 5)
    assert "X-Key" in done.err
    assert "x-key" not in web.requests[-1].headers
