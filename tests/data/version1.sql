-- A crawl stopped by --max-pages 2, as commit 3ac8b45 (schema version 1) left it; PORT is the web's port.
PRAGMA application_id = 1886351212;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE address (            -- the second politeness clock: IPv4 address or IPv6 /64
  address TEXT PRIMARY KEY,
  next_fetch_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "address" VALUES('127.0.1.1',1795384683205);
CREATE TABLE body (               -- content-addressed
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,    -- SHA-256 of the decoded body
  size INTEGER NOT NULL,          -- of the decoded body
  codec TEXT NOT NULL,            -- 'raw' or 'zstd'
  data BLOB NOT NULL
) STRICT;
INSERT INTO "body" VALUES(1,X'43BFA83130698021A816C3A8AAA035A06664528E4C693C0B72F6714C67570166',26,'raw',X'557365722D6167656E743A202A0A446973616C6C6F773A202F63');
INSERT INTO "body" VALUES(2,X'58F35D42F08D37F32E05E015C876615EEF32BD5AD7A1F6960BD62CCBEC643240',215,'zstd',X'28B52FFD20D7BD03008246171C704F3A802492B75BAAC84881722198E7289AC81CA9FEED307940F584564C844F9169D8D7A3D0C187BFEC03C730C4A6FDCAE0A3147C13826F2DCC19F822C514F8142F51D948254DB7C45C475B5A78D79FA71774951C104984F168003208004811A75148680AC9602650CD06CC044EC90C6C3A01');
INSERT INTO "body" VALUES(3,X'24447DC77282C63380A1BFDC23144E11CFEBB851FB0A52ADBC668413F1C47C1A',59,'raw',X'3C21444F43545950452068746D6C3E3C7469746C653E4120706167653C2F7469746C653E3C703E3C6120687265663D222F612F31223E303C2F613E');
CREATE TABLE fetch (              -- append-only: one row an attempt
  id INTEGER PRIMARY KEY,
  url INTEGER NOT NULL,
  run INTEGER NOT NULL,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,          -- 'page', 'redirect', 'failure', 'robots'
  reason TEXT,
  status INTEGER,
  elapsed_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  wire_size INTEGER NOT NULL,
  truncated TEXT,                 -- 'size', 'time', 'cut'; NULL: whole
  address TEXT,
  mime TEXT,
  charset TEXT,
  title TEXT,
  robots TEXT,                    -- meta robots and X-Robots-Tag directives, space-separated
  parse TEXT,                     -- why the page was not (wholly) parsed; NULL: parsed
  headers TEXT,                   -- JSON [[name, value], ...], allow-listed
  data TEXT,                      -- JSON object: what parsing and the user's extractor found
  body INTEGER
) STRICT;
INSERT INTO "fetch" VALUES(1,2,1,1795384683185,'robots',NULL,200,2,1,26,NULL,'127.0.1.1','text/plain',NULL,NULL,NULL,NULL,'[["Content-Type","text/plain; charset=utf-8"],["Content-Length","26"]]',NULL,1);
INSERT INTO "fetch" VALUES(2,1,1,1795384683191,'page',NULL,200,1,1,215,NULL,'127.0.1.1','text/html','utf-8','A page',NULL,NULL,'[["Content-Type","text/html; charset=utf-8"],["Content-Length","215"]]',NULL,2);
INSERT INTO "fetch" VALUES(3,3,1,1795384683206,'page',NULL,200,0,1,59,NULL,'127.0.1.1','text/html','utf-8','A page',NULL,NULL,'[["Content-Type","text/html; charset=utf-8"],["Content-Length","59"]]',NULL,3);
CREATE TABLE host (               -- the unit of politeness and of ownership
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,      -- '' holds URLs that have no host (mailto:)
  next_fetch_at INTEGER NOT NULL DEFAULT 0,
  blocked_until INTEGER NOT NULL DEFAULT 0,  -- Retry-After, back-off, breaker
  delay INTEGER,                  -- ms between requests as last used
  crawl_delay INTEGER,            -- ms, from robots.txt
  failures INTEGER NOT NULL DEFAULT 0,       -- consecutive failures to connect
  queued INTEGER NOT NULL DEFAULT 0,         -- counters, kept by the triggers below
  pages INTEGER NOT NULL DEFAULT 0,
  redirects INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "host" VALUES(1,'127.0.1.1',1795384683205,0,0,NULL,0,5,2,0,0,0);
INSERT INTO "host" VALUES(2,'',0,0,NULL,NULL,0,0,0,0,0,1);
INSERT INTO "host" VALUES(3,'out.test',0,0,NULL,NULL,0,0,0,0,0,1);
CREATE TABLE link (
  src INTEGER NOT NULL,
  dst INTEGER NOT NULL,
  kind TEXT NOT NULL,
  rel TEXT,
  text TEXT,
  step INTEGER,                   -- what following it adds to the depth; NULL: it is not followed
  PRIMARY KEY (src, dst, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO "link" VALUES(1,3,'a',NULL,'0',1);
INSERT INTO "link" VALUES(1,4,'a',NULL,'1',1);
INSERT INTO "link" VALUES(1,5,'a',NULL,'2',1);
INSERT INTO "link" VALUES(1,6,'a',NULL,'3',1);
INSERT INTO "link" VALUES(1,7,'a',NULL,'4',1);
INSERT INTO "link" VALUES(1,8,'a',NULL,'5',1);
INSERT INTO "link" VALUES(1,9,'a',NULL,'6',1);
INSERT INTO "link" VALUES(3,10,'a',NULL,'0',1);
CREATE TABLE meta (               -- facts about the file itself
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('canonical_form','1');
CREATE TABLE origin (             -- scheme://host:port, the unit of robots.txt (RFC 9309)
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  host INTEGER NOT NULL,
  robots_status TEXT,             -- 'ok', 'absent' (4xx), 'unreachable'; NULL: never asked
  robots_until INTEGER NOT NULL DEFAULT 0,   -- fresh until; unreachable: not asked again before
  robots_failures INTEGER NOT NULL DEFAULT 0,
  robots_fetch INTEGER            -- the fetch that holds the rules in force
) STRICT;
INSERT INTO "origin" VALUES(1,'http://127.0.1.1:PORT',1,'ok',1795471083185,0,1);
INSERT INTO "origin" VALUES(2,'http://out.test',3,NULL,0,0,NULL);
INSERT INTO "origin" VALUES(3,'mailto:',2,NULL,0,0,NULL);
CREATE TABLE run (                -- one process's stay with the crawl
  id INTEGER PRIMARY KEY,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,               -- NULL: running, or killed
  ending TEXT,                    -- 'complete', 'deferred', 'limit', 'interrupted', ...
  pid INTEGER NOT NULL,
  version TEXT NOT NULL,
  spec TEXT NOT NULL,             -- JSON: every setting in force
  requests INTEGER NOT NULL DEFAULT 0,
  connections INTEGER NOT NULL DEFAULT 0,
  reused INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  progress TEXT                   -- JSON, refreshed with each commit: rate, what bounds the crawl, ETA
) STRICT;
INSERT INTO "run" VALUES(1,1795384683156,1795384683223,'limit',13670,'0.1.0','{"seeds":["http://127.0.1.1:PORT/"],"contact":null,"user_agent":null,"scope":"host","include":[],"exclude":[],"max_depth":null,"max_pages":2,"max_pages_per_host":null,"max_time":null,"delay":0.0,"per_host":1,"per_ip":null,"ip_delay":null,"connections":100,"workers":null,"robots":"obey","patience":1.0,"min_free":536870912,"timeout":60.0,"max_body":10485760,"max_rate":null,"allow_private":[],"parse_workers":0,"header":[],"proxy":null,"extractor":null}',3,1,2,300,'{"rate":0.0,"bound_by":"the frontier: nothing known is due","eta":null,"eta_reason":"no rate yet","fetching":0,"waiting":0,"hosts_in_hand":0}');
CREATE TABLE url (                -- every URL ever met, once
  id INTEGER PRIMARY KEY,
  host INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  path TEXT NOT NULL,             -- path and query; origin.name || path is the canonical URL
  due_at INTEGER,                 -- NULL: settled; otherwise queued, not before this time
  priority INTEGER NOT NULL DEFAULT 0,       -- smaller goes first
  depth INTEGER,                  -- least number of links from a seed; NULL: no followed link leads here
  parent INTEGER,                 -- the url on whose shortest way this one was found; NULL: a seed
  seed INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  outcome TEXT,                   -- 'page', 'redirect', 'failure', 'skipped'; NULL: untried, or known as a link only
  reason TEXT,                    -- of a failure or a refusal
  detail TEXT,
  last INTEGER,                   -- the fetch whose outcome this is
  UNIQUE (origin, path)
) STRICT;
INSERT INTO "url" VALUES(1,1,1,'/',NULL,0,0,NULL,1,1,'page',NULL,NULL,2);
INSERT INTO "url" VALUES(2,1,1,'/robots.txt',NULL,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "url" VALUES(3,1,1,'/a',NULL,0,1,1,0,1,'page',NULL,NULL,3);
INSERT INTO "url" VALUES(4,1,1,'/r',1795384683197,0,1,1,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "url" VALUES(5,1,1,'/gone',1795384683197,0,1,1,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "url" VALUES(6,1,1,'/b',1795384683197,0,1,1,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "url" VALUES(7,1,1,'/c',1795384683197,0,1,1,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "url" VALUES(8,3,2,'/',NULL,0,1,1,0,0,'skipped','scope','host out.test is not a seed''s host',NULL);
INSERT INTO "url" VALUES(9,2,3,'x@out.test',NULL,0,1,1,0,0,'skipped','scheme','mailto: is not http or https',NULL);
INSERT INTO "url" VALUES(10,1,1,'/a/1',1795384683206,0,2,3,0,0,NULL,NULL,NULL,NULL);
CREATE INDEX host_turn ON host (next_fetch_at) WHERE queued > 0;
CREATE INDEX url_queue ON url (host, priority, depth, id) WHERE due_at IS NOT NULL;
CREATE INDEX url_seed ON url (id) WHERE seed = 1;
CREATE TRIGGER url_added AFTER INSERT ON url WHEN NEW.due_at IS NOT NULL OR NEW.outcome IS NOT NULL BEGIN
  UPDATE host SET queued = queued + (NEW.due_at IS NOT NULL), skipped = skipped + (NEW.outcome IS 'skipped')
  WHERE id = NEW.host;
END;
CREATE TRIGGER url_moved AFTER UPDATE OF due_at, outcome ON url
WHEN (OLD.due_at IS NULL) <> (NEW.due_at IS NULL) OR OLD.outcome IS NOT NEW.outcome BEGIN
  UPDATE host SET
    queued = queued + (NEW.due_at IS NOT NULL) - (OLD.due_at IS NOT NULL),
    pages = pages + (NEW.outcome IS 'page') - (OLD.outcome IS 'page'),
    redirects = redirects + (NEW.outcome IS 'redirect') - (OLD.outcome IS 'redirect'),
    failed = failed + (NEW.outcome IS 'failure') - (OLD.outcome IS 'failure'),
    skipped = skipped + (NEW.outcome IS 'skipped') - (OLD.outcome IS 'skipped')
  WHERE id = NEW.host;
END;
CREATE VIEW pages AS SELECT
  o.name || u.path AS url, f.status, f.mime, f.charset, f.title, u.depth, b.size,
  strftime('%Y-%m-%dT%H:%M:%fZ', f.at / 1000.0, 'unixepoch') AS fetched_at, f.elapsed_ms,
  lower(hex(b.digest)) AS digest, po.name || p.path AS found_on, f.parse, f.truncated, f.data, f.robots, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last
LEFT JOIN body b ON b.id = f.body
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin
WHERE u.outcome = 'page';
CREATE VIEW fetches AS SELECT
  o.name || u.path AS url, strftime('%Y-%m-%dT%H:%M:%fZ', f.at / 1000.0, 'unixepoch') AS at, f.outcome, f.reason,
  f.status, f.elapsed_ms, coalesce(b.size, f.wire_size) AS size, f.attempt, f.run, f.address, f.truncated, f.id AS id
FROM fetch f JOIN url u ON u.id = f.url JOIN origin o ON o.id = u.origin LEFT JOIN body b ON b.id = f.body;
CREATE VIEW links AS SELECT
  so.name || s.path AS src, xo.name || x.path AS dst, l.kind, l.rel, l.text
FROM link l JOIN url s ON s.id = l.src JOIN origin so ON so.id = s.origin
JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin;
CREATE VIEW redirects AS SELECT
  so.name || s.path AS src, xo.name || x.path AS dst, f.status
FROM url s JOIN origin so ON so.id = s.origin JOIN fetch f ON f.id = s.last
JOIN link l ON l.src = s.id AND l.kind = 'redirect'
JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin
WHERE s.outcome = 'redirect';
CREATE VIEW failures AS SELECT
  o.name || u.path AS url, f.status, u.reason, u.attempts, po.name || p.path AS found_on,
  strftime('%Y-%m-%dT%H:%M:%fZ', u.due_at / 1000.0, 'unixepoch') AS retry_at, u.detail
FROM url u JOIN origin o ON o.id = u.origin LEFT JOIN fetch f ON f.id = u.last
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin
WHERE u.outcome = 'failure';
CREATE VIEW broken_links AS SELECT
  so.name || s.path AS src, xo.name || x.path AS dst, f.status, x.reason, l.text, l.kind
FROM url x JOIN link l ON l.dst = x.id JOIN url s ON s.id = l.src
JOIN origin so ON so.id = s.origin JOIN origin xo ON xo.id = x.origin LEFT JOIN fetch f ON f.id = x.last
WHERE x.outcome = 'failure';
CREATE VIEW skipped AS SELECT
  o.name || u.path AS url, u.reason, u.detail, po.name || p.path AS found_on
FROM url u JOIN origin o ON o.id = u.origin
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin
WHERE u.outcome = 'skipped';
CREATE VIEW queue AS SELECT
  o.name || u.path AS url, h.name AS host, u.depth, u.priority,
  strftime('%Y-%m-%dT%H:%M:%fZ', max(u.due_at, h.blocked_until,
    iif(o.robots_status = 'unreachable', o.robots_until, 0)) / 1000.0, 'unixepoch') AS due_at, u.attempts
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.due_at IS NOT NULL;
CREATE VIEW hosts AS SELECT
  h.name AS host, h.pages, h.failed AS failures, h.queued, h.delay / 1000.0 AS delay,
  h.crawl_delay / 1000.0 AS crawl_delay,
  iif(h.next_fetch_at > 0, strftime('%Y-%m-%dT%H:%M:%fZ', h.next_fetch_at / 1000.0, 'unixepoch'), NULL) AS next_fetch_at,
  iif(h.blocked_until > 0, strftime('%Y-%m-%dT%H:%M:%fZ', h.blocked_until / 1000.0, 'unixepoch'), NULL) AS blocked_until,
  (SELECT o.robots_status FROM origin o WHERE o.host = h.id AND o.robots_status IS NOT NULL
   ORDER BY o.robots_status = 'unreachable' DESC, o.id LIMIT 1) AS robots_status,
  h.redirects, h.skipped
FROM host h WHERE h.name <> '';
CREATE INDEX origin_host ON origin (host);
CREATE VIEW runs AS SELECT
  id, strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1000.0, 'unixepoch') AS ended_at, ending,
  requests, connections, reused, version, spec, bytes
FROM run;
CREATE VIEW counts AS SELECT
  coalesce(sum(pages), 0) AS pages, coalesce(sum(redirects), 0) AS redirects, coalesce(sum(failed), 0) AS failures,
  coalesce(sum(skipped), 0) AS skipped, coalesce(sum(queued), 0) AS queued, coalesce(sum(pages + redirects + failed + queued > 0), 0) AS hosts,
  coalesce(max(queued * coalesce(delay, 0)), 0) AS slowest_ms
FROM host;
COMMIT;
