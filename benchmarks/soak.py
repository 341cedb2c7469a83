"""A long crawl leaks nothing (FAULTS X3): memory, descriptors, threads, tasks and the write-ahead log stay where they were.

    python -m benchmarks.soak                       # 26 ranges of 20,000 pages: 520,000 in one run, about half an hour
    python -m benchmarks.soak --ranges 1 --warm 0   # a trial of a minute

One small web of 20 hosts is served by nginx under each of the address ranges 127.0.K.1-20. Its links are relative, so
each host of each range is a site of its own; nginx writes the host's name into every page, so that no two bodies are the
same. The crawler is the command line's, watched from outside: /proc, the file's own views, and the progress it keeps
there. The slope of its memory over pages after the warm-up is a least-squares fit, the upper end of its 95 % interval
is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import MIB, crawler, environment, free_port, real_disk, report, resident, running_nginx, tree

HOSTS = 20  # in each range
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state")
SLOPE = 1.0  # MiB for 100,000 pages, at most
LOG = 256 * MIB  # of write-ahead log, at most
MOST = 500 * MIB  # of the main process's memory
SLACK = 8  # descriptors, threads and tasks may be as many more after the warm-up than ever before

CONF = """
worker_processes 1; pid @DIR@/nginx.pid; error_log @DIR@/error.log warn; worker_rlimit_nofile 8192; daemon off;
events { worker_connections 4096; multi_accept on; }
http {
  types { text/html html; text/plain txt; } charset utf-8; access_log off; keepalive_requests 1000000; tcp_nodelay on; ssi on;
  client_body_temp_path @DIR@/t1; proxy_temp_path @DIR@/t2; fastcgi_temp_path @DIR@/t3; uwsgi_temp_path @DIR@/t4;
  scgi_temp_path @DIR@/t5;
  map $host $site { "~^127\\.0\\.[0-9]+\\.(?<number>[0-9]+)$" $number; }
  server { listen 0.0.0.0:@PORT@ backlog=4096; root @DIR@/www/$site; index index.html; }
}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The crawl at an instant; sizes in bytes. ``peak`` is VmHWM, ``workers`` the parse workers' memory together."""

    pages: int
    seconds: float
    memory: int
    peak: int
    workers: int
    descriptors: int
    threads: int
    tasks: int
    log: int
    file: int


def make_web(folder: Path, pages: int, links: int, size: int) -> None:
    """Each host's pages: a tree that reaches all of them, links to others at random, words up to the size."""
    for host in range(1, HOSTS + 1):
        dice, here = random.Random(host), folder / str(host)
        here.mkdir(parents=True)
        for n in range(pages):
            wanted = [m for m in range(3 * n + 1, 3 * n + 4) if m < pages]
            wanted += [dice.randrange(pages) for _ in range(links - len(wanted))]
            hrefs = "".join(f'<li><a href="{name(m)}">{dice.choice(WORDS)} {m}</a>\n' for m in wanted)
            text = " ".join(dice.choices(WORDS, k=max(1, (size - len(hrefs)) // 6)))
            head = f'<!DOCTYPE html><title>{n}</title><h1>Page {n} of <!--# echo var="host" --></h1>'
            (here / (f"{n}.html" if n else "index.html")).write_text(f"{head}<ul>\n{hrefs}</ul><p>{text}\n")
        (here / "robots.txt").write_text("User-agent: *\nDisallow: /private/\n")


def name(page: int) -> str:
    """The href of a page; the first is the folder itself."""
    return f"{page}.html" if page else "./"


def watch(process: subprocess.Popen[bytes], db: Path, every: int) -> list[Sample]:
    """A sample each so many pages, until the process ends."""
    samples: list[Sample] = []
    began, due = time.monotonic(), every
    while process.poll() is None:
        time.sleep(0.5)
        pages, tasks = progress(db)
        if pages >= due:
            due = pages - pages % every + every
            found = look(process.pid, db, pages, tasks, time.monotonic() - began)
            if found:
                samples.append(found)
                print(json.dumps(asdict(found)), file=sys.stderr, flush=True)
    return samples


def progress(db: Path) -> tuple[int, int]:
    """Pages so far and tasks now, as the file has it; zeros while there is none."""
    try:
        with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=5)) as file:
            pages = file.execute("SELECT coalesce(sum(pages), 0) FROM host").fetchone()[0]
            last = file.execute("SELECT progress FROM run ORDER BY id DESC LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        return 0, 0
    return pages, json.loads(last[0] or "{}").get("tasks", 0) if last else 0


def look(pid: int, db: Path, pages: int, tasks: int, seconds: float) -> Sample | None:
    """What /proc and the folder say now; None when the process has just ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        kib = {name: int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}
        descriptors, threads = len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])
        sizes = [Path(f"{db}{suffix}").stat().st_size for suffix in ("-wal", "")]
    except (OSError, KeyError):
        return None
    workers = sum(map(resident, tree(pid)[1:]))
    return Sample(pages, round(seconds, 1), kib["VmRSS"], kib["VmHWM"], workers, descriptors, threads, tasks, *sizes)


def fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least-squares slope of y over x and half of its 95 % interval (residuals taken as independent)."""
    xs, ys = zip(*points, strict=True)
    slope, start = statistics.linear_regression(xs, ys)
    rest = sum((y - start - slope * x) ** 2 for x, y in points)
    error = (rest / (len(points) - 2)) ** 0.5 / (statistics.pvariance(xs) * len(xs)) ** 0.5
    return slope, 1.96 * error


def judge(samples: list[Sample], code: int, pages: int, wanted: argparse.Namespace) -> int:
    """PASS or not, with every figure."""
    late = [s for s in samples if s.pages > wanted.warm]
    early = [s for s in samples if s.pages <= wanted.warm] or samples[:1]
    if len(late) < 4:
        return report("soak", f"only {len(late)} samples, the crawl ended with {code}", {"code": code}, ok=False)
    slope, half = fit([(s.pages / 100_000, s.memory / MIB) for s in late])
    worker_slope, _ = fit([(s.pages / 100_000, s.workers / MIB) for s in late])
    most = {name: (max(getattr(s, name) for s in early), max(getattr(s, name) for s in late))
            for name in ("descriptors", "threads", "tasks")}
    flat = all(after <= before + SLACK for before, after in most.values())
    log, peak = max(s.log for s in samples), max(s.peak for s in samples)
    ok = code == 0 and pages == wanted.pages * HOSTS * wanted.ranges and flat
    ok = ok and slope + half <= SLOPE and log <= LOG and peak <= MOST
    figures = {
        "pages": pages, "seconds": samples[-1].seconds, "samples": len(samples), "code": code,
        "slope_mib_per_100k": round(slope, 3), "slope_ci95": round(half, 3),
        "workers_slope_mib_per_100k": round(worker_slope, 3), "peak_mib": round(peak / MIB, 1),
        "most_early_late": most, "log_mib": round(log / MIB, 1), "file_mib": round(samples[-1].file / MIB, 1),
        "all": [asdict(s) for s in samples],
    }  # fmt: skip
    sentence = (
        f"{pages:,} pages in {samples[-1].seconds:,.0f} s: memory {slope:+.2f} ± {half:.2f} MiB for 100,000 pages after "
        f"{wanted.warm:,} (at most {SLOPE} allowed), peak {peak / MIB:.0f} MiB; the most before and after the warm-up: "
        f"descriptors {most['descriptors']}, threads {most['threads']}, tasks {most['tasks']}; log at most "
        f"{log / MIB:.0f} MiB, file {samples[-1].file / MIB:,.0f} MiB."
    )
    return report("soak", f"{'PASS: ' if ok else ''}{sentence}", figures, ok=ok)


def soak(folder: Path, wanted: argparse.Namespace) -> int:
    """Make the web, crawl all its ranges in one run, judge."""
    port, db = free_port(), folder / "crawl.db"
    make_web(folder / "www", wanted.pages, wanted.links, wanted.size)
    conf = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(user + CONF.replace("@DIR@", str(folder)).replace("@PORT@", str(port)))
    ranges = range(10, 10 + wanted.ranges)
    seeds = folder / "seeds.txt"
    seeds.write_text("".join(f"http://127.0.{k}.{host}:{port}/\n" for k in ranges for host in range(1, HOSTS + 1)))
    command = crawler("crawl", seeds, "-o", db, "--delay", "0", "--connections", "64", "--progress", "none")
    with running_nginx(conf, ("127.0.10.1", port)), (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            samples = watch(process, db, wanted.every)
        finally:
            process.kill()
            code = process.wait()
    print((folder / "said.txt").read_text("utf-8", "replace")[-2000:], file=sys.stderr)
    return judge(samples, code, progress(db)[0], wanted)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--ranges", type=int, default=26, help="address ranges, each with all the pages again")
    parser.add_argument("--pages", type=int, default=1000, help="on each of 20 hosts")
    parser.add_argument("--links", type=int, default=20, help="on each page")
    parser.add_argument("--size", type=int, default=8000, help="bytes of a page")
    parser.add_argument("--warm", type=int, default=100_000, help="pages before the slope is measured")
    parser.add_argument("--every", type=int, default=5000, help="pages between two samples")
    wanted = parser.parse_args()
    with real_disk() as folder:
        return soak(folder, wanted)


if __name__ == "__main__":
    sys.exit(main())
