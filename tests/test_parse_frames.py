"""crawler.parse.wire: what a worker says is read as if it were an enemy's (FAULTS P5)."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.parse import wire
from crawler.url import split
from crawler.visit import Extract
from storage.links import Link, Links
from storage.model import Place


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b"[" * 100_000, b'{"links": 1}', b"\xff", b"null"],
)
def test_answers_are_never_trusted(text: bytes) -> None:
    """Whatever a worker that was taken over says, it is an Extract or BadFrame."""
    with pytest.raises(wire.BadFrame):
        wire.from_answer(text, b"", b"body")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", 1),
        ("groups", [[0, "a", None]]),
        ("groups", [[0, "a", None, 1, None]]),
        ("groups", [[0, 7, None, 1]]),
        ("groups", [[0, "a", 7, 1]]),
        ("groups", [[7, "a", None, 1]]),
        ("groups", [[-1, "a", None, 1]]),
        ("groups", [[True, "a", None, 1]]),
        ("groups", [[0.0, "a", None, 1]]),
        ("groups", [[0, "a", None, 0]]),
        ("groups", [[0, "a", None, 2]]),
        ("groups", [[0, "a", None, -1]]),
        ("groups", [[0, "a", None, True]]),
        ("groups", [[0, "a", None, 1.0]]),
        ("groups", [[0, "a", None, "1"]]),
        ("groups", []),
        ("groups", [[0, "a", None, 1], [0, "b", None, 1]]),
        ("groups", [[0, "a", None, 1], [0, "b", None, 0]]),
        ("groups", [[0, "a", None, 2], [0, "b", None, -1]]),
        ("groups", {"0": 0}),
        ("groups", "0"),
        ("texts", "a\nb"),
        ("texts", 7),
        ("texts", [""]),
        ("paths", 7),
        ("paths", ["/"]),
        ("sites", [["http://a", 7]]),
        ("sites", [["http://a"]]),
        ("sites", [["http://a", "b"]]),
        ("sites", [["http://a", ""]]),
        ("sites", [["http://A", "A"]]),
        ("sites", [["http://a/", "a"]]),
        ("sites", [["http://a\0", "a\0"]]),
        ("sites", [["mailto:", "a"]]),
        ("sites", [["mailto", ""]]),
        ("paths", ".b/"),
        ("paths", ""),
        ("paths", "/\0"),
        ("paths", "/\r"),
        ("paths", "/\n"),
        ("paths", "/\n/"),
        ("paths", "/\u00e9"),
        ("digest", "00"),
        ("codec", "exec"),
        ("data", []),
        ("data", {"deep": json.loads("[" * 900 + "]" * 900)}),
        ("dropped", "x"),
    ],
)
def test_answers_are_checked_field_by_field(key: str, value: object) -> None:
    """One field of the wrong type is enough, or one place that no URL is split into: it would be asked elsewhere than it is
    filed, or not be found by the name it was added under, which ends the crawl."""
    link = Link(Place("http://a", "a", "/"), "a")
    good = wire.as_header(Extract(digest=bytes(32), title="t", links=Links.of([link])))
    assert wire.from_answer(json.dumps(good).encode(), b"", b"body").title == "t"
    with pytest.raises(wire.BadFrame):
        wire.from_answer(json.dumps(good | {key: value}).encode(), b"", b"body")


@pytest.mark.parametrize("size", [1, 7, 1000, 300_000])
def test_frames_come_whole_whatever_the_pieces(size: int) -> None:
    """Frames larger and smaller than the buffer, cut anywhere."""
    sent = [({"n": n}, os.urandom(length)) for n, length in enumerate([0, 5, 700_000 if size > 99 else 9, 0, 300])]
    stream = b"".join(wire.frame(header, len(binary)) + binary for header, binary in sent)
    inbox, got = wire.Inbox(), []
    while stream:
        room = inbox.room()[:size]
        taken = len(room[:] if len(room) <= len(stream) else stream)
        room[:taken], stream = stream[:taken], stream[taken:]
        got += [(json.loads(header), binary) for header, binary in inbox.took(taken, 1 << 20)]
    assert got == sent


def test_a_frame_of_absurd_length_is_refused() -> None:
    """Four gigabytes are not allocated because eight bytes say so, nor one byte more than the page had."""
    for head in (b"\xff" * 8, b"\0\0\0\2\0\0\0\5"):
        inbox = wire.Inbox()
        inbox.room()[:8] = head
        with pytest.raises(wire.BadFrame):
            list(inbox.took(8, most=4))


SITES = ("http://a", "https://b:8080", "mailto:")


@given(
    st.lists(
        st.builds(
            lambda site, path, *more: Link(split(site + path[":/" not in site :]), *more),
            st.sampled_from(SITES),
            st.text("ab/?=%", max_size=4).map("/".__add__),
            st.sampled_from(("a", "img", "canonical")),
            st.sampled_from((None, "nofollow", "me ugc")),
            st.one_of(st.none(), st.text("a é\u2028😀", min_size=1, max_size=5)),
        ),
        max_size=6,
    )
)
def test_links_arrive_as_they_were(links: list[Link]) -> None:
    """Of no link, of one that leads to no host, with and without a text: what the worker found is what the crawler reads."""
    answer = wire.answer(Extract(digest=bytes(32), links=Links.of(links)))
    size, _ = wire.lengths(answer[:8])
    assert list(wire.from_answer(answer[8 : 8 + size], b"", b"body").links) == list(Links.of(links))
    assert sorted(map(str, Links.of(links))) == sorted(map(str, links))


def test_what_is_no_unicode_makes_nobody_an_enemy() -> None:
    """Lone surrogates become question marks on the way: two rels may be the same then."""
    links = Links.of(Link(split(f"http://a/{n}"), "a", rel, rel) for n, rel in enumerate(("\ud800", "\udc00")))
    answer = wire.answer(Extract(digest=bytes(32), links=links))
    size, _ = wire.lengths(answer[:8])
    found = wire.from_answer(answer[8 : 8 + size], b"", b"body").links
    assert [(link.rel, link.text) for link in found] == [("?", "?")] * 2
