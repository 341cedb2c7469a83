"""What a running crawl can be told, as a rule: requests in, changed settings or a sentence out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.control import request
from crawler.orders import LIVE, BadOrder, decide, is_host, sentence
from crawler.spec import BadSpec, CrawlSpec
from storage.text import to_json

SPEC = CrawlSpec(delay=1.0, max_pages=100, host_delay=("slow.test=9",), exclude=("a",), exclude_host=("out.test",))


@pytest.mark.parametrize(("words", "settings", "said"), [
    ("set delay=2", {"delay": 2.0}, ["delay 1 -> 2"]),
    ("set delay=default max-pages=none", {"delay": 1.0, "max_pages": None}, ["max-pages 100 -> none"]),
    ("set max_pages=7 ip-delay=0.5", {"max_pages": 7, "ip_delay": 0.5}, ["max-pages 100 -> 7", "ip-delay none -> 0.5"]),
    ("set host=B.TEST delay=2.5", {"host_delay": ("slow.test=9", "b.test=2.5")}, ["delay of b.test 1 -> 2.5"]),
    ("set host=slow.test delay=3", {"host_delay": ("slow.test=3",)}, ["delay of slow.test 9 -> 3"]),
    ("set host=slow.test delay=none", {"host_delay": ()}, ["delay of slow.test 9 -> 1"]),
    ("set host=bücher.test delay=2", {"host_delay": ("slow.test=9", "xn--bcher-kva.test=2")},
     ["delay of xn--bcher-kva.test 1 -> 2"]),
    ("set host=[::1] delay=2", {"host_delay": ("slow.test=9", "[::1]=2")}, ["delay of [::1] 1 -> 2"]),
    ("exclude ads.test *.b.test 192.0.2.0/24 /cal\\d+ out.test a", {
        "exclude_host": ("out.test", "ads.test", ".b.test", "192.0.2.0/24"), "exclude": ("a", "/cal\\d+")},
     ["exclude-host ads.test", "exclude-host .b.test", "exclude-host 192.0.2.0/24", "exclude /cal\\d+"]),
    ("pause", {}, ["paused"]), ("resume", {}, []), ("stop", {}, ["stopping: what is in flight may end"]), ("show", {}, [])])
def test_what_can_be_ordered(words: str, settings: dict[str, Any], said: list[str]) -> None:
    """What is typed becomes settings of the spec, with a sentence for each that changes."""
    do, *rest = words.split()
    order = decide(request(do, tuple(rest)), SPEC)
    assert (order.do, dict(order.settings)) == (do, settings)
    assert [sentence(change) for change in order.changes] == said
    SPEC.changed(**order.settings)


@pytest.mark.parametrize(("asked", "words"), [
    ({"do": "dance"}, "is none of show, set"), ([], "is none of"), ("pause", "is none of"), ({"do": ["set"]}, "is none of"),
    ({"do": "set"}, "set what"), ({"do": "set", "settings": {"scope": "any"}}, "scope cannot be set while the crawl runs"),
    ({"do": "set", "settings": {"connections": 5}}, "then `crawler resume` with the option"),
    ({"do": "set", "settings": {"delay": "x"}}, "must be a number"), ({"do": "set", "settings": {"delay": -1}}, "0 or more"),
    ({"do": "set", "settings": {"delay": "nan"}}, "must be a number"), ({"do": "set", "settings": {"delay": 1e400}}, "must be"),
    ({"do": "set", "settings": {"max_pages": 1.5}}, "a whole number"),
    ({"do": "set", "settings": {"max_pages": 0}}, "at least 1"),
    ({"do": "set", "host": "a.test", "settings": {"max_pages": 5}}, "only the delay can be set"),
    ({"do": "set", "host": "http://a.test/", "settings": {"delay": 5}}, "without scheme or port"),
    ({"do": "set", "host": "a.test:8080", "settings": {"delay": 5}}, "without scheme or port"),
    ({"do": "set", "host": 5, "settings": {"delay": 5}}, "is no host name"),
    ({"do": "exclude"}, "exclude what"), ({"do": "exclude", "patterns": ["("]}, "is no regular expression"),
    ({"do": "exclude", "hosts": ["a b"]}, "is neither a host"), ({"do": "exclude", "patterns": ["\ud800"]}, "printable"),
    ({"do": "exclude", "patterns": "x"}, "lists")])
def test_what_cannot_is_refused_with_words(asked: Any, words: str) -> None:
    """The sentence says what is wrong and what would do."""
    with pytest.raises((BadOrder, BadSpec), match=words.replace("`", ".")):
        decide(asked, SPEC)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3))
REQUESTS = st.fixed_dictionaries({"do": st.sampled_from(["set", "exclude", "pause"]) | VALUES}, optional={
    "host": VALUES | st.sampled_from(["a.test", "[::1]"]), "hosts": VALUES | st.lists(st.text(), max_size=3),
    "patterns": VALUES | st.lists(st.text(), max_size=3),
    "settings": VALUES | st.dictionaries(st.sampled_from(LIVE), VALUES | st.floats(0, 9).map(str), max_size=3)})


@given(REQUESTS | VALUES)
def test_no_request_is_a_bug(asked: Any) -> None:
    """Whatever JSON comes in: an order whose settings are good and can be stored, or a sentence."""
    try:
        order = decide(json.loads(json.dumps(asked)), SPEC)
    except (BadOrder, BadSpec) as error:
        assert str(error)  # noqa: PT017 - which of the two, is no matter
        return
    to_json(SPEC.changed(**order.settings).to_json())
    to_json(list(order.changes))
    assert all(sentence(change) for change in order.changes)


@pytest.mark.parametrize(("word", "host"), [
    ("www.example.org", True), ("*.example.org", True), (".example.org", True), ("192.0.2.0/24", True), ("2001:db8::/32", True),
    ("localhost", True), ("calendar", False), (r"\.pdf$", False), ("/private/", False), ("^https://a.test/", False)])
def test_a_word_is_a_host_or_an_expression(word: str, host: bool) -> None:
    """A host has a dot or a colon and nothing that only an expression has."""
    assert is_host(word) == host


def test_a_host_has_a_delay_of_its_own() -> None:
    """--host-delay: of that host alone, written as people write it; anything else is refused with words."""
    spec = CrawlSpec(delay=1.0, host_delay=("A.test.=2.5", "[::1]=0"))
    assert [spec.delay_at(h) for h in ("a.test", "[::1]", "b.test")] == [2.5, 0.0, 1.0]
    for bad in ("a.test", "a.test=", "a.test=x", "http://a.test/=1", "a.test=-1", "a.test=1e9"):
        with pytest.raises(BadSpec, match=r"www\.example\.org=2\.5"):
            CrawlSpec(host_delay=(bad,))
