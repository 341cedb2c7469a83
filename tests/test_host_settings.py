"""Settings of single hosts: `[host."example.org"]` in a spec, from its checks to what a server sees."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import tomllib
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from crawler.api import _tops
from crawler.frontier import politeness
from crawler.frontier.hosts import HostSpecs
from crawler.frontier.scope import Scope
from crawler.hosts import Hosts, given_way
from crawler.spec import BadSpec, CrawlSpec, from_mapping
from crawler.url import admit
from storage.model import Budgets, HostBudget
from storage.sqlite import SqliteStore
from tests.commands import QUICK, cli
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.settlements import NOW, first, judge, link, page, queue, start
from tests.web import Request, Site
from tests.web import page as html

TOML = """
delay = 2.0
exclude = ['\\.iso$']
max-pages-per-host = 50
[host."www.example.org"]
delay = 5
max-pages = 1000
exclude = ['/private/']
[host."*.Example.org"]
delay = 3
connections = 2
include = ['/docs/']
[host."*.b.example.org"]
adaptive = 0
[host."[::1]"]
budget = 7
"""


def spec(text: str = TOML, **options: Any) -> CrawlSpec:
    return from_mapping({**tomllib.loads(text), **options})


@pytest.mark.parametrize(
    ("host", "found"),
    [  # delay, adaptive, connections, pages, include, exclude
        ("other.org", (2.0, 2.0, 1, 50, (), (r"\.iso$",))),
        ("notexample.org", (2.0, 2.0, 1, 50, (), (r"\.iso$",))),
        ("www.example.org", (5.0, 2.0, 1, 1000, (), (r"\.iso$", "/private/"))),
        ("example.org", (3.0, 2.0, 2, 50, ("/docs/",), (r"\.iso$",))),
        ("a.example.org", (3.0, 2.0, 2, 50, ("/docs/",), (r"\.iso$",))),
        ("x.www.example.org", (3.0, 2.0, 2, 50, ("/docs/",), (r"\.iso$",))),
        ("a.b.example.org", (2.0, 0.0, 1, 50, (), (r"\.iso$",))),
    ],
)
def test_one_table_holds_for_a_host(host: str, found: tuple[Any, ...]) -> None:
    """That of its name, else of the smallest domain; a key stands in the place of the spec's (exclude: beside it), the rest is
    the spec's."""
    at = HostSpecs(spec()).at(host)
    assert (at.delay, at.adaptive, at.per_host, at.max_pages_per_host, at.include, at.exclude) == found


def test_without_tables_every_host_has_the_spec_itself() -> None:
    """Who has no tables pays nothing: no look-up, no copy."""
    plain = CrawlSpec()
    assert HostSpecs(plain).at("a.test") is plain
    assert plain.budgets.special is None


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[host."a/b"]', 'host."a/b": neither a host'),
        ('[host."http://a"]', 'host."http://a": neither a host'),
        ('[host."a:80"]', 'host."a:80": neither a host'),
        ('[host."*"]', 'host."*": neither a host'),
        ('[host."a..b"]', 'host."a..b": neither a host'),
        ('[host."a.org"]\n[host."A.org."]', 'host."A.org.": the same host as host."a.org"'),
        ('host = 1', "host: must be a table"),
        ('host."a.org" = 1', 'host."a.org": must be a table'),
        ('[host."a.org"]\ndealy = 1', "host.\"a.org\".dealy: unknown (did you mean 'delay'?); a host has delay, "
                                      "adaptive, connections, max_pages, include, exclude, budget, path"),
        ('[host."a.org"]\nper-host = 1', "did you mean 'connections'?"),
        ('[host."a.org"]\ndelay = "5"', "host.\"a.org\".delay: must be a number, not '5'"),
        ('[host."a.org"]\ndelay = -1', 'host."a.org".delay: must be 0 or more, not -1'),
        ('[host."a.org"]\nmax-pages = 0', 'host."a.org".max_pages: must be at least 1, not 0'),
        ('[host."a.org"]\ninclude = "("', "host.\"a.org\".include: '(' is no regular expression"),
        ('[host."a.org"]\nbudget = -1', 'host."a.org".budget: must be 0 or more'),
        ('[host."a.org"]\nbudget = 1.5', 'host."a.org".budget: must be int'),
        ('[host."a.org"]\npath = 1', 'host."a.org".path: must be a table'),
        ('[host."a.org".path."x/"]\nbudget = 1', 'host."a.org".path."x/": a path begins with /'),
        ('[host."a.org".path."/x/"]\nmax_pages = 1', 'host."a.org".path."/x/": a path begins with /, and has a budget'),
        ('[host."a.org".path."/x/"]\nbudget = true', 'host."a.org".path."/x/".budget: must be int'),
        ('[host."a.org"]\nconnections = 3', 'host."a.org".connections: 3, and per-ip allows 2 to one address; set that as well'),
        ('[host."a.org"]\ndelay = 0.4', 'host."a.org".delay: 0.4 s, and ip-delay keeps 0.5 s between two requests'),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_names_its_key(toml: str, said: str) -> None:
    """Before anything is sent: the key as it stands in the file, and what would do."""
    with pytest.raises(BadSpec, match=re.escape(said)):
        spec(toml)


def test_names_are_canonical() -> None:
    """A host is named as people write it: in capitals, in any script, with a trailing dot."""
    hosts = Hosts({"B\u00fccher.Example.": {"delay": 9}})
    assert hosts.table("xn--bcher-kva.example") is not None


def test_a_sites_crawl_delay_is_never_undercut() -> None:
    """The longer of a host's setting and its Crawl-delay holds; one beyond what we wait closes the host, unless allowed for."""
    at = HostSpecs(spec()).at("www.example.org")
    assert [politeness.base_delay(at, asked) for asked in (None, 1.0, 8.0)] == [5.0, 5.0, 8.0]
    assert politeness.closed(at, 400.0)
    patient = HostSpecs(spec('[host."a.org"]\ndelay = 500')).at("a.org")
    assert (politeness.closed(patient, 400.0), politeness.closed(CrawlSpec(), 400.0) != "") == ("", True)


@pytest.mark.parametrize(
    ("url", "reason", "detail"),
    [
        ("http://www.example.org/private/x", "exclude", 'matches host."www.example.org".exclude /private/'),
        ("http://www.example.org/x.iso", "exclude", r"matches --exclude \.iso$"),
        ("http://www.example.org/x", None, None),
        ("http://a.example.org/x", "include", 'matches no host."*.Example.org".include'),
        ("http://a.example.org/docs/x.iso", "exclude", r"matches --exclude \.iso$"),
        ("http://other.org/x.iso", "exclude", r"matches --exclude \.iso$"),
        ("http://other.org/private/", None, None),
        ("http://a.b.example.org/x", None, None),
    ],
)
def test_include_and_exclude_of_a_host(url: str, reason: str | None, detail: str | None) -> None:
    """A host's own include stands in the place of the crawl's, its exclude beside it; a refusal names the list that refused."""
    verdict = Scope(spec(scope="any"), [admit("http://seed.test/")]).judge(admit(url))
    assert (verdict.admit, verdict.reason, verdict.detail) == (reason is None, reason, detail)


def test_a_running_crawl_is_changed_for_all_hosts() -> None:
    """What `crawler control` excludes is excluded on hosts with tables, too; a delay it gives one host wins over its table."""
    scope = Scope(spec(scope="any"), [admit("http://seed.test/")])
    here = admit("http://www.example.org/cal/1")
    assert scope.judge(here).admit
    scope.refuse([r"\.iso$", "/cal/"])
    assert [scope.judge(admit(url)).reason for url in (here.url, "http://www.example.org/private/")] == ["exclude"] * 2
    specs = HostSpecs(spec())
    specs.change(spec(host_delay=["www.example.org=9"]))
    assert politeness.base_delay(specs.at("www.example.org"), None, "www.example.org") == 9.0


def test_the_command_line_wins() -> None:
    """What is typed holds for all hosts; the keys that give way are named, the other keys stay."""
    tables = tomllib.loads(TOML)["host"] | {"odd": 1}
    left, gone = given_way(tables, {"delay", "max_pages_per_host", "scope", "exclude"})
    assert gone == ['host."www.example.org".delay', 'host."www.example.org".max-pages', 'host."*.Example.org".delay']
    assert left["www.example.org"] == {"exclude": ["/private/"]}
    assert left["*.Example.org"] == {"connections": 2, "include": ["/docs/"]}
    assert left["odd"] == 1


# --- budgets ---


def special(name: str) -> HostBudget | None:
    paths = (("/cal/", 2), ("/cal/2026/", 1))
    return {"a.test": HostBudget('host."a.test"', None, paths), "c.test": HostBudget('host."c.test"', 1)}.get(name)


async def test_a_path_has_a_budget(tmp_path: Path) -> None:
    """So many URLs below a path, queries included, also across runs; every path that fits counts; the rest is refused by name."""
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, budgets=Budgets(special=special))
        row = await first(store)
        mine = [link(p) for p in ("/cal/2026/1", "/cal/2026/2", "/cal/?d=1", "/cal/3", "/cal", "/x")]
        await store.commit([page(row, *mine, link("/cal/9", host="b.test"), link("/cal/8", host="b.test"))], now=NOW)
        waiting = ["/cal", "/cal/2026/1", "/cal/8", "/cal/9", "/cal/?d=1", "/x"]
        assert sorted(r.place.path for r in await queue(store)) == waiting
        cal, year = ('over host."a.test".path."/cal/".budget 2', 'over host."a.test".path."/cal/2026/".budget 1')
        assert ask(store.path, "SELECT url, reason, detail FROM skipped ORDER BY url") == [
            ("http://a.test/cal/2026/2", "limit", year),
            ("http://a.test/cal/3", "limit", cal),
        ]
    async with SqliteStore(tmp_path / "crawl.db") as store:
        await start(store, budgets=Budgets(special=special))
        mine = [link("/cal/4"), link("/y"), link("/y", host="c.test"), link("/z", host="c.test")]
        await store.commit([page(await first(store, "/x"), *mine)], now=NOW)
        assert ask(store.path, "SELECT url, detail FROM skipped WHERE url LIKE '%4' OR url LIKE '%z' ORDER BY url") == [
            ("http://a.test/cal/4", cal),
            ("http://c.test/z", 'over host."c.test".budget 1'),
        ]
    async with SqliteStore(tmp_path / "crawl.db") as store:  # raised, and judged again
        await start(store, budgets=Budgets(special=lambda name: HostBudget("h", 0, (("/cal/", 4),))))
        assert await store.rescope(judge(), now=NOW) > 0
        assert ask(store.path, "SELECT reason FROM skipped WHERE url LIKE '%/cal/%'") == [("limit",)]


# --- in a crawl ---


async def test_hosts_are_treated_as_their_tables_say(serve: Serve, crawl_file: Path) -> None:
    """At the server: one host's pages end at its limit, its excluded paths are not asked for, its delay is kept; others go on."""
    site = Site({f"/{n}": html(*(f"/{m}" for m in range(8))) for n in range(8)} | {"/": html(*(f"/{m}" for m in range(8)))})
    web = await serve(site, site)
    tables = {"127.0.1.1": {"delay": 0.1, "max_pages": 4, "exclude": ["/3$"]}}
    await run(web, crawl_file, web.url(), web.url(host=2), host=tables)
    one, two = ([r for r in web.requests if r.host == f"127.0.1.{n}" and r.path != "/robots.txt"] for n in (1, 2))
    assert (len(one), len(two)) == (4, 9)
    assert "/3" not in [r.path for r in one]
    gaps = [b.at - a.at for a, b in pairwise(one)]
    assert min(gaps) >= 0.099
    assert ask(crawl_file, "SELECT DISTINCT reason, detail FROM skipped ORDER BY 1") == [
        ("exclude", 'matches host."127.0.1.1".exclude /3$'),
        ("limit", 'host."127.0.1.1".max_pages 4'),
    ]


async def test_connections_of_a_host(serve: Serve, crawl_file: Path) -> None:
    """One host is asked over two connections at once, as its table says, the other over one."""
    open_now, most = Counter[str](), Counter[str]()

    async def slow(request: Request) -> str:
        open_now[request.host] += 1
        most[request.host] = max(most[request.host], open_now[request.host])
        await asyncio.sleep(0.02)
        open_now[request.host] -= 1
        return html(*(f"/{n}" for n in range(6)))

    web = await serve(slow, slow)
    tables = {"127.0.1.1": {"connections": 2}}
    await run(web, crawl_file, web.url(), web.url(host=2), host=tables, max_depth=1, robots="ignore")
    assert (most["127.0.1.1"], most["127.0.1.2"]) == (2, 1)


def test_a_changed_pace_is_no_reason_to_judge_again() -> None:
    """Delays and connections of hosts admit and refuse nothing: a file of ten million URLs is not gone through for them."""
    pace = ['host."a.test".delay', 'host."a.test".adaptive', 'host."a.test".connections']
    assert _tops(pace) == set()
    assert _tops([*pace, 'host."a.test".path."/x/".budget', "max-depth"]) == {"host", "max_depth"}


async def test_tables_are_stored_and_their_changes_named(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """With each run, as JSON; what has changed is named key by key and holds at once; the command line has the last word."""
    web = await serve(Site({"/": html("/a", "/b"), "/a": html(), "/b": html()}))
    toml = tmp_path / "s.toml"
    toml.write_text(f'seeds = ["{web.url()}"]\n[host."127.0.1.1"]\nexclude = ["/b"]\ndelay = 0\n')
    assert (await cli("crawl", "--spec", toml, "-o", crawl_file, "--ip-delay", 0, *QUICK)).code == 0
    toml.write_text(f'seeds = ["{web.url()}"]\n[host."127.0.1.1"]\ndelay = 3\n')
    again = await cli("crawl", "--spec", toml, "-o", crawl_file, "--ip-delay", 0, *QUICK)
    assert again.code == 0, again.err
    assert 'note: host."127.0.1.1".delay gives way to the command line\n' in again.err
    assert 'changed from now on: host."127.0.1.1".exclude /b -> nothing\n' in again.err
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(3,)]
    with closing(sqlite3.connect(crawl_file)) as db:
        specs = [json.loads(s)["host"] for (s,) in db.execute("SELECT spec FROM runs ORDER BY id")]
    assert specs == [{"127.0.1.1": {"exclude": ["/b"]}}, {"127.0.1.1": {}}]
