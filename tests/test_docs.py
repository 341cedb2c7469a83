"""The documentation is run: its examples against a small web on loopback, its tables against the program.

In an example `https://example.org/` stands for that web and `http://127.0.0.1:8080/` for the demo's; a crawl gets a short
delay, and one from Python a new file. Of a `console` block what follows a command is looked for in what it shows, line by line,
in that order; `…` stands for anything.
`<!-- not run: why -->` above a block leaves it out. The blocks of a page run in order in one folder, with this checkout;
the folder holds a finished `crawl.db`, unless the page begins from nothing, with the demo's web. A block of Python or TOML that
begins with `# name.ext` is saved under that name as well.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from functools import reduce
from pathlib import Path

import click
import pytest

from crawler.cli import errors
from crawler.cli.main import COMMANDS, cli
from crawler.demo.server import ADDRESSES, serving
from crawler.spec import from_mapping
from tests.killing import environment
from tests.web import Site, Web, page

MATRIX = (("P", 11), ("H", 20), ("U", 11), ("R", 13), ("T", 5), ("O", 6), ("D", 23), ("X", 9), ("N", 9), ("L", 10), ("V", 6))
ROOT = Path(__file__).resolve().parent.parent
FAULT_TABLE = ROOT / "docs/faults.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKING = [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("seeds/*.md")]
BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+ -->\n)?^```(?P<kind>sh|console|python|sql|toml)\n(?P<code>.*?)^```$",
                   re.M | re.S)
SHORT = {"--delay 0.1": "", "crawler crawl ": "crawler crawl --delay 0.02 ", 'contact="': 'delay=0.02, contact="',
         'store="crawl.db"': 'store="fresh.db"', "PYTHONPATH=. ": "PYTHONPATH=.:$PYTHONPATH "}
DEMO = "http://127.0.0.1:8080/"
SITE = {"/": page("/a", "/b", "/gone", "/private/x"), "/a": page("/"), "/b": page("/a")}


def blocks(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, kind, code) of what is to be run."""
    text = path.read_text("utf-8")
    for found in BLOCK.finditer(text):
        if not found["skip"]:
            yield text.count("\n", 0, found.start("code")), found["kind"], found["code"]


def run_block(kind: str, code: str, folder: Path) -> None:
    """One example, as a reader would run it; raises when it fails."""
    if kind == "sql":
        with closing(sqlite3.connect(folder / "crawl.db")) as db:
            assert db.execute(code).fetchall(), "no rows: the example shows nothing"
    elif kind in ("toml", "python"):
        named = re.match(r"# (\w+\.\w+)\n", code)
        file = folder / (named[1] if named else "example.py")
        file.write_text(code, "utf-8")
        if kind == "toml":
            from_mapping(tomllib.loads(code))
        else:
            shell(folder, sys.executable, str(file))
    elif kind == "console":
        for typed in re.split(r"^\$ ", code, flags=re.M)[1:]:
            command, *expected = typed.splitlines()
            output = shell(folder, "bash", "-euc", command)
            shown = iter([plain(line) for line in output.splitlines()])
            for line in map(plain, expected):
                pattern = re.escape(line).replace("…", ".*")
                there = any(re.fullmatch(pattern, given) for given in shown)
                assert there, f"$ {command}\ndoes not show: {line}\nbut:\n{output}"
    else:
        shell(folder, "bash", "-euc", code)


def plain(line: str) -> str:
    """What a line says; how it is spaced depends on the length of the numbers in it."""
    return " ".join(re.sub("─+", "─", line).split())


def shell(folder: Path, *command: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, cwd=folder, env={**environment(), "PATH": path}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("path", [p for p in PAGES if list(blocks(p))], ids=lambda p: p.stem)
async def test_examples_run(path: Path, tmp_path: Path) -> None:
    """Every example of a page does what it says, in the order of the page."""
    robots = "User-agent: *\nDisallow: /private/\n"
    async with Web(Site(SITE, robots=robots)) as web, serving(addresses=ADDRESSES[:1]) as demo:
        words = {"https://example.org/": web.url(), DEMO: demo.seeds[0], **SHORT}
        first = "crawler crawl https://example.org/ --contact you@example.org -o crawl.db"
        for line, kind, code in [*[(0, "sh", first)] * (DEMO not in path.read_text("utf-8")), *blocks(path)]:
            there = reduce(lambda text, word: text.replace(*word), words.items(), code)
            try:
                await asyncio.to_thread(run_block, kind, there, tmp_path)
            except (AssertionError, sqlite3.Error, ValueError) as error:
                pytest.fail(f"{path.name}, line {line}:\n{there}\n{error}")


def test_reference_pages_are_current() -> None:
    """schema.md and the tables of cli.md are what docs/generate.py writes from the code."""
    command = [sys.executable, str(ROOT / "docs/generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run: python docs/generate.py\n{done.stdout}{done.stderr}"


def test_every_command_and_option_is_described() -> None:
    """docs/cli.md has a section for each command and names each option of it."""
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    for name in COMMANDS:
        assert f"\n## {name}\n" in text
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        missing = [o for p in command.params if isinstance(p, click.Option) for o in p.opts if f"`{o}`" not in text]
        assert missing == [], name


def test_every_exit_code_is_described() -> None:
    """docs/cli.md has a row for each exit code."""
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    known = {errors.USAGE, errors.DEFERRED, errors.BUG, errors.STORE, errors.LOCKED, errors.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)} == known | {0, 1, 128 + 15}


def test_every_dependency_is_described() -> None:
    """docs/dependencies.md has a row for each run-time dependency, with the floor that pyproject.toml gives."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = set(re.findall(r"^([\w.-]+)>=([\w.]+)", "\n".join(project["dependencies"]), re.M))
    text = (ROOT / "docs/dependencies.md").read_text("utf-8").partition("## What was not taken")[0]
    assert set(re.findall(r"^\| ([\w.-]+) \| (\d[\w.]*) \|", text, re.M)) == declared


def test_fault_table_names_tests_that_exist() -> None:
    """Each test that docs/faults.md names is there."""
    for file, name in re.findall(r"`(test_\w+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text("utf-8")):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), name


def fault_rows() -> dict[str, str]:
    """The state of each row of docs/faults.md."""
    text = FAULT_TABLE.read_text("utf-8").partition("## Seen to fail")[0]
    return dict(re.findall(r"^\| ([A-Z]\d+) \| .* \| (.*) \|$", text, re.M))


def test_every_row_of_the_fault_matrix_is_there() -> None:
    """docs/faults.md has each row of the matrix, in order."""
    assert list(fault_rows()) == [f"{letter}{n}" for letter, most in MATRIX for n in range(1, most + 1)]


def test_every_row_of_the_fault_matrix_is_answered() -> None:
    """A row that no test holds is answered by a decision page."""
    assert [row for row, state in fault_rows().items() if "not held" in state] == []


@pytest.mark.parametrize("path", sorted({*LINKING}), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """A link to a file of the checkout finds it, and its heading."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        found = path.parent / target if target else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{target}#{anchor}"


def test_every_page_is_listed() -> None:
    """docs/index.md leads to every page of docs/; some pages are parts of others, and decisions have a list of their own."""
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/index.md").read_text("utf-8")))
    below = {"conformance-html.md", "conformance-http.md", "performance-notes.md", "index.md"}
    assert {path.name for path in ROOT.glob("docs/*.md")} - below == listed


def test_no_merge_is_left_half_done() -> None:
    """No page, source or table has the marks of a conflict in it."""
    found = [path for ending in ("md", "py", "toml", "sql") for path in ROOT.rglob(f"*.{ending}")
             if not {".venv", "build"} & set(path.parts) and re.search(r"^(<{7}|>{7}) ", path.read_text("utf-8"), re.M)]
    assert found == []
