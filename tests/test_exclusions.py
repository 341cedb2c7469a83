"""The exclude file: who asked not to be crawled is not asked again, from the next request on."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crawler import engine
from crawler.api import finished, run_async
from crawler.exclude_file import ExcludeFile
from crawler.fetch.resolver import Resolver
from crawler.frontier.exclusions import BadExclusion, Exclusions, parse
from crawler.frontier.scope import Scope, Verdict
from crawler.spec import BadSpec, CrawlSpec
from crawler.url import admit
from tests.commands import sh
from tests.conftest import Serve
from tests.crawls import ask, run, spec_of
from tests.web import Site, page, redirect

LIST = """
# who asked us, and when
www.example.org          # 2026-11-01
*.example.net
.Example.COM
192.0.2.0/24
198.51.100.7
2001:db8::/32
bücher.example
"""


@pytest.mark.parametrize(("host", "addresses", "line"), [
    ("www.example.org", (), 3), ("example.org", (), None), ("a.www.example.org", (), None),
    ("example.net", (), 4), ("a.b.example.net", (), 4), ("badexample.net", (), None),
    ("example.com", (), 5), ("www.example.com", (), 5),
    ("192.0.2.9", (), 6), ("[2001:db8::1]", (), 8), ("xn--bcher-kva.example", (), 9),
    ("innocent.test", ("203.0.113.1", "192.0.2.77"), 6), ("innocent.test", ("::ffff:192.0.2.1",), 6),
    ("innocent.test", ("198.51.100.7",), 7), ("innocent.test", ("198.51.100.8",), None)])
def test_l8_hosts_domains_and_networks(host: str, addresses: tuple[str, ...], line: int | None) -> None:
    """A host exactly, a domain with all below it, a network by literal or resolved address; the line that does it is named."""
    why = Exclusions(parse(LIST, "optout.txt")).refusal(host, addresses)
    assert (why or "").startswith(f"optout.txt line {line}: " if line else "")
    assert bool(why) == bool(line)


@pytest.mark.parametrize("line", ["https://example.org/", "example.org:80", "a b", "*", "*.", "10.0.0.0/99", "ex*mple.org",
                                  "user@example.org"])
def test_l8_a_line_that_is_none_is_named(line: str, tmp_path: Path) -> None:
    """A list that would not do what it says is refused: exit 2 at the start, naming file and line."""
    with pytest.raises(BadExclusion, match=r"optout.txt line 2: .* neither a host"):
        parse(f"ok.test\n{line}\n", "optout.txt")
    file = tmp_path / "optout.txt"
    file.write_text(line)
    done = sh("crawl", "http://127.0.0.1:9/", "-o", tmp_path / "c.db", "--exclude-file", file)
    assert (done.code, "line 1" in done.err, (tmp_path / "c.db").exists()) == (2, True, False)


@pytest.mark.parametrize("break_it", [lambda p: p.write_text("*"), lambda p: p.unlink(),
                                      lambda p: p.write_bytes(b"\xff\xfe"), lambda p: (p.unlink(), p.mkdir())],
                         ids=["line", "gone", "bytes", "folder"])
def test_l8_a_file_that_breaks_keeps_the_old_list(tmp_path: Path, break_it: Callable[[Path], Any]) -> None:
    """What cannot be read while running: the old list holds on, a warning says so once; mended, it is read again."""
    path, said = tmp_path / "optout.txt", list[str]()
    path.write_text("a.test\n")
    file = ExcludeFile(path, said.append)
    break_it(path)
    assert (file.poll(), file.poll(), [rule.what for rule in file.rules]) == (False, False, ["a.test"])
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    if path.is_dir():
        path.rmdir()
    path.write_text("a.test\nb.test\n")
    assert file.poll()
    assert [rule.what for rule in file.rules] == ["a.test", "b.test"]


def test_l8_no_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A crawl whose exclude file is not there does not start."""
    with pytest.raises(BadSpec, match=r"exclude-file .*none.txt: No such file"):
        ExcludeFile(tmp_path / "none.txt", print)


def big(port: int, other: str) -> Site:
    """Forty pages, each linking to the same path of the other host."""
    links = [f"/{n}" for n in range(40)]
    return Site({"/": page(*links, *(f"http://{other}:{port}{x}" for x in links)),
                 **{x: page(f"http://{other}:{port}{x}") for x in links}})


def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """one.test and two.test are the hosts 127.0.1.1 and 127.0.1.2."""
    async def lookup(self: Resolver, host: str) -> tuple[str, ...]:
        return ({"one.test": "127.0.1.1", "two.test": "127.0.1.2"}.get(host, host),)

    monkeypatch.setattr(Resolver, "lookup", lookup)


@pytest.mark.parametrize("entry", ["two.test", "*.two.test", "127.0.1.2", "127.0.1.2/31"])
async def test_l8_an_entry_added_while_running_holds_from_the_next_request(
        serve: Serve, crawl_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """Measured at the server: from the moment the list has been read again (it is looked at every second) at most one more
    request, the one under way; all that was queued or is met later is skipped with file and line, nothing else is."""
    names(monkeypatch)
    monkeypatch.setattr(engine, "WATCH", 0.02)
    web = await serve(Site({}), Site({}))
    for handler, other in zip(web.handlers, ("two.test", "one.test"), strict=True):
        handler.update(big(web.port, other))  # type: ignore[attr-defined]
    optout, counted = tmp_path / "optout.txt", list[int]()
    optout.write_text("")

    def requests(host: str) -> int:
        return sum(r.host.startswith(host) for r in web.requests)

    def note(text: str) -> None:
        if "read again" in text:
            counted.append(requests("two.test"))

    spec = spec_of(web, f"http://one.test:{web.port}/", scope="any", delay=0.01, exclude_file=str(optout),
                   contact="https://me.test/")
    crawling = asyncio.create_task(run_async(spec, crawl_file, note=note))
    async with asyncio.timeout(10):
        while requests("two.test") < 5:
            await asyncio.sleep(0.002)
    optout.write_text(f"# asked on Sunday\n{entry}\n")
    async with asyncio.timeout(15):
        ending = await crawling
    assert len(counted) == 1
    assert counted[0] < 35
    assert requests("two.test") <= counted[0] + 1
    assert (requests("one.test"), ending.state) == (42, "complete")
    skipped = ask(crawl_file, "SELECT DISTINCT reason, detail FROM skipped WHERE url LIKE '%two.test%'")
    assert skipped == [("exclude", f"optout.txt line 2: {entry}")]
    assert ask(crawl_file, "SELECT count(*) FROM skipped WHERE url LIKE '%one.test%'") == [(0,)]


@pytest.mark.parametrize("entry", ["two.test", "127.0.1.2/32"])
async def test_l8_an_excluded_host_is_never_asked_not_even_for_robots(
        serve: Serve, crawl_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """Neither as a link, nor as a seed, nor as a redirect of a page or of a robots.txt: 0 requests. What depends on that
    robots.txt is deferred as unreachable. Taken out of the list, all of it is crawled."""
    names(monkeypatch)
    two = Site({"/": page(), "/x": page(), "/r": "User-agent: *\nDisallow: /no\n"})
    web = await serve(Site({}), two, Site({}))
    there = f"http://two.test:{web.port}"
    web.handlers[0].update({"/": page(f"{there}/x", "/to"), "/to": redirect(f"{there}/x")})  # type: ignore[attr-defined]
    web.handlers[2].update({"/": page(), "/robots.txt": redirect(f"{there}/r")})  # type: ignore[attr-defined]
    optout = tmp_path / "optout.txt"
    optout.write_text(entry)
    seeds = (web.url(), f"{there}/", web.url(host=3))
    options = {"scope": "any", "exclude_file": str(optout), "contact": "https://me.test/", "patience": 0.2}
    ending = await run(web, crawl_file, *seeds, **options)
    assert Counter(r.host for r in web.requests)["two.test"] == 0
    assert (ending.state, ask(crawl_file, "SELECT url FROM queue")) == ("deferred", [(web.url(host=3),)])
    assert [row[0] for row in ask(crawl_file, "SELECT url FROM skipped ORDER BY url")] == [f"{there}/", f"{there}/x"]
    optout.write_text("")
    os.utime(optout)
    await run(web, crawl_file, *seeds, **options)
    assert {r.path for r in web.requests if r.host == "two.test"} >= {"/", "/x", "/robots.txt"}


async def test_l8_a_longer_list_between_two_runs_holds(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """An entry added while nothing ran: what was queued there is refused without a request; a changed list is a reason to
    look again at a crawl that was complete."""
    optout = tmp_path / "optout.txt"
    optout.write_text("")
    web = await serve(Site({}), Site({f"/{n}": page() for n in range(9)}))
    site = Site({"/": page(*(web.url(f"/{n}", 2) for n in range(9)))})
    web.handlers[0].update(site)  # type: ignore[attr-defined]
    options: dict[str, Any] = {"scope": "any", "exclude_file": str(optout)}
    await run(web, crawl_file, max_pages=3, **options)
    before = sum(r.host == "127.0.1.2" for r in web.requests)
    optout.write_text("127.0.1.2")
    await run(web, crawl_file, **options)
    assert sum(r.host == "127.0.1.2" for r in web.requests) == before
    assert ask(crawl_file, "SELECT count(*) FROM queue") == [(0,)]
    spec = spec_of(web, **options)
    assert finished(spec, crawl_file)
    optout.write_text("")
    assert not finished(spec, crawl_file)


def test_l8_a_seed_is_not_exempt() -> None:
    """The scope's verdict on a seed that is excluded: refused, with the line; on its neighbours: as ever."""
    seed, other = admit("http://www.example.org/a"), admit("http://example.org/")
    scope = Scope(CrawlSpec(scope="any"), [seed], Exclusions(parse("www.example.org", "optout.txt")))
    assert scope.judge(seed) == Verdict(False, "exclude", "optout.txt line 1: www.example.org")
    assert scope.judge(other).admit
    scope.exclude(Exclusions())
    assert (scope.judge(seed).admit, scope.widened) == (True, True)
