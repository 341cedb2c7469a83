"""Archives of a crawl in the hands of others: warcio, FastWARC, py-wacz, pywb in Chromium, DuckDB.

    pip install warcio fastwarc duckdb; python -m venv W && W/bin/pip install wacz; python -m venv P && P/bin/pip install pywb
    python -m benchmarks.replay --wacz W/bin/wacz --pywb P/bin [--pages 5000] [--browser chromium]

A generated web of so many pages (with redirects, errors and pages behind robots.txt) is crawled and exported. `warcio check` and
FastWARC must find every digest right, `wacz validate` the WACZ whole, DuckDB as many rows in the Parquet file as SQL does; and
three pages that pywb replays must show in a browser the title that the file has.
"""

from __future__ import annotations

import argparse
import html
import io
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import crawler, environment, free_port, real_disk, report, run

BROWSER = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000", "--dump-dom")  # fmt: skip
SHOWN = """SELECT url, title, strftime('%Y%m%d%H%M%S', fetched_at) FROM pages WHERE title IS NOT NULL
ORDER BY id LIMIT 1 OFFSET ?"""


@contextmanager
def web(pages: int) -> Iterator[list[str]]:
    """The generated web in a process of its own; gives its seeds."""
    hosts = 20
    command = [sys.executable, "-m", "tests.web", "--hosts", str(hosts), "--pages", str(pages)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip().rpartition(":")[2].strip("/")
        yield [f"http://127.0.1.{host}:{port}/" for host in range(1, hosts + 1)]
    finally:
        process.terminate()
        process.wait()


def said(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=environment())


def digests(archive: Path) -> dict[str, int]:
    """Records, and those whose digests FastWARC finds wrong."""
    import fastwarc

    found = {"records": 0, "wrong": 0}
    for record in fastwarc.ArchiveIterator(io.BytesIO(archive.read_bytes()), parse_http=False):
        found["records"] += 1
        right = record.verify_block_digest()
        record.parse_http()
        response = record.headers["WARC-Type"] == "response"
        found["wrong"] += not (right and (not response or record.verify_payload_digest()))
    return found


def replayed(programs: Path, browser: str, archive: Path, db: Path, folder: Path, pages: int) -> list[tuple[str, bool]]:
    """Three pages in a browser, by way of pywb: URL, and whether the title is that of the file."""
    subprocess.run([programs / "wb-manager", "init", "crawl"], cwd=folder, check=True, capture_output=True)
    subprocess.run([programs / "wb-manager", "add", "crawl", archive], cwd=folder, check=True, capture_output=True)
    (folder / "config.yaml").write_text("framed_replay: false\n")  # else the browser shows a frame around it
    port = free_port()
    server = subprocess.Popen([programs / "wayback", "-p", str(port), "-b", "127.0.0.1"], cwd=folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    found = []
    try:
        _until_up(f"http://127.0.0.1:{port}/")
        with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as file:
            for number in (0, pages // 3, 2 * pages // 3):
                url, title, at = file.execute(SHOWN, (number,)).fetchone()
                place = f"http://127.0.0.1:{port}/crawl/{at}/{url}"
                seen = said("timeout", "60", browser, *BROWSER, f"--user-data-dir={folder / f'browser{number}'}", place).stdout
                shown = re.search(r"<title>(.*?)</title>", seen, re.S)
                found.append((url, shown is not None and html.unescape(shown[1]).strip() == title))
    finally:
        server.terminate()
        server.wait()
    return found


def _until_up(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("pywb does not answer")


def rows(target: Path) -> int:
    """Rows of a Parquet file, as DuckDB counts them."""
    import duckdb

    found = duckdb.execute("SELECT count(*) FROM read_parquet(?) WHERE fetched_at > TIMESTAMPTZ '2020-01-01'", [str(target)])
    return int((found.fetchone() or (0,))[0])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--pages", type=int, default=5_000)
    parser.add_argument("--wacz", type=Path, required=True)
    parser.add_argument("--pywb", type=Path, required=True, help="the folder of pywb's programs")
    parser.add_argument("--browser", default="chromium")
    wanted = parser.parse_args()
    figures: dict[str, Any] = {}
    with real_disk() as folder:
        db = folder / "crawl.db"
        with web(wanted.pages) as seeds:
            options = ("--delay", "0", "--per-host", "4", "--progress", "none", "--patience", "5")
            ended = run(crawler("crawl", *seeds, "-o", db, *options))
            assert ended.code == 0, ended.said[-2000:]
        for name in ("crawl.warc.gz", "crawl.wacz", "pages.parquet"):
            export = run(crawler("export", db, folder / name))
            assert export.code == 0, export.said[-2000:]
            figures[name] = round(export.wall, 1)
        with closing(sqlite3.connect(db)) as file:
            pages, answers = file.execute("SELECT (SELECT count(*) FROM pages), count(status) FROM fetch").fetchone()
        check = said(sys.executable, "-m", "warcio.cli", "check", folder / "crawl.warc.gz")
        figures |= digests(folder / "crawl.warc.gz") | {"pages": pages, "answers": answers, "warcio": check.returncode}
        figures["wacz"] = said(wanted.wacz.absolute(), "validate", "-f", folder / "crawl.wacz").stdout.strip().splitlines()[-1:]
        figures["duckdb"] = rows(folder / "pages.parquet")
        figures["replayed"] = replayed(wanted.pywb.absolute(), wanted.browser, folder / "crawl.warc.gz", db, folder, pages)
    right = sum(same for _, same in figures["replayed"])
    valid = figures["wacz"] == ["Validation succeeded, the passed WACZ is valid"]
    ok = valid and right == 3 and figures["wrong"] == figures["warcio"] == 0 and figures["records"] == 3 * answers + 1
    sentence = (f"{pages:,} pages: {figures['records']:,} records, {figures['wrong']} with a wrong digest (FastWARC), warcio "
                f"check exits with {figures['warcio']}; the WACZ is {'valid' if valid else 'not valid'}; DuckDB reads "
                f"{figures['duckdb']:,} rows; pywb showed {right} of 3 pages as they were.")  # fmt: skip
    ok = ok and figures["duckdb"] == pages
    return report("replay", sentence, figures, ok=ok)


if __name__ == "__main__":
    sys.exit(main())
