"""A copy of a real site: no relative link of it is broken that the site itself does not have broken.

    apt-get install nginx-light python3-doc
    python -m benchmarks.mirrored [--keep DIR]

nginx serves Debian's Python documentation on loopback; it is crawled with `--requisites` and exported with `--mirror`. Then the
server is gone, and every href, src, srcset and url() of the copy's HTML and CSS is looked up: by Python's own HTML parser, which
is not the one that wrote them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks.measure import crawler, nginx, real_disk, report, run
from benchmarks.realsite import SITES, START

SITE = SITES[0]
LINKING = ("href", "src", "poster", "data", "background")


class Links(HTMLParser):
    """The links of a page, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in LINKING:
                self.links.append(value)
            elif value and name == "srcset":
                self.links += [part.split()[0] for part in value.split(",")]
            elif value and (name == "id" or (name == "name" and tag == "a")):
                self.names.add(value)


def links(path: Path) -> list[str]:
    """Of an HTML file or a style sheet."""
    text = path.read_text("utf-8", "replace")
    if path.suffix == ".html":
        return Links(text).links
    return [url for pair in re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text) for url in pair if url]


def checked(folder: Path, origin: str) -> dict[str, Any]:
    """Every link of the copy: how many lead to a file, to the web, or nowhere; and to their own server though a file has it."""
    found: dict[str, Any] = {"files": 0, "relative": 0, "to_the_server": 0, "to_the_web": 0, "broken": [], "left": []}
    stored = {line["url"] for line in map(json.loads, (folder / "pages.jsonl").read_text().splitlines())}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        found["files"] += 1
        for link in links(path):
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc:
                found["relative"] += 1
                goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                if not (goal.is_file() and goal.is_relative_to(folder)):
                    found["broken"].append(f"{path.relative_to(folder)}: {link}")
            elif link.startswith(origin):
                found["to_the_server"] += 1
                if link.partition("#")[0] in stored and 'rel="canonical"' not in path.read_text("utf-8", "replace"):
                    found["left"].append(f"{path.relative_to(folder)}: {link}")
            else:
                found["to_the_web"] += 1
    return found


def fragments(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """(page, file, name) of each link within the copy to a place in a page."""
    for path in folder.rglob("*.html"):
        for link in links(path):
            parts = urlsplit(link)
            if not parts.scheme and parts.fragment:
                yield path, str((path.parent / unquote(parts.path)).resolve() if parts.path else path), unquote(parts.fragment)


def lost(folder: Path, root: Path) -> tuple[int, list[str]]:
    """Links to places in pages: how many, and those whose place is gone though the site's own page has it."""
    names: dict[str, set[str]] = {}
    count, gone = 0, []
    (host,) = [path for path in folder.iterdir() if path.is_dir()]
    for path, target, name in fragments(folder):
        count += 1
        if target not in names:
            names[target] = Links(Path(target).read_text("utf-8", "replace")).names if target.endswith(".html") else {name}
        if name not in names[target]:
            original = root / Path(target).relative_to(host)
            if original.is_file() and name in Links(original.read_text("utf-8", "replace")).names:
                gone.append(f"{path.relative_to(folder)}: {name}")
    return count, gone


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mirrored", description=__doc__)
    parser.add_argument("--keep", type=Path, help="keep the copy here")
    wanted = parser.parse_args()
    with real_disk() as folder:
        with nginx(SITE.root, folder / "nginx") as server:
            origin = f"http://127.0.0.1:{server.port}"
            ended = run(crawler("crawl", origin + START, "-o", folder / "crawl.db", "--delay", "0", "--per-host", "16",
                                "--requisites", "--progress", "none"))  # fmt: skip
            assert ended.code == 0, ended.said[-2000:]
        export = run(crawler("export", folder / "crawl.db", "--mirror", folder / "copy"))
        assert export.code == 0, export.said[-2000:]
        copy = (folder / "copy").resolve()
        found = checked(copy, origin)
        found["fragments"], found["lost"] = lost(copy, SITE.root)
        with closing(sqlite3.connect(folder / "crawl.db")) as db:
            found["pages"], found["failures"] = db.execute("SELECT pages, failures FROM counts").fetchone()
        found["seconds"] = round(export.wall, 1)
        if wanted.keep:
            shutil.copytree(copy, wanted.keep)
    faults = [*found["broken"], *found["lost"], *found["left"]]
    print(*faults[:20], sep="\n", file=sys.stderr)
    sentence = (f"{SITE.name}: {found['pages']} pages and what they are shown with, copied in {found['seconds']} s; of "
                f"{found['relative']:,} relative links {len(found['broken'])} are broken, of {found['fragments']:,} links to "
                f"places in pages {len(found['lost'])} lost; {found['to_the_server']} links lead to what the server did not "
                f"give ({found['failures']} failures) or was not asked for.")  # fmt: skip
    return report("mirrored", sentence, found | {name: len(found[name]) for name in ("broken", "lost", "left")}, ok=not faults)


if __name__ == "__main__":
    sys.exit(main())
