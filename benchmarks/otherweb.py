"""Webs of another shape than the kit's, the crawler and Scrapy in turn: few hosts with large pages, many with small ones.

    python -m benchmarks.otherweb [--laps 5] [--scrapy ENV]

Large: 4 hosts, 500 pages of some 270 kB with 300 links. Small: 1,000 hosts, 2,000 pages of 2 kB with 12 links, half of them to
other hosts. Scrapy runs the kit's program, which is let go to all loopback addresses.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.filled import host_name
from benchmarks.laps import PORT, WEBS, Command, DiskWeb, kit, ours, paired, race, summary
from benchmarks.measure import real_disk, report
from benchmarks.peers import BUILD, python_with
from benchmarks.soak import WORDS

CONF = """
worker_processes 1; pid @DIR@/nginx.pid; error_log @DIR@/error.log warn; worker_rlimit_nofile 8192;
events { worker_connections 4096; multi_accept on; }
http {
  types { text/html html; text/plain txt; } charset utf-8; keepalive_requests 1000000; tcp_nodelay on;
  log_format seen '$msec $host $status $body_bytes_sent $connection $request_method $request_uri';
  access_log @DIR@/access.log seen buffer=64k flush=500ms; open_file_cache max=12000;
  client_body_temp_path @DIR@/t1; proxy_temp_path @DIR@/t2; fastcgi_temp_path @DIR@/t3; uwsgi_temp_path @DIR@/t4;
  scgi_temp_path @DIR@/t5;
  server { listen 0.0.0.0:@PORT@ backlog=4096; root @DIR@/www/$host; index index.html; }
}
"""
SHAPES = {"large": (4, 500, 300_000, 300, 0.02), "small": (1000, 2000, 2_000, 12, 0.5)}
"""Hosts, pages of all, bytes of a page, links on it, and the share of them that lead to other hosts."""


def web_of(name: str) -> DiskWeb:
    """Made once and kept in build/webs."""
    folder = WEBS / name
    if not (folder / "manifest.json").exists():
        make(folder, PORT, *SHAPES[name])
    return DiskWeb(folder, json.loads((folder / "manifest.json").read_text()))


def make(folder: Path, port: int, hosts: int, pages: int, size: int, links: int, away: float) -> None:
    """A chain of hosts' first pages, a ternary tree on each host, other links at random."""
    dice, each = random.Random(7), pages // hosts
    roots = [f"http://{host_name(n)}:{port}/" for n in range(hosts)]
    for host in range(hosts):
        here = folder / "www" / host_name(host)
        here.mkdir(parents=True, exist_ok=True)
        for n in range(each):
            hrefs = [_name(m) for m in range(3 * n + 1, 3 * n + 4) if m < each]
            hrefs += roots[host + 1 : host + 2] if n == 0 else []
            hrefs += [(dice.choice(roots) if dice.random() < away else "/") + _name(dice.randrange(each))
                      for _ in range(links - len(hrefs))]  # fmt: skip
            (here / (_name(n) or "index.html")).write_text(_page(dice, f"{n} of host {host}", hrefs, size))
    conf = CONF.replace("@DIR@", str(folder)).replace("@PORT@", str(port))
    (folder / "nginx.conf").write_text(("user root;" if os.geteuid() == 0 else "") + conf)
    urls = [root + _name(n) for root in roots for n in range(each)]
    (folder / "manifest.json").write_text(json.dumps({"seed": roots[0], "port": port, "all_pages": urls}))


def _name(page: int) -> str:
    return f"{page}.html" if page else ""


def _page(dice: random.Random, title: str, hrefs: list[str], size: int) -> str:
    room = max(1, (size - 60 * len(hrefs)) // 6 // len(hrefs))
    words = (" ".join(dice.choices(WORDS, k=room)) for _ in hrefs)
    parts = [f'<p>{text} <a href="{href or "/"}">a link</a></p>\n' for text, href in zip(words, hrefs, strict=True)]
    return f"<!DOCTYPE html><title>Page {title}</title><h1>Page {title}</h1>\n{''.join(parts)}"


def scrapy(environment: Path) -> Callable[[DiskWeb], Command]:
    """The kit's spider; its pattern for hosts is widened."""
    python = python_with(environment, "scrapy")
    text = (kit() / "peers" / "scrapy_spider.py").read_text()

    def command(web: DiskWeb) -> Command:
        script = web.folder / "scrapy_spider.py"
        script.write_text(text.replace(r"127\.0\.1\.\d+", r"127\.[\d.]+"))
        return lambda place: [python, script, web.seed, place / "out.db"]

    return command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.otherweb", description=__doc__)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--scrapy", type=Path, default=BUILD / "scrapy", metavar="ENV")
    wanted = parser.parse_args()
    found: dict[str, Any] = {}
    peer = scrapy(wanted.scrapy)
    for name in SHAPES:
        web = web_of(name)
        with real_disk() as folder:
            laps = race({"crawler": ours(web), "scrapy": peer(web)}, web, folder, wanted.laps)
        found[name] = {crawl: summary(those) for crawl, those in laps.items()}
        found[name]["speed"] = paired(laps["crawler"], laps["scrapy"], lambda lap: lap.rate)
        found[name]["cpu"] = paired(laps["crawler"], laps["scrapy"], lambda lap: lap.cpu_page)
    sentence = "; ".join(f"{name} pages: {one['crawler']['pages_per_s']} pages/s, {one['crawler']['cpu_ms_page']} ms CPU a page, "
                         f"{one['speed']} times Scrapy's speed at {one['cpu']} times its CPU" for name, one in found.items())
    ok = not any(one[crawl]["missed"] for one in found.values() for crawl in ("crawler", "scrapy"))
    return report("otherweb", sentence + ".", found, ok=ok)


if __name__ == "__main__":
    sys.exit(main())
