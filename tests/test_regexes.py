"""No regular expression of ours can be made to take long (FAULTS P9): all of them are found, read and timed."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import long

parser: Any = importlib.import_module("re._parser")
ROOT = Path(__file__).parent.parent
METHODS = {"match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
THEIRS = {"pattern", "p"}  # names of what the user gave: --include and --exclude are his own
OTHER = 256  # stands for every character beyond Latin-1
ALL = frozenset(range(OTHER + 1))


@dataclass(frozen=True, slots=True)
class Used:
    """A pattern and how it is called; ``where`` names it in a failing test."""

    where: str
    pattern: re.Pattern[Any]
    method: str


def used() -> Iterator[Used]:
    """Every pattern in `crawler` and `storage` with each method that is called on it."""
    for path in sorted([*ROOT.glob("crawler/**/*.py"), *ROOT.glob("storage/**/*.py")]):
        tree = ast.parse(path.read_text("utf-8"))
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = vars(importlib.import_module(name)) if name != "crawler.__main__" else {}
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                yield from _of_call(call, call.func, f"{name}:{call.lineno}", module)


def _of_call(call: ast.Call, function: ast.Attribute, where: str, module: dict[str, Any]) -> Iterator[Used]:
    value, method = function.value, function.attr
    if not isinstance(value, ast.Name) or method not in METHODS | {"compile"}:
        return
    held = module.get(value.id)
    if isinstance(held, re.Pattern):
        yield Used(f"{where} {value.id}", held, method)
    elif held is re and isinstance(call.args[0], ast.Constant):
        flags = next((k.value for k in call.keywords if k.arg == "flags"), None)
        assert flags is None, f"{where}: compile it, then its flags are seen"
        if method != "compile":
            yield Used(where, re.compile(call.args[0].value), method)
    elif held is re and method != "compile":
        given = call.args[0]
        assert isinstance(given, ast.Name), f"{where}: a pattern nobody can see"
        assert given.id in THEIRS, f"{where}: a pattern nobody can see"


USED = {f"{u.where} {u.method}": u for u in used()}


def test_p9_all_patterns_are_found() -> None:
    """As many as there are in the sources, by another way of counting: none is looked up where it cannot be seen."""
    compiled = {id(u.pattern) for u in USED.values()}
    for path in ROOT.glob("crawler/**/*.py"):
        if path.name == "__main__.py":
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        lost = [n for n, v in vars(module).items() if isinstance(v, re.Pattern) and id(v) not in compiled]
        assert lost == [], f"{path}: how is it used?"
    assert len(USED) >= 30


# --- reading them


def unbounded(item: Any) -> bool:
    return item[0] in (parser.MAX_REPEAT, parser.MIN_REPEAT) and item[1][1] is parser.MAXREPEAT


def inside(item: Any) -> list[list[Any]]:
    """The sequences an item is made of."""
    code, value = item
    if code in (parser.MAX_REPEAT, parser.MIN_REPEAT, parser.POSSESSIVE_REPEAT):
        return [list(value[2])]
    if code is parser.SUBPATTERN:
        return [list(value[3])]
    if code is parser.BRANCH:
        return [list(branch) for branch in value[1]]
    return [list(value[1])] if code in (parser.ASSERT, parser.ASSERT_NOT) else []


def optional(item: Any) -> bool:
    """Whether an item may match nothing."""
    code, value = item
    if code in (parser.MAX_REPEAT, parser.MIN_REPEAT):
        return value[0] == 0 or all(map(optional, value[2]))
    if code in (parser.SUBPATTERN, parser.BRANCH):
        return any(all(map(optional, sequence)) for sequence in inside(item))
    return code in (parser.AT, parser.ASSERT, parser.ASSERT_NOT)


def letters(item: Any) -> frozenset[int]:
    """The characters an item may be made of; more rather than fewer."""
    code, value = item
    if code is parser.LITERAL:
        return frozenset({min(value, OTHER), ord(chr(value).swapcase()[0]) if value < 128 else OTHER})
    if code is parser.NOT_LITERAL:
        return ALL - {value}
    if code is parser.IN:
        found = frozenset().union(*(letters(one) for one in value if one[0] is not parser.NEGATE))
        return ALL - found | {OTHER} if value[0][0] is parser.NEGATE else found
    if code is parser.RANGE:
        return frozenset(range(value[0], min(value[1], OTHER) + 1))
    if code in (parser.CATEGORY, parser.ANY):
        return ALL
    return frozenset().union(*(letters(one) for sequence in inside(item) for one in sequence))


def readings(sequence: list[Any]) -> list[list[Any]]:
    """The sequence without groups and alternatives: one for each way to read it. '?' is an alternative too."""
    parts: list[list[list[Any]]] = []
    for item in sequence:
        code, value = item
        if code in (parser.SUBPATTERN, parser.BRANCH):
            parts.append([one for inner in inside(item) for one in readings(inner)])
        elif code in (parser.MAX_REPEAT, parser.MIN_REPEAT) and value[1] == 1:
            parts.append([[], *readings(list(value[2]))])
        else:
            parts.append([[item]])
    return [list(chain.from_iterable(one)) for one in product(*parts)]


def ambiguous(sequence: list[Any], fails: bool) -> Iterator[str]:
    """Pairs of unbounded repeats that may share characters between them, with something behind that may fail."""
    for reading in readings(sequence):
        for at, item in enumerate(reading):
            if not unbounded(item):
                continue
            after = fails or not all(map(optional, reading[at + 1 :]))
            for one, two in product(*[readings(inside(item)[0])] * 2):
                yield from ambiguous(one + two, True)
            for next_at, other in enumerate(reading[at + 1 :], at + 1):
                rest = fails or not all(map(optional, reading[next_at + 1 :]))
                if after and rest and unbounded(other) and letters(item) & letters(other):
                    yield f"{item} and {other}"
                if not optional(other):
                    break


CLEARED = {"_ATTRIBUTE": "whatever its last, optional part needs, the first greedy try succeeds without it"}


@pytest.mark.parametrize("name", [name for name in USED if name.split()[1] not in CLEARED])
def test_p9_no_nested_or_adjacent_unbounded_repeats(name: str) -> None:
    """No two unbounded repeats can divide the same characters between them in many ways."""
    one = USED[name]
    tree = list(parser.parse(one.pattern.pattern, one.pattern.flags & ~re.UNICODE | 0))
    assert list(ambiguous(tree, one.method == "fullmatch")) == []


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"a*a*b", r"(a*)*b", r"\s*,?\s*x", r"(a|b+)*c", r"(x+y?)+z"])
def test_the_linter_knows_what_is_bad(pattern: str) -> None:
    """What is known to blow up is refused."""
    assert list(ambiguous(list(parser.parse(pattern)), False))


# --- timing them


def atoms(sequence: list[Any]) -> Iterator[str]:
    """Short texts the parts of a pattern match, one for each."""
    run = ""
    for item in sequence:
        if item[0] is parser.LITERAL:
            run += chr(item[1])
            continue
        if run:
            yield run
            run = ""
        found = letters(item) - {OTHER}
        if found:
            yield chr(min(found & set(b"a0 =/,\"") or found))
        for inner in inside(item):
            yield from atoms(inner)
    if run:
        yield run


def attacks(pattern: re.Pattern[Any], size: int) -> Iterator[Any]:
    """The parts of a pattern repeated, alone and in pairs, after each possible beginning, with a bad end."""
    parts = list(dict.fromkeys(["", *atoms(list(parser.parse(pattern.pattern))), "\x01"]))[:14]
    starts = parts[:4]
    for start, one, two in product(starts, parts, parts):
        unit = one + two
        if unit:
            text = start + unit * (size // len(unit)) + "\x01"
            yield text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text


def call(one: Used, text: Any) -> float:
    """CPU seconds of the call as the crawler makes it."""
    method = getattr(one.pattern, one.method)
    empty = text[:0]
    start = time.thread_time()
    found = method(empty, text) if one.method in ("sub", "subn") else method(text)
    if one.method == "finditer":
        list(found)
    return time.thread_time() - start


@pytest.mark.parametrize("name", USED)
def test_p9_adversarial_input_takes_linear_time(name: str) -> None:
    """1 MB takes at most 50 ms; the fast form asks 20 kB for a fiftieth of it, with 10 ms for the measuring."""
    one = USED[name]
    for size, limit in ((2_000, 0.011), (long(20_000, 1_000_000), long(11, 50) / 1000)):
        for text in attacks(one.pattern, size):
            took = call(one, text)
            if took > limit:
                took = min(call(one, text) for _ in range(3))
            assert took <= limit, f"{took * 1000:.0f} ms for {size} of {text[:60]!r}"
