"""What a page says about how it may be used: nofollow and noindex, and signals about AI use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from crawler.fetch.robots import Robots
from crawler.frontier.optout import reserved
from crawler.parse.html import extract
from crawler.spec import BadSpec, CrawlSpec, from_mapping
from crawler.visit import Extract, Outcome
from tests.commands import QUICK, cli
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.web import Answer, Site, page

HTML = ("Content-Type", "text/html")


@pytest.mark.parametrize(("tag", "header", "directives", "followed"), [
    ("nofollow", None, "nofollow", False), ("none", None, "nofollow noindex", False),
    ("noindex, noarchive", None, "noarchive noindex", True), ("", "nofollow", "nofollow", False),
    ("", "poolcrawl: nofollow", "nofollow", False), ("", "otherbot: nofollow", None, True),
    ("", "otherbot: noindex, PoolCrawl: none", "nofollow noindex", False),
    ("", "unavailable_after: 25 Jun 2030 15:00:00 PST, noarchive", "noarchive", True),
    ("NOAI, noimageai", "*: noindex", "noai noimageai noindex", True)])
async def test_l7_directives_of_page_and_header(serve: Serve, crawl_file: Path, tag: str, header: str | None,
                                                directives: str | None, followed: bool) -> None:
    """nofollow and none in meta robots or X-Robots-Tag (for all, or for poolcrawl) bar the page's links: 0 requests; noindex,
    noarchive and the others are stored with the page."""
    headers = (HTML, ("X-Robots-Tag", header)) if header else (HTML,)
    body = f'<meta name="robots" content="{tag}"><a href="/next">x</a>'.encode()
    web = await serve(Site({"/": Answer(body=body, headers=headers), "/next": page()}))
    await run(web, crawl_file)
    assert ("/next" in [r.path for r in web.requests]) == followed
    assert ask(crawl_file, "SELECT robots FROM pages WHERE url NOT LIKE '%next'") == [(directives,)]
    assert ask(crawl_file, "SELECT reason FROM skipped") == ([] if followed else [("nofollow",)])


SIGNALS = (("TDM-Reservation", "1"), ("TDM-Policy", "https://h.test/p.json"), ("X-Robots-Tag", "noai, noimageai"),
           ("Content-Usage", "train-ai=n"), ("Content-Signal", "search=yes, ai-train=no"))
ROBOTS = "User-agent: *\nContent-Signal: search=yes, ai-train=no\nContent-Usage: train-ai=n\nDisallow: /x\n"


async def test_l9_signals_are_recorded_as_they_came(serve: Serve, crawl_file: Path) -> None:
    """Response headers, meta elements and robots.txt lines about AI use are in the file word for word; by default they change
    nothing."""
    body = (b'<meta name="robots" content="noai"><meta name="tdm-reservation" content="1">'
            b'<meta name="tdm-policy" content="/tdm.json">')
    web = await serve(Site({"/": Answer(body=body, headers=(HTML, *SIGNALS))}, robots=ROBOTS))
    await run(web, crawl_file)
    ((headers, robots, data, digest),) = ask(crawl_file, """SELECT f.headers, p.robots, p.data, p.digest FROM pages p
      JOIN url u ON u.id = p.id JOIN fetch f ON f.id = u.last""")
    kept = {name.lower(): value for name, value in json.loads(headers)}
    assert {name.lower(): value for name, value in SIGNALS}.items() <= kept.items()
    assert robots == "noai noimageai"
    assert {"tdm-reservation": "1", "tdm-policy": "/tdm.json"}.items() <= json.loads(data).items()
    assert digest == hashlib.sha256(body).hexdigest()
    stored = ask(crawl_file, "SELECT b.codec, b.data FROM origin o JOIN fetch f ON f.id = o.robots_fetch "
                             "JOIN body b ON b.id = f.body")
    from storage.codec import unpack

    assert unpack(*stored[0]) == ROBOTS.encode()


@pytest.mark.parametrize(("signal", "robots"), [
    ({"headers": (HTML, ("X-Robots-Tag", "noai"))}, ""), ({"headers": (HTML, ("tdm-reservation", "1"))}, ""),
    ({"headers": (HTML, ("Content-Usage", "train-ai=n"))}, ""),
    ({"body": b'<title>T</title><meta name="robots" content="noai">SECRETBODY'}, ""),
    ({}, "User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n")], ids=["tag", "tdm", "usage", "meta", "robots"])
async def test_l9_respected_a_reserved_body_is_not_stored(serve: Serve, crawl_file: Path, signal: dict[str, Any],
                                                          robots: str) -> None:
    """With --respect-ai-optout: no body and nothing taken out of it, but its digest and size, title, links, and the signal by
    name."""
    body = b"<title>T</title>SECRETBODY"
    web = await serve(Site({"/": Answer(**{"body": body, "headers": (HTML,), **signal})}, robots=robots))
    await run(web, crawl_file, respect_ai_optout=True, extract={"body": "body"}, data=["metadata"])
    ((title, size, parse, data),) = ask(crawl_file, "SELECT title, size, parse, data FROM pages")
    assert (title, size) == ("T", None)
    assert parse.startswith("body withheld: ")
    sent = signal.get("body", body)
    assert json.loads(data) == {"digest": hashlib.sha256(sent).hexdigest(), "size": len(sent)}
    assert ask(crawl_file, "SELECT count(*) FROM body b JOIN fetch f ON f.body = b.id WHERE f.outcome = 'page'") == [(0,)]


@pytest.mark.parametrize(("headers", "mime", "why"), [
    ({"Content-Usage": "train-ai=y"}, None, None), ({"Content-Usage": "search=n"}, None, None),
    ({"Content-Usage": "search=y, train-ai = n"}, None, "content-usage search=y, train-ai = n"),
    ({"Content-Signal": "ai-train=yes, search=no"}, None, None), ({"tdm-reservation": "0"}, None, None),
    ({"X-Robots-Tag": "noimageai"}, "text/html", None), ({"X-Robots-Tag": "noimageai"}, "image/png", "noimageai"),
    ({"Content-Usage": "train-ai=nothing-of-the-kind"}, None, None)])
def test_l9_what_reserves_and_what_does_not(headers: dict[str, str], mime: str | None, why: str | None) -> None:
    """Only a refusal of AI use reserves; noimageai reserves images."""
    found = Extract(robots=frozenset(headers.get("X-Robots-Tag", "").split()), mime=mime)
    assert reserved(Outcome("http://h.test/", 200, headers=tuple(headers.items())), found) == why


def test_l9_signals_of_robots_txt_belong_to_a_group() -> None:
    """The lines of our group, else those of '*'; a line before any group is for all."""
    text = b"User-agent: *\nContent-Signal: ai-train=no\n\nUser-agent: good\nContent-Usage: train-ai=y\nDisallow: /x\n"
    robots = Robots.parse(text)
    assert (robots.signals("poolcrawl"), robots.signals("good")) == (["ai-train=no"], ["train-ai=y"])
    assert Robots.parse(b"Content-Signal: ai-train=no").signals("poolcrawl") == ["ai-train=no"]
    assert not robots.verdict("good", "http://h.test/x").allowed


def test_l9_a_page_keeps_the_first_meta() -> None:
    """Of several elements of one name the first counts."""
    page_ = extract(b'<meta name=TDM-Reservation content=1><meta name=tdm-reservation content=0>', "http://h.test/")
    assert page_.data["tdm-reservation"] == "1"


async def test_l9_the_option_can_be_given_and_taken_back(serve: Serve, crawl_file: Path) -> None:
    """--respect-ai-optout, --no-respect-ai-optout, and true or false in the spec file."""
    web = await serve(Site({"/": page("/1", "/2"), "/1": page(), "/2": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--respect-ai-optout", "--max-pages", 1)
    done = await cli("resume", crawl_file, "--no-respect-ai-optout", "--max-pages", 2, "--progress", "none")
    assert "respect-ai-optout True -> False" in done.err
    assert from_mapping({"respect-ai-optout": True}) == CrawlSpec(respect_ai_optout=True)
    with pytest.raises(BadSpec, match="must be bool"):
        from_mapping({"respect-ai-optout": 1})


@pytest.mark.parametrize(("contact", "sent"), [
    ("https://me.test/bot", None), ("me@example.org", "me@example.org"), ("mailto:me@example.org", "me@example.org"),
    ("nobody", BadSpec), ("@", BadSpec), ("ftp://me.test/", BadSpec), ("a b@c", BadSpec)])
def test_l5_a_contact_is_a_url_or_a_mail_address(contact: str, sent: Any) -> None:
    """Anything else is refused before the start; a mail address is also sent as From."""
    from crawler.fetch.headers import sent_to_all

    if sent is BadSpec:
        with pytest.raises(BadSpec, match="neither a URL nor a mail address"):
            CrawlSpec(contact=contact)
    else:
        assert sent_to_all(CrawlSpec(contact=contact)).get("From") == sent
