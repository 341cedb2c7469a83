"""Writes what the documentation takes from elsewhere: schema.md, the option tables of cli.md, the manual
page, performance.md, faults.md.

    python docs/generate.py            # writes them
    python docs/generate.py --check    # says what is out of date in all but the last, exit code 1
"""

from __future__ import annotations

import ast
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from difflib import unified_diff
from pathlib import Path

import performance
from commands import COMMANDS, options_of
from manpage import manpage

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent / "storage" / "schema.sql"
VIEWS = HERE.parent / "storage" / "views.sql"
DERIVED = HERE.parent / "storage" / "derived.sql"
INDEX = HERE.parent / "storage" / "index.sql"

HEAD = """# The crawl file

<!-- Written by docs/generate.py from storage/schema.sql; edit there. -->

One crawl is one SQLite file. The **views** are for you: their columns keep name, order and meaning, and new ones are only
added at the end. The **tables** are the crawler's own and may change with a version.

Times in views are ISO 8601 text in UTC (`2026-01-31T12:00:00.000Z`), so that they compare and sort as text. Every URL
that was tried or refused is in exactly one of `pages`, `redirects` (as `src`), `failures` and `skipped`; `queue` holds
those still to be tried, or to be tried again. The crawler's own robots.txt requests are in `fetches` only.

Bodies are compressed. `crawler show crawl.db URL` prints one as it was decoded.
"""

ABOUT = {  # views whose statement in the schema has no comment above it
    "redirects": "each redirect, followed or not",
    "broken_links": "each edge to a URL that failed",
    "skipped": "each URL that was refused, and why",
    "runs": "each run: one process's stay with the crawl",
}

COLUMNS = {
    "address": "the address that answered",
    "alike": "`exact`: the same body; `near`: nearly the same text",
    "at": "when the request began",
    "attempt": "1 for the first try",
    "attempts": "tries so far",
    "before": "its value until then",
    "blocked_until": "the whole host is left alone until then; NULL: never blocked",
    "bytes": "received on the wire",
    "change": "`new`, `changed` or `gone`",
    "charset": "the encoding the body was read as",
    "click_depth": "clicks from a seed",
    "connections": "opened",
    "crawl_delay": "seconds, as robots.txt asks; NULL: it does not",
    "data": "JSON: what parsing and your extractor found",
    "delay": "seconds between two requests, as last used",
    "depth": "least number of links from a seed",
    "detail": "the same in words, such as the line of robots.txt",
    "digest": "SHA-256 of the body, hex",
    "downgrade": "1: from https to http, which anyone on the way may read and change",
    "dst": "the target's URL",
    "distance": "bits of the SimHash that differ",
    "due_at": "not tried before",
    "elapsed_ms": "from the start to the last byte",
    "ended_at": "NULL: running, or killed",
    "ending": "`complete`, `deferred`, `limit`, `interrupted` or `killed`",
    "failures": "URLs whose latest outcome is a failure",
    "ends_as": "`page`, `failure`, `skipped`, `queued`, `untried` or `loop`",
    "first": "the row number of that page",
    "fetched_at": "when the request began",
    "found_on": "the page on whose shortest way it was found; NULL: a seed",
    "hops": "redirects on the way",
    "host": "the host name, without a port",
    "hosts": "hosts met, those that are only linked to included",
    "id": "the row's number",
    "inlinks": "how many other URLs do",
    "kind": "`a`, `area`, `frame`, `iframe`, `redirect`, `refresh`, `canonical`, `img`, …",
    "lastmod": "as the sitemap says",
    "mime": "the media type, sniffed where the header is silent",
    "name": "of the setting",
    "now": "its value from then on, or what was excluded",
    "next_fetch_at": "not asked again before",
    "outcome": "`page`, `redirect`, `failure`, `robots` or `sitemap`; of a fetch also `unmodified`: a 304",
    "pages": "URLs whose latest response was 2xx",
    "pagerank": "the share of a random reader's time",
    "parse": "why it was not (wholly) parsed: `timeout`, `memory`, `crash`, …; NULL: parsed",
    "priority": "smaller goes first; above 0: visited before",
    "queued": "URLs waiting",
    "reason": "a word for it: `http_404`, `dns_nxdomain`, `robots`, `scope`, …",
    "redirects": "URLs that redirect",
    "rel": "the link's `rel`",
    "requests": "sent",
    "retry_at": "when it is tried again; NULL: it is final",
    "reused": "requests that went over a connection already open",
    "robots": "meta robots and X-Robots-Tag directives",
    "robots_status": "`ok`, `absent` (everything is allowed) or `unreachable` (nothing is, for now); NULL: never asked",
    "run": "which run, see `runs`",
    "seed": "1: the crawl started here",
    "size": "bytes of the decoded body",
    "skipped": "URLs refused",
    "slowest_ms": "what the longest queue of one host needs at its delay",
    "same_as": "the first page of those that are the same",
    "sitemap": "the first sitemap that lists it; NULL: none",
    "spec": "JSON: every setting in force",
    "src": "the page the edge is on",
    "started_at": "when the run began",
    "status": "HTTP status; NULL: there was no answer",
    "text": "the link's text",
    "title": "the page's title",
    "trouble": "what is wrong with it, in words; NULL: nothing",
    "truncated": "`size`, `time` or `cut`; NULL: whole",
    "url": "the canonical URL, as it was sent",
    "was_digest": "the same, before",
    "was_status": "HTTP status before; NULL: there was no answer",
    "was_title": "the page's title before",
    "way": "the URLs passed, separated by spaces",
    "version": "of the program",
    "what": "`set`, `exclude`, `pause`, `resume` or `stop`",
}


def schema() -> str:
    """docs/schema.md."""
    text = "".join(path.read_text("utf-8").replace("CREATE TEMP VIEW", "CREATE VIEW") for path in (SCHEMA, VIEWS, DERIVED))
    parts = [HEAD, "## Views\n"]
    for view, columns in _views():
        above = re.search(rf"((?:^-- .*\n)+)CREATE VIEW {view} ", text, re.M)
        about = re.sub(r"^-- ", "", above[1], flags=re.M).replace("\n", " ").strip() if above else ABOUT[view]
        parts.append(f"### {view}\n\n{_sentence(about)}\n\n| column | meaning |\n|---|---|\n"
                     + "".join(f"| `{name}` | {COLUMNS[name]} |\n" for name in columns))
    parts.append("## Tables\n\nShown so that a view's statement in `storage/schema.sql` can be read. "
                 "Times are Unix milliseconds.\n")
    for head, body in re.findall(r"^CREATE TABLE (.*)\n((?:  .*\n)+)", text, re.M):
        table, about = re.split(r" \( *(?:-- )?", head, maxsplit=1)
        rows = [re.fullmatch(r"  ([a-z]\w*) (.*?),? *(?:-- (.*))?", line) for line in body.splitlines()]
        parts.append(f"### {table} (table)\n\n{_sentence(about)}\n\n| column | declared | meaning |\n|---|---|---|\n"
                     + "".join(f"| `{row[1]}` | {row[2]} | {row[3] or ''} |\n" for row in rows if row))
    return "\n".join(parts)


def _views() -> list[tuple[str, list[str]]]:
    """Each view and its columns, as SQLite understands them."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("ATTACH ':memory:' AS derived")
        db.executescript(INDEX.read_text("utf-8").replace("TABLE ", "TABLE derived."))
        for path in (SCHEMA, VIEWS, DERIVED):
            db.executescript(path.read_text("utf-8"))
        there = "SELECT name FROM {} WHERE type = 'view' ORDER BY rowid"
        names = [name for kept in ("sqlite_schema", "sqlite_temp_schema") for (name,) in db.execute(there.format(kept))]
        return [(name, [row[1] for row in db.execute(f"PRAGMA table_info({name})")]) for name in names]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else "Each edge, once for each kind."


def options(name: str) -> str:
    """A command's options as a table."""
    rows = []
    for names, value, meaning in options_of(name):
        shown = " ".join(f"`{o}`" for o in names) + (f" *{_cell(value.replace('|', ' | '))}*" if value else "")
        rows.append(f"| {shown} | {_cell(meaning)} |\n")
    return "| option | meaning |\n|---|---|\n" + "".join(rows) if rows else "No options.\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def cli_page(page: str) -> str:
    """docs/cli.md with its option tables renewed."""
    for name in COMMANDS:
        marked = re.compile(rf"(<!-- options of {name} -->\n).*?(<!-- end -->)", re.S)
        page = marked.sub(lambda m, name=name: m[1] + options(name) + m[2], page)
    return page


FAULTS = """# Faults, and the tests that hold us to them

<!-- Written by docs/generate.py from docs/faults.toml and the tests; edit there. -->

What the web, the machine, the network and the operator's own hand may do to a crawl. Each row is *held* by tests whose
names begin with its id; a test's docstring is its requirement, and [all of them are below](#requirements). Where a row
proved wrong, or not worth its price, a decision page says so.
"""


def faults() -> str:
    """docs/faults.md: every row of the matrix with its tests and its state, then each test's requirement."""
    told = tomllib.loads((HERE / "faults.toml").read_text("utf-8"))
    tests = fault_tests()
    parts = [FAULTS]
    for letter, title in told["letters"].items():
        parts.append(f"\n## {title}\n\n| row | subject | tests | state |\n|---|---|---|---|\n")
        for row, subject in told["subjects"].items():
            if row.rstrip("0123456789") == letter:
                names = ", ".join(f"`{name}`" for _, name, _ in tests.get(row, ()))
                parts.append(f"| {row} | {subject} | {names} | {_state(row, names, told['decisions'])} |\n")
    parts.append("\n## Seen to fail\n\nA test proves something once it was seen to fail with its guard taken out.\n\n"
                 "| row | what was taken out | how it failed |\n|---|---|---|\n")
    parts += [f"| {seen['row']} | {seen['removed']} | {seen['failed']} |\n" for seen in told["seen"]]
    parts.append("\n## Requirements\n\n| row | requirement | test |\n|---|---|---|\n")
    parts += [f"| {row} | {text} | `{file}::{name}` |\n"
              for row in told["subjects"] for file, name, text in tests.get(row, ())]
    return "".join(parts)


def _state(row: str, names: str, decisions: dict[str, str]) -> str:
    page = f"[decision {decisions[row][:4]}](decisions/{decisions[row]})" if row in decisions else ""
    return ", ".join(filter(None, ["held" if names else "", page])) or "**not held**"


def fault_tests() -> dict[str, list[tuple[str, str, str]]]:
    """By row: (file, test, requirement) of each test that is named after it."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(HERE.parent.glob("tests/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = re.match(r"test_((?:[a-z]\d+_)+)", getattr(node, "name", None) or "")
            if named and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split()).replace("|", "\\|")
                for row in named[1].strip("_").upper().split("_"):
                    found.setdefault(row, []).append((path.name, node.name, re.sub(rf"^{row}: ", "", text)))
    return found


def written() -> Iterator[tuple[Path, str]]:
    yield HERE / "schema.md", schema()
    yield HERE / "cli.md", cli_page((HERE / "cli.md").read_text("utf-8"))
    yield HERE / "crawler.1", manpage()
    yield from performance.written()
    if "--check" not in sys.argv:
        yield HERE / "faults.md", faults()


def main() -> int:
    stale = 0
    for path, text in written():
        old = path.read_text("utf-8") if path.exists() else ""
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        elif old != text:
            stale = 1
            lines = unified_diff(old.splitlines(True), text.splitlines(True), f"{path.name} as it is", "as it should be", n=0)
            sys.stdout.writelines(lines)
    return stale


if __name__ == "__main__":
    sys.exit(main())
