"""A crawl file as it is after a crawl: so many pages fetched, and URLs met, written by SQL in a minute."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.filled import FAR, host_name
from crawler.spec import CrawlSpec
from storage.sqlite import SqliteStore

HOSTS, LINKS, EVERY = 500, 30, 10  # of the pages; of a page; one URL in so many is one
BEGUN = 1_790_000_000_000  # ms: when the crawl began

URLS = """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT :urls)
INSERT INTO url (host, origin, path, due_at, depth, hops, parent, seed, attempts, outcome, reason, detail, last)
SELECT 1 + i % :hosts, 1 + i % :hosts,
  printf('/s/%02x/%08x-a-page-of-a-crawled-file/', (i * 2654435761) & 255, (i * 2654435761) & 4294967295),
  CASE WHEN i < :pages OR i % 3 THEN NULL ELSE 1 END, iif(i = 0, 0, 1 + i % 7), 0, iif(i = 0, NULL, 1 + i / :links), i = 0,
  i < :pages,
  CASE WHEN i < :pages THEN CASE WHEN i % 50 = 7 THEN 'failure' WHEN i % 50 = 8 THEN 'redirect' ELSE 'page' END
       WHEN i % 3 THEN 'skipped' END,
  CASE WHEN i < :pages THEN iif(i % 50 = 7, iif(i % 100 = 7, 'http_404', 'timeout'), NULL)
       WHEN i % 3 = 1 THEN 'nofollow' WHEN i % 3 = 2 THEN 'trap' END,
  NULL, iif(i < :pages, i + 1, NULL) FROM n"""
BODIES = """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT :pages)
INSERT INTO body (digest, size, codec, data) SELECT CAST(printf('%032d', i) AS BLOB), 3000 + (i * 7919) % 90000, 'raw',
  CAST('<!DOCTYPE html><title>Page ' || i || '</title><p>' || hex(zeroblob(2000)) AS BLOB) FROM n"""
FETCHES = """INSERT INTO fetch (url, run, at, outcome, reason, status, elapsed_ms, attempt, wire_size, mime, charset, title,
  headers, data, body)
SELECT id, 1, :begun + id * 40, outcome, reason,
  CASE outcome WHEN 'page' THEN 200 WHEN 'redirect' THEN 301 ELSE iif(reason = 'timeout', NULL, 404) END,
  20 + (id * 104729) % 3000, 1, 3000 + (id * 7919) % 30000,
  CASE WHEN id % 20 = 0 THEN 'application/pdf' WHEN id % 33 = 0 THEN 'text/plain' ELSE 'text/html' END, 'utf-8',
  'The page of the number ' || id || ' of a crawled file',
  '[["Content-Type","text/html; charset=utf-8"],["Last-Modified","Mon, 23 Nov 2026 03:11:07 GMT"],["ETag","\\"5f3a-6\\""]]',
  '{"canonical":"https://example.org/' || id || '","description":"' || hex(zeroblob(60)) || '"}',
  iif(outcome = 'page', id, NULL) FROM url WHERE id <= :pages ORDER BY id"""
HREFS = """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT :links)
INSERT OR IGNORE INTO link (src, dst, kind, text, step)
SELECT u.id, 1 + (u.id * 31 + i * i * 7919 + (i % 5) * u.id * 104729) % iif(i % 3, :pages, :urls), 'a', 'link number ' || i, 1
FROM url u, n WHERE u.id <= :pages AND u.outcome = 'page' ORDER BY u.id"""
MOVED = """INSERT OR IGNORE INTO link (src, dst, kind, step) SELECT id, iif(id % 4, id + 1, id + 50), 'redirect', 0
FROM url WHERE id <= :pages AND outcome = 'redirect'"""
COUNTED = """UPDATE host SET (queued, pages, redirects, failed, skipped) = (SELECT total(due_at IS NOT NULL),
  total(outcome IS 'page'), total(outcome IS 'redirect'), total(outcome IS 'failure'), total(outcome IS 'skipped')
  FROM url WHERE url.host = host.id), latency = 5 + id % 400"""


def write(db: Path, pages: int, urls: int, port: int) -> None:
    """Write the file: ``urls`` URLs on 500 loopback hosts, of which ``pages`` were fetched, with 30 links each, and a third of
    the others are queued. What is queued can be crawled while `benchmarks.filled.served` answers on that port."""
    asyncio.run(_begun(db, port))
    values = {"pages": pages, "urls": urls, "hosts": HOSTS, "links": LINKS, "begun": BEGUN}
    with closing(sqlite3.connect(db, isolation_level=None)) as file:
        file.executescript("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                           "PRAGMA cache_size = -500000; PRAGMA temp_store = MEMORY; BEGIN")
        later = [row[0] for row in file.execute("SELECT sql FROM sqlite_schema WHERE name IN ('url_added', 'url_queue')")]
        file.execute("DROP TRIGGER url_added")
        file.execute("DROP INDEX url_queue")
        file.executemany("INSERT INTO host (name) VALUES (?)", ((host_name(n),) for n in range(HOSTS)))
        file.execute("INSERT INTO origin (name, host, robots_status, robots_until) "
                     "SELECT 'http://' || name || ':' || ?, id, 'absent', ? FROM host ORDER BY id", (port, FAR))
        for statement in (URLS, BODIES, FETCHES, HREFS, MOVED, COUNTED, *later):
            file.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
        file.execute("UPDATE run SET requests = ?, connections = 500, reused = ?, bytes = ?", (pages, pages - 500, pages * 9000))
        file.execute("COMMIT")
        file.execute("PRAGMA journal_mode = WAL")
    os.sync()


async def _begun(db: Path, port: int) -> None:
    """A file with a run and no URL."""
    async with SqliteStore(db) as store:
        spec = CrawlSpec(seeds=(f"http://{host_name(0)}:{port}/",), scope="any", delay=0.0, allow_private=("127.0.0.0/8",))
        await store.begin(now=BEGUN, version="crawled", spec=spec.to_json(), seeds=[], max_depth=None)
        await store.end("interrupted", now=BEGUN + 1)
