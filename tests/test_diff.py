"""`crawler diff` and the view `changes`: what a recrawl found, exactly."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crawler.parse.again import Stored, parsed
from crawler.parse.pool import ParsePool
from storage import open_reader
from tests.changing import Changing
from tests.commands import Done, sh
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.test_recrawl import again
from tests.web import Answer, Site, page

CHANGES = "SELECT change, url FROM changes WHERE run = 2 ORDER BY 1, 2"


async def said(file: Path, *arguments: object) -> Done:
    """`crawler diff`, which has a loop of its own."""
    return await asyncio.to_thread(sh, "diff", file, *arguments)


async def diff(file: Path, *arguments: object) -> dict[str, Any]:
    done = await said(file, *arguments, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


async def test_what_moved_is_told_exactly(serve: Serve, crawl_file: Path) -> None:
    """200 pages, of which 10 change, 8 go and 6 are new: `diff` names these, with status, titles and links before and
    after, and `changes` has the same. All else is unchanged, by a 304 or by the same body."""
    site = Changing(200, mute=10)
    web = await serve(site)
    await run(web, crawl_file, "/0")
    changed, gone, new = site.move(10, 8, 6)
    await again(web, crawl_file)
    found = await diff(crawl_file)
    assert found["runs"] == [1, 2]
    assert found["counts"] == {"gone": 8, "new": 6, "changed": 10, "unchanged": 182, "unvisited": 0}
    moved = {web.url(f"/{n}"): kind for kind, some in (("changed", changed), ("gone", gone), ("new", new)) for n in some}
    assert {row["url"]: row["change"] for row in found["changes"]} == moved
    assert dict(row[::-1] for row in ask(crawl_file, CHANGES)) == moved
    for row in found["changes"]:
        number = int(row["url"].rpartition("/")[2])
        was, now = f"Page {number}, version 0", f"Page {number}, version 1"
        if row["change"] == "changed":
            assert (row["was_title"], row["title"], row["was_status"], row["status"]) == (was, now, 200, 200)
            target = site.new.get(number)
            assert (row["links_added"], row["links_removed"]) == ([] if target is None else [web.url(f"/{target}")], [])
        elif row["change"] == "gone":
            assert (row["was_title"], row["title"], row["status"], row["reason"]) == (was, None, 404, "http_404")
        else:
            assert (row["was_title"], row["title"], row["was_status"], row["status"]) == (None, was, None, 200)


@pytest.mark.parametrize("seed", range(3))
async def test_any_history_is_told_exactly(serve: Serve, crawl_file: Path, seed: int) -> None:
    """Whatever pages do over five crawls, between any two of them `diff` says what the web itself says of them."""
    rng = random.Random(seed)
    site = Changing(30, mute=7)
    web = await serve(site)
    await run(web, crawl_file, "/0")
    states = [{n: site.versions[n] for n in range(30)}]
    for _ in range(4):
        for number in rng.sample(range(1, 30), 6):
            {0: site.gone.add, 1: site.gone.discard, 2: lambda n: site.versions.update([n])}[rng.randrange(3)](number)
        await again(web, crawl_file)
        states.append({n: site.versions[n] for n in range(30) if n not in site.gone})
    for first in range(5):
        for second in range(first + 1, 5):
            before, after = states[first], states[second]
            truth = dict.fromkeys(before.keys() - after.keys(), "gone") | dict.fromkeys(after.keys() - before.keys(), "new")
            truth |= {n: "changed" for n in before.keys() & after.keys() if before[n] != after[n]}
            found = await diff(crawl_file, first + 1, second + 1, "--no-links")
            assert {int(row["url"].rpartition("/")[2]): row["change"] for row in found["changes"]} == truth
            assert found["counts"]["unchanged"] == len(before.keys() & after.keys()) - list(truth.values()).count("changed")


@pytest.mark.parametrize(("before", "after", "change"), [
    (page(), page(), "unchanged"), (page(), page(title="b"), "changed"), (page(), 404, "gone"), (404, page(), "new"),
    (404, 500, None),
    (page(), (301, "", {"Location": "/x"}), "changed"), ((301, "", {"Location": "/x"}), (301, "", {"Location": "/y"}), "changed"),
    ((301, "", {"Location": "/x"}), (301, "", {"Location": "/x"}), "unchanged"),
    ((301, "", {"Location": "/x"}), (302, "", {"Location": "/x"}), "changed"), ((301, "", {"Location": "/x"}), 410, "gone")])
async def test_what_is_a_change(serve: Serve, crawl_file: Path, before: Any, after: Any, change: str | None) -> None:
    """A URL is there when it answers with a page or a redirect; it has changed with its body, its status or its target."""
    site = Site({"/": page("/a"), "/a": before, "/x": page(), "/y": page()})
    web = await serve(site)
    await run(web, crawl_file)
    site["/a"] = after
    await again(web, crawl_file, patience=0.0)
    only = ("--only", "changed", "--only", "unchanged", "--only", "gone", "--only", "new")
    rows = {row["url"]: row["change"] for row in (await diff(crawl_file, *only))["changes"]}
    assert rows.get(web.url("/a")) == change
    view = dict(ask(crawl_file, "SELECT url, change FROM changes WHERE run = 2"))
    assert view.get(web.url("/a")) == (None if change == "unchanged" else change)


async def test_runs_far_apart(serve: Serve, crawl_file: Path) -> None:
    """Between the ends of any two runs; what nobody asked for in between is told apart; a run that sent nothing is no run
    to compare with by default."""
    site = Changing(13)
    web = await serve(site)
    await run(web, crawl_file, "/0")
    site.versions[1] += 1
    await again(web, crawl_file, "depth = 1")
    site.versions[1] -= 1
    site.versions[5] += 1
    await again(web, crawl_file)
    await run(web, crawl_file, "/0")
    assert Counter((await diff(crawl_file, 1, 2))["counts"]) == Counter(changed=1, unchanged=2, unvisited=10)
    assert [row["url"] for row in (await diff(crawl_file, 1, 3))["changes"]] == [web.url("/5")]
    assert (await diff(crawl_file))["runs"] == [2, 3]
    assert Counter((await diff(crawl_file, 2, 3))["counts"]) == Counter(changed=2, unchanged=11)
    assert [row["links_added"] for row in (await diff(crawl_file, 1, 3, "--no-links"))["changes"]] == [None]


@pytest.mark.parametrize("runs", [(), (1,), (1, 2), (2, 1), (1, 1), (0, 1)])
async def test_two_runs_are_needed(serve: Serve, crawl_file: Path, runs: tuple[int, ...]) -> None:
    """Else exit 2, with the runs there are and what would make one."""
    web = await serve(Changing(1))
    await run(web, crawl_file, "/0")
    done = await said(crawl_file, *runs)
    assert (done.code, "has 1; crawler recrawl" in done.err) == (2, True)


async def test_a_hostile_title_draws_nothing(serve: Serve, crawl_file: Path) -> None:
    """Titles come from the web: on a terminal escapes are shown, in CSV no cell begins like a formula."""
    site = Site({"/": page("/a"), "/a": page(title="x")})
    web = await serve(site)
    await run(web, crawl_file)
    site["/a"] = page(title="=cmd()\x1b[31m")
    await again(web, crawl_file)
    assert "\x1b" not in (await said(crawl_file)).out
    assert "'=cmd()" in (await said(crawl_file, "--format", "csv")).out
    assert [json.loads(line)["url"] for line in (await said(crawl_file, "--format", "jsonl")).out.splitlines()] == [web.url("/a")]


async def test_links_of_what_cannot_be_parsed_are_not_guessed(serve: Serve, crawl_file: Path) -> None:
    """A body that once ended its parse worker is not tried again, and one that was never stored has no links: unknown, and
    said."""
    site = Site({"/": page("/a"), "/a": page("/")})
    web = await serve(site)
    await run(web, crawl_file)
    site["/a"] = Answer(301, headers=(("Location", "/"),))
    await again(web, crawl_file)
    done = await said(crawl_file, "--format", "jsonl")
    assert json.loads(done.out)["links_added"] is None
    assert "the links of 1 changed URLs cannot be compared" in done.err
    async with ParsePool(0) as pool:
        for reason in ("timeout", "memory", "crash", "skipped: content-encoding x"):
            assert (await parsed(pool, Stored("http://a.test/", None, reason, "raw", b"<title>t"))).parse == reason
        assert "cannot be read" in ((await parsed(pool, Stored("http://a.test/", None, None, "zstd", b"?"))).parse or "")
        found = await parsed(pool, Stored("http://a.test/", '[["Content-Type","text/html"]]', "error: x", "raw", b"<title>t"))
        assert (found.title, found.parse) == ("t", None)


async def test_changes_beside_a_file_of_an_older_version(tmp_path: Path) -> None:
    """A file that an older version wrote has the view too, and `diff` says what it lacks."""
    file = tmp_path / "old.db"
    with sqlite3.connect(file) as db:
        db.executescript((Path(__file__).parent / "data/version1.sql").read_text("utf-8"))
    with open_reader(file) as reader:
        assert reader.outdated
        list(reader.query("SELECT * FROM changes")[1])
    assert sh("diff", file, 1, 2).code == 2
