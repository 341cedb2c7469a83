"""A crawl file as it is after a long crawl: so many URLs queued, over so many hosts, written by SQL in a minute or two.

The URLs of one host have no order (their paths are a hash of their number), and their ids do not follow it either, as when
links have been found. Hosts are loopback addresses 127.A.B.C, all on one port, so one nginx serves them all (`served`).
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import running_nginx
from crawler.spec import CrawlSpec
from storage.sqlite import SqliteStore

SEEDS = 50  # hosts that are seeds
KNOWN, NEW, LINKS, SIZE = 26, 10, 66, 28_000  # of a served page: distinct links that are in the file, that are not; all; bytes
FAR = 4_000_000_000_000  # ms: all robots.txt files are known to be absent until then
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state")

CONF = """
worker_processes 1; pid @DIR@/nginx.pid; error_log @DIR@/error.log warn; worker_rlimit_nofile 16384; daemon off;
events { worker_connections 8192; multi_accept on; }
http {
  types { text/html html; text/plain txt; } charset utf-8; keepalive_requests 1000000; tcp_nodelay on; ssi on;
  log_format seen '$msec $host $status $request_uri';
  access_log @DIR@/access.log seen buffer=64k flush=1s;
  client_body_temp_path @DIR@/t1; proxy_temp_path @DIR@/t2; fastcgi_temp_path @DIR@/t3; uwsgi_temp_path @DIR@/t4;
  scgi_temp_path @DIR@/t5;
  map $uri $page { "~(?<digit>[0-9a-f])/$" $digit; default 0; }
  server { listen 0.0.0.0:@PORT@ backlog=8192; root @DIR@/www;
    location = /robots.txt { return 404; }
    location / { try_files /$page.html =404; } }
}
"""


def host_name(number: int) -> str:
    """The host of this number, from 0 on; 15 million have names."""
    return f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"


def item(number: int) -> str:
    """The path of the URL of this number, unless it is one of the `KNOWN` that each host has first."""
    mixed = number * 2654435761 & 0xFFFFFFFF
    return f"/s/{mixed & 255:02x}/{mixed:08x}-a-page-of-a-filled-file/"


def fill(db: Path, queued: int, hosts: int, port: int) -> None:
    """Write the file. URL number i is on the host with the id 1 + i % hosts; its path is ``/n/{i // hosts}/`` for the
    first `KNOWN` of a host, and `item` from then on."""
    names = [host_name(n) for n in range(hosts)]
    seeds = tuple(f"http://{name}:{port}/n/0/" for name in names[:SEEDS])
    spec = CrawlSpec(seeds=seeds, scope="any", delay=0.0, allow_private=("127.0.0.0/8",))
    asyncio.run(_begun(db, spec))
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                                 "PRAGMA cache_size = -4000000; PRAGMA temp_store = MEMORY")
        _write(connection, names, queued, port)
        connection.execute("PRAGMA journal_mode = WAL")
    os.sync()  # or the first commit waits for gigabytes that the kernel has still to write


async def _begun(db: Path, spec: CrawlSpec) -> None:
    """A file with a run and no URL."""
    async with SqliteStore(db) as store:
        await store.begin(now=0, version="filled", spec=spec.to_json(), seeds=[], max_depth=None)
        await store.end("interrupted", now=1)


def _write(db: sqlite3.Connection, names: list[str], queued: int, port: int) -> None:
    hosts = len(names)
    later = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE name IN ('url_added', 'url_queue')"))
    db.execute("BEGIN")
    db.execute("DROP TRIGGER url_added")
    db.execute("DROP INDEX url_queue")
    db.executemany("INSERT INTO host (name) VALUES (?)", ((name,) for name in names))
    db.execute(
        "INSERT INTO origin (id, name, host, robots_status, robots_until) "
        "SELECT id, 'http://' || name || ':' || ?, id, 'absent', ? FROM host ORDER BY id", (port, FAR))
    mixed = "(i * 2654435761 & 4294967295)"
    db.execute(
        f"""WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT ?)
        INSERT INTO url (host, origin, path, due_at, depth, hops, parent)
        SELECT 1 + i % {hosts}, 1 + i % {hosts}, iif(i / {hosts} < {KNOWN}, '/n/' || (i / {hosts}) || '/',
          printf('/s/%02x/%08x-a-page-of-a-filled-file/', {mixed} & 255, {mixed})), 1, 1, 0, 1 FROM n""", (queued,))
    db.execute(f"UPDATE url SET seed = 1, depth = 0, parent = NULL WHERE id <= {min(SEEDS, hosts)}")
    db.execute(later["url_queue"])
    db.execute("UPDATE host SET queued = (SELECT count(*) FROM url WHERE url.host = host.id AND due_at IS NOT NULL)")
    db.execute(later["url_added"])
    db.execute("COMMIT")


@contextmanager
def served(folder: Path, port: int) -> Iterator[Path]:
    """nginx for every loopback address: any path that ends with "/" is a page of 28 kB with 66 links, of which `KNOWN`
    are in the file for every host and `NEW` are nobody's yet, in no order; no two bodies are the same. Gives its log."""
    site = folder / "www"
    site.mkdir(parents=True, exist_ok=True)
    for digit in "0123456789abcdef":
        (site / f"{digit}.html").write_text(_page(random.Random(digit)))
    conf = CONF.replace("@DIR@", str(folder)).replace("@PORT@", str(port))
    (folder / "nginx.conf").write_text(("user root;" if os.geteuid() == 0 else "") + conf)
    with running_nginx(folder / "nginx.conf", ("127.0.0.1", port)):
        yield folder / "access.log"


def _page(dice: random.Random) -> str:
    request = '<!--# echo var="request_id" -->'
    known = [f"/n/{n}/" for n in range(KNOWN)]
    hrefs = known + [f"/r/{n}{request}/" for n in range(NEW)] + dice.choices(known, k=LINKS - KNOWN - NEW)
    dice.shuffle(hrefs)
    lines = [f'<li><a href="{href}">{" ".join(dice.choices(WORDS, k=3))}</a>\n' for href in hrefs]
    text = " ".join(dice.choices(WORDS, k=(SIZE - len("".join(lines))) // 6))
    return f"<!DOCTYPE html><title>{dice.choice(WORDS)}</title><h1>Page {request}</h1><ul>\n{''.join(lines)}</ul><p>{text}\n"
