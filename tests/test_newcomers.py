"""crawler.frontier.newcomers: the names of a wildcard in the DNS come so many an hour (FAULTS T4)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from crawler.frontier.newcomers import HOUR, Newcomers
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.web import Answer, Request, Site


def test_t4_a_domain_brings_so_many_new_hosts_an_hour() -> None:
    """The hour slides; a host that was counted is not counted again; seeds' hosts and other domains are apart."""
    quota = Newcomers(2, {"www.wild.test"}, {"a.wild.test": -1000.0})
    assert [quota.wait(f"{name}.wild.test", 0.0) for name in ("a", "b", "b", "c", "www")] == [0.0, 0.0, 0.0, 2600.0, 0.0]
    assert quota.wait("c.tame.test", 0.0) == 0.0
    assert quota.wait("c.wild.test", HOUR - 1000.0) == 0.0
    assert quota.wait("d.wild.test", HOUR - 1000.0) == 1000.0
    assert Newcomers(0, (), {}).wait("a.wild.test", 0.0) == 0.0


async def test_t4_a_wildcard_in_the_dns_is_slowed(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a domain in which each page links to new names so many hosts are asked, over a restart too; the rest waits, with
    the reason in `hosts`."""
    asked: set[str] = set()

    def page(request: Request) -> Answer:
        asked.add(str(dict(request.headers).get("Host", request.host)))
        n = len(asked)
        links = "".join(f"<a href='http://n{n}x{k}.wild.test:{port}/'>x</a>" for k in range(5))
        return Answer(body=links.encode())

    def names(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.2", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", names)
    web = await serve(Site({"/": page}), Site({"/": page}))
    port = int(web.url().rsplit(":", 1)[1].strip("/"))
    options: dict[str, Any] = {"scope": "any", "new_hosts_per_hour": 7, "patience": 0.5, "robots": "ignore"}
    for most, state, hosts in ((5, "limit", 4), (None, "deferred", 7), (None, "deferred", 7)):
        assert (await run(web, crawl_file, max_pages=most, **options)).state == state
        assert ask(crawl_file, "SELECT count(*) FROM hosts WHERE host LIKE '%.wild.test' AND pages > 0") == [(hosts,)]
    [(reason, n)] = ask(crawl_file, "SELECT trouble, count(*) FROM hosts WHERE trouble IS NOT NULL GROUP BY 1")
    assert (reason, n > 10) == ("new hosts of its domain come 7 an hour (--new-hosts-per-hour)", True)
