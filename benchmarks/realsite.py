"""Real sites: the crawler finds what GNU wget's recursive download finds, and stores what is on the disk.

    apt-get install nginx-light wget python3-doc postgresql-doc-15
    python -m benchmarks.realsite

nginx serves Debian's HTML documentation on loopback; wget and the crawler start at /index.html, each against a log of
its own. Each difference is explained by the log's Referer or the file's `links`, or counted as unexplained.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.measure import Nginx, Seen, conformance, crawler, nginx, nginx_program, real_disk, report, run

START = "/index.html"
FOLLOWED = {"a", "area", "frame", "iframe", "redirect", "refresh", "next", "prev", "alternate", "canonical"}


@dataclass(frozen=True, slots=True)
class RealSite:
    """A documentation tree, and the name of the recorded truth about it."""

    name: str
    root: Path
    truth: str


SITES = (
    RealSite("python3-doc", Path("/usr/share/doc/python3.11/html"), "site_python3.11-doc.json.gz"),
    RealSite("postgresql-doc-15", Path("/usr/share/doc/postgresql-doc-15/html"), "site_postgresql-doc-15.json.gz"),
)


def missing(site: RealSite) -> str | None:
    """What is not installed for this comparison, or None."""
    absent = [name for name, there in (("nginx", nginx_program()), ("wget", shutil.which("wget"))) if not there]
    return ", ".join([*absent, *([] if site.root.is_dir() else [site.name])]) or None


@dataclass
class Comparison:
    """What both found (paths below the server), and all that is wrong with it; the lists must be empty."""

    site: str
    ours: set[str] = field(default_factory=set)
    wgets: set[str] = field(default_factory=set)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    invented_failures: list[str] = field(default_factory=list)  # that nginx's log does not show
    untold_failures: list[str] = field(default_factory=list)  # that only nginx's log shows
    wrong_digests: list[str] = field(default_factory=list)
    against_truth: list[str] = field(default_factory=list)
    truth: bool = False  # the recorded truth was there
    failures: int = 0
    seconds: float = 0.0
    wget_seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        return [*self.unexplained, *self.invented_failures, *self.untold_failures, *self.wrong_digests,
                *self.against_truth]

    def figures(self) -> dict[str, Any]:
        return {
            "pages": len(self.ours), "wget": len(self.wgets), "explained": dict(self.explained),
            "unexplained": len(self.unexplained), "failures": self.failures,
            "invented_failures": len(self.invented_failures), "untold_failures": len(self.untold_failures),
            "wrong_digests": len(self.wrong_digests), "truth": self.truth, "against_truth": len(self.against_truth),
            "seconds": round(self.seconds, 2), "wget_seconds": round(self.wget_seconds, 2),
        }


def compare(site: RealSite, folder: Path) -> Comparison:
    """Crawl and mirror one site; ``folder`` holds what both leave."""
    found = Comparison(site.name)
    with nginx(site.root, folder / "wget-nginx") as server:
        found.wget_seconds = _mirror(server, folder / "mirror")
        mirrored = server.log()
    with nginx(site.root, folder / "our-nginx") as server:
        db = folder / "crawl.db"
        found.seconds = _crawl(server, db)
        log, origin = server.log(), f"http://127.0.0.1:{server.port}"
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        view = _View(connection, origin)
        found.ours = view.pages
        found.wgets = {_path(seen.target) for seen in mirrored if seen.status == 200} - {"/robots.txt"}
        _explain(found, view, mirrored)
        _failures(found, view, log)
        found.wrong_digests = [path for path, digest in view.digests.items() if digest != _digest(site.root, path)]
        _truth(found, view, site)
    return found


def _mirror(server: Nginx, folder: Path) -> float:
    """wget's own recursive download; exit code 8 only says that some answer was an error."""
    ended = run(["wget", "--recursive", "--level=inf", "--no-verbose", "--execute=robots=off", "--no-config",
                 f"--directory-prefix={folder}", f"http://127.0.0.1:{server.port}{START}"])
    assert ended.code in (0, 8), ended.said[-2000:]
    return ended.wall


def _crawl(server: Nginx, db: Path) -> float:
    seed = f"http://127.0.0.1:{server.port}{START}"
    ended = run(crawler("crawl", seed, "-o", db, "--delay", "0", "--per-host", "16", "--progress", "none"))
    assert ended.code == 0, ended.said[-2000:]
    return ended.wall


class _View:
    """The crawl as paths below the server."""

    def __init__(self, connection: sqlite3.Connection, origin: str) -> None:
        self._connection, self._origin = connection, origin
        self.digests = {path: str(digest) for path, digest in self._rows("SELECT url, digest FROM pages")}
        self.pages = set(self.digests)
        self.failures = dict(self._rows("SELECT url, status FROM failures"))
        self.kinds: dict[str, set[str]] = {}
        for path, kind in self._rows("SELECT dst, kind FROM links"):
            self.kinds.setdefault(path, set()).add(str(kind))

    def _rows(self, sql: str) -> Iterable[tuple[str, object]]:
        for url, value in self._connection.execute(sql):
            if url.startswith(self._origin + "/"):
                yield _path(url[len(self._origin):]), value


def _path(target: str) -> str:
    return unquote(target.partition("#")[0])


def _explain(found: Comparison, view: _View, mirrored: list[Seen]) -> None:
    """Say why each URL that only one of the two fetched is one that the other does not look for."""
    referers = {_path(seen.target): _path(seen.referer).partition("?")[0] for seen in mirrored}
    for path in sorted(found.wgets - found.ours):
        kinds = view.kinds.get(path, set())
        if kinds and not kinds & FOLLOWED:
            found.explained[f"part of a page ({', '.join(sorted(kinds))})"] += 1
        elif referers.get(path, "").endswith(".css"):
            found.explained["part of a style sheet"] += 1
        else:
            found.unexplained.append(f"only wget: {path} (links: {sorted(kinds)}, from {referers.get(path)})")
    found.unexplained += [f"only the crawler: {path}" for path in sorted(found.ours - found.wgets)]


def _failures(found: Comparison, view: _View, log: list[Seen]) -> None:
    """Our failures are exactly the errors that the server saw itself give, its robots.txt aside."""
    gave = {(_path(seen.target), seen.status) for seen in log if seen.status >= 400} - {("/robots.txt", 404)}
    said = {(path, status) for path, status in view.failures.items()}
    found.failures = len(said)
    found.invented_failures = [f"not in the log: {failure}" for failure in said - gave]
    found.untold_failures = [f"only in the log: {failure}" for failure in gave - said]


def _digest(root: Path, path: str) -> str:
    file = root / path.lstrip("/")
    return hashlib.sha256((file / "index.html" if file.is_dir() else file).read_bytes()).hexdigest()


def _truth(found: Comparison, view: _View, site: RealSite) -> None:
    """Pages and broken targets equal what two HTML parsers made of the files."""
    folder = conformance()
    if folder is None or not (folder / site.truth).exists():
        return
    found.truth = True
    with gzip.open(folder / site.truth, "rt", encoding="utf-8") as stream:
        truth = json.load(stream)
    for name, said, recorded in (("page", view.pages, {*truth["pages"], *truth["other"]}),
                                 ("broken", set(view.failures), set(truth["broken"]))):
        decoded = {unquote(path) for path in recorded}
        found.against_truth += [f"{name} only in the file: {path}" for path in sorted(said - decoded)]
        found.against_truth += [f"{name} only in the truth: {path}" for path in sorted(decoded - said)]


def sentence(found: Comparison) -> str:
    """The comparison in words."""
    parts = ", ".join(f"{count} × {why}" for why, count in found.explained.most_common()) or "nothing"
    return (
        f"{found.site}: {len(found.ours)} pages in {found.seconds:.1f} s; wget fetched these and besides {parts} in "
        f"{found.wget_seconds:.1f} s; {len(found.unexplained)} differences unexplained, {found.failures} failures, "
        f"all {'' if not found.invented_failures else 'but ' + str(len(found.invented_failures)) + ' '}in nginx's log; "
        f"{len(found.wrong_digests)} digests differ from the files; "
        + (f"{len(found.against_truth)} differences from the recorded truth." if found.truth else "no truth at hand.")
    )


def main() -> int:
    code = 0
    for site in SITES:
        if absent := missing(site):
            raise SystemExit(f"not installed: {absent}")
        with real_disk() as folder:
            found = compare(site, folder)
        print(*found.faults[:20], sep="\n", end="\n" if found.faults else "", file=sys.stderr)
        code |= report(f"realsite/{site.name}", sentence(found), found.figures(), ok=not found.faults)
    return code


if __name__ == "__main__":
    sys.exit(main())
