"""crawler.frontier.traps: paths that are traps by themselves (FAULTS T2)."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.frontier.scope import Scope
from crawler.frontier.traps import REPEATS, SEGMENTS, SHALLOW, trapped
from crawler.spec import CrawlSpec
from crawler.url import admit

ORACLE = re.compile(r"/([^?]*/)\1{3}")  # Heritrix's PathologicalPathDecideRule, with its maxRepetitions at 3
PATHS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=24).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("path", "trap"),
    [
        ("/", False),
        ("/a/a/a", False),
        ("/a/a/a/a", True),
        ("/a/a/a/a/", True),
        ("/x/y/a/a/a/a/z", True),
        ("/a/b/a/b/a/b", False),
        ("/a/b/a/b/a/b/", False),
        ("/a/b/a/b/a/b/a/b", True),
        ("/a/b/c/a/b/c/a/b/c/a/b/c", True),
        ("/a/b/a/b/a/c/a/b", False),
        ("/2026/11/11/11/11-reasons", False),
        ("/a////", False),
        ("/a/////", True),
        ("/?next=/a/a/a/a/a", False),
        ("/a/a/a?/a/a", False),
        ("/" + "/".join(map(str, range(20))), False),
        ("/" + "/".join(map(str, range(20))) + "/", False),
        ("/" + "/".join(map(str, range(21))), True),
    ],
)
def test_t2_paths_that_repeat_are_traps(path: str, trap: bool) -> None:
    """A run of segments that stands more than 3 times in a row, whatever its length, or more than 20 segments."""
    assert (trapped(path) is not None) == trap


@given(PATHS)
def test_t2_the_rule_is_heritrixs(path: str) -> None:
    """For any path: what an expression after Heritrix's says, or more than 20 segments; and none is missed for having
    few slashes."""
    whole = path if path.endswith("/") else path + "/"
    expected = ORACLE.search(whole) is not None or whole.count("/") - 1 > SEGMENTS
    assert (trapped(path) is not None) == expected
    assert not expected or path.count("/") >= SHALLOW > REPEATS


def test_t2_scope_refuses_a_trap_but_no_seed() -> None:
    """The refusal's reason is `trap`, after scope and the filters; a seed is exempt."""
    seed = admit("http://a.test/x/x/x/x/x/")
    scope = Scope(CrawlSpec(exclude=("logout",)), [seed])
    assert scope.judge(seed).admit
    for path, reason in (("x/x/x/x/x/x/", "trap"), ("x/x/x/x/logout", "exclude"), ("x/x/x/y/", None)):
        assert scope.judge(admit(f"http://a.test/{path}")).reason == reason
    assert scope.judge(admit("http://b.test/x/x/x/x/")).reason == "scope"


def test_t2_a_hostile_path_costs_little() -> None:
    """4,096 characters of slashes, or of a run that almost repeats, are judged in less than 1 ms."""
    for path in ("/" * 4096, "/a" * 2048, "/" + "/".join(f"{n % 7}" for n in range(SEGMENTS))):
        began = time.process_time()
        for _ in range(100):
            trapped(path)
        assert (time.process_time() - began) / 100 < 0.001
