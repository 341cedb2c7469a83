"""Imports flow down (DESIGN §3): read from the source, lazy imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 60  # lines of a function

# From the top down; the first pattern that fits a module is its floor. Neighbours on a floor may import each other as
# long as there is no circle.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("crawler.__main__", "crawler.cli", "crawler.cli.*", "crawler.web", "crawler.web.*"),
    ("crawler.mirror.copy", "crawler.mirror.makers", "crawler.mirror.files"),
    ("crawler.report", "crawler.report.*", "crawler.indexing"),
    ("crawler.differences", "crawler.reextract", "crawler.rescope"),
    ("crawler", "crawler.api", "crawler.revise"),
    ("crawler.control",),
    ("crawler.engine",),
    ("crawler.visits",),
    ("crawler.progress", "crawler.writer", "crawler.patient", "crawler.safemode", "crawler.exclude_file", "crawler.log",
     "crawler.metrics", "crawler.orders", "crawler.channel", "crawler.demo", "crawler.demo.*"),
    ("crawler.frontier.frontier",),
    ("crawler.frontier.supply",),
    ("crawler.frontier.stored", "crawler.frontier.load", "crawler.frontier.robots_visit", "crawler.fetch.many"),
    ("crawler.frontier.sitemap_visit", "crawler.frontier.blame", "crawler.frontier.lookups"),
    ("crawler.frontier.workbench", "crawler.frontier.settling", "crawler.fetch.pool", "crawler.fetch.http",
     "crawler.parse.pool", "crawler.parse.process"),
    ("crawler.frontier.*", "crawler.fetch.*", "crawler.parse.worker"),
    ("crawler.parse.*", "crawler.mirror", "crawler.mirror.*"),
    ("crawler.frontier", "crawler.fetch", "crawler.parse", "crawler.descriptors"),
    ("crawler.visit", "crawler.spec", "crawler.stop", "crawler.clock", "crawler.text", "crawler.versions",
     "crawler.extraction", "crawler.revisit", "crawler.listener", "crawler.hosts", "crawler.settings", "crawler.url",
     "crawler.child"),
    ("storage.export", "storage.export.*"),
    ("storage", "storage.sqlite", "storage.reader"),
    ("storage.*",),
)
SHARED = ("storage.links", "storage.model", "storage.store", "storage.codec", "storage.text")
"""What any part of the crawler may know of the storage."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the two packages by its dotted name."""
    found = {}
    for path in sorted([*ROOT.glob("crawler/**/*.py"), *ROOT.glob("storage/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text("utf-8"))


def imported(module: str) -> Iterator[str]:
    """The dotted names a module imports; a name taken from a package is the submodule, if there is one."""
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source


def ours(module: str) -> set[str]:
    """The modules of the two packages that a module imports."""
    return {name for name in imported(module) if name in modules()} - {module}


def floor(module: str) -> int:
    """0 is the top."""
    for number, patterns in enumerate(FLOORS):
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return number
    raise AssertionError(f"{module} has no floor: add it to FLOORS")


def importers(package: str) -> set[str]:
    """The modules that import something of a third party's package."""
    return {module for module in modules() for name in imported(module) if name.partition(".")[0] == package}


def test_no_import_goes_up() -> None:
    """A module imports from its own floor or from below."""
    wrong = [f"{m} imports {other}" for m in modules() for other in sorted(ours(m)) if floor(other) < floor(m)]
    assert wrong == []


def test_no_circle() -> None:
    """No module imports itself by way of others."""
    try:
        TopologicalSorter({module: ours(module) for module in modules()}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' ─► '.join(reversed(error.args[1]))}")


def test_storage_does_not_know_the_crawler() -> None:
    """`storage` never imports `crawler`: the file can be read without it."""
    assert importers("crawler") & {m for m in modules() if m.partition(".")[0] == "storage"} == set()


def test_only_the_composition_roots_choose_a_store() -> None:
    """Below crawler/cli and crawler/api.py the crawler knows the Store protocol and its records, no implementation."""
    lower = [m for m in modules() if m.startswith("crawler") and floor(m) > floor("crawler.api")]
    stores = {m: {n for n in ours(m) if n.partition(".")[0] == "storage"} - set(SHARED) for m in lower}
    assert {m: names for m, names in stores.items() if names} == {}


def test_one_module_knows_the_parser() -> None:
    """Only crawler/parse/html.py imports selectolax."""
    assert importers("selectolax") <= {"crawler.parse.html"}


def test_three_modules_know_the_http_client() -> None:
    """Only crawler.fetch's pool, origin and handler know its client; its exceptions and abstract classes have a seam each."""
    client = {"crawler.fetch.pool", "crawler.fetch.origin", "crawler.fetch.handler"}
    assert importers("aiohttp") <= client | {"crawler.fetch.faults", "crawler.fetch.resolver", "crawler.web.app"}
    assert _aiohttp_names("crawler.web.app") == {"web"}  # its server
    used = _aiohttp_names("crawler.fetch.faults") | _aiohttp_names("crawler.fetch.resolver")
    assert {name for name in used if not _is_exception(name)} == set()


def _aiohttp_names(module: str) -> set[str]:
    """What a module takes from aiohttp's top level."""
    found = set[str]()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "aiohttp":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp":
            found.add(node.attr)
    return found


def _is_exception(name: str) -> bool:
    found = getattr(aiohttp, name)
    modules_allowed = ("abc", "http_exceptions", "client_exceptions")
    return name in modules_allowed or (isinstance(found, type) and issubclass(found, BaseException))


def test_functions_are_short() -> None:
    """No function is longer than 60 lines."""
    long = [
        f"{module}.{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    """Every module begins with a docstring."""
    assert [module for module in modules() if not ast.get_docstring(tree_of(module))] == []


def test_h1_no_body_is_read_whole() -> None:
    """`await response.read()`, `.text()` and `.json()` know no cap: nothing in crawler/ awaits one of them."""
    found = [
        f"{module}:{node.lineno}"
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Await)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in ("read", "text", "json")
        and ast.unparse(node.value.func) != "protocol.read"  # of status and headers, which have their own limits
    ]
    assert found == []
