-- poolcrawl's file, schema version 2. Tables (singular) are the machine's; views (plural) are the interface people query:
-- their columns keep name, order and meaning. Times in tables are Unix milliseconds, UTC; in views ISO 8601 text.

CREATE TABLE meta (               -- facts about the file itself
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

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
  progress TEXT,                  -- JSON, refreshed with each commit: rate, what bounds the crawl, ETA
  alone INTEGER                   -- in safe mode: the url that is the only one in flight
) STRICT;

CREATE TABLE host (               -- the unit of politeness and of ownership
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,      -- '' holds URLs that have no host (mailto:)
  next_fetch_at INTEGER NOT NULL DEFAULT 0,
  blocked_until INTEGER NOT NULL DEFAULT 0,  -- Retry-After, back-off, breaker
  delay INTEGER,                  -- ms between requests as last used
  crawl_delay INTEGER,            -- ms, from robots.txt
  failures INTEGER NOT NULL DEFAULT 0,       -- consecutive requests without an answer
  queued INTEGER NOT NULL DEFAULT 0,         -- counters, kept by the triggers below
  pages INTEGER NOT NULL DEFAULT 0,
  redirects INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0,
  latency INTEGER NOT NULL DEFAULT 0,        -- ms to the head of an answer, smoothed
  slowed INTEGER NOT NULL DEFAULT 0,         -- ms: the delay that a storm of server errors has led to
  throttled INTEGER NOT NULL DEFAULT 0,      -- consecutive 429 or 503
  trouble TEXT,                   -- what is wrong with it, in words; NULL: nothing
  asked_at INTEGER                -- when it was asked for the first time; NULL: never
) STRICT;
CREATE INDEX host_turn ON host (next_fetch_at) WHERE queued > 0;

CREATE TABLE address (            -- the second politeness clock: IPv4 address or IPv6 /64
  address TEXT PRIMARY KEY,
  next_fetch_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE origin (             -- scheme://host:port, the unit of robots.txt (RFC 9309)
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  host INTEGER NOT NULL,
  robots_status TEXT,             -- 'ok', 'absent' (4xx), 'unreachable'; NULL: never asked
  robots_until INTEGER NOT NULL DEFAULT 0,   -- fresh until; unreachable: not asked again before
  robots_failures INTEGER NOT NULL DEFAULT 0,
  robots_fetch INTEGER            -- the fetch that holds the rules in force
) STRICT;

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
  outcome TEXT,                   -- 'page', 'redirect', 'failure', 'skipped', 'sitemap'; NULL: untried, or a link only
  reason TEXT,                    -- of a failure or a refusal
  detail TEXT,
  last INTEGER,                   -- the fetch whose outcome this is
  hops INTEGER,                   -- least number of redirects in a row that lead here; NULL as depth
  role TEXT,                      -- NULL: a page; 'sitemap', its level in indexes, hosts besides its own it may speak for
  UNIQUE (origin, path)
) STRICT;
CREATE INDEX url_queue ON url (host, priority, depth, id) WHERE due_at IS NOT NULL;
CREATE INDEX url_seed ON url (id) WHERE seed = 1;
CREATE INDEX url_sitemap ON url (host) WHERE role IS NOT NULL;

CREATE TABLE fetch (              -- append-only: one row an attempt
  id INTEGER PRIMARY KEY,
  url INTEGER NOT NULL,
  run INTEGER NOT NULL,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,          -- 'page', 'redirect', 'failure', 'robots', 'sitemap'
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

CREATE TABLE body (               -- content-addressed
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,    -- SHA-256 of the decoded body
  size INTEGER NOT NULL,          -- of the decoded body
  codec TEXT NOT NULL,            -- 'raw' or 'zstd'
  data BLOB NOT NULL
) STRICT;

CREATE TABLE link (
  src INTEGER NOT NULL,
  dst INTEGER NOT NULL,
  kind TEXT NOT NULL,
  rel TEXT,
  text TEXT,
  step INTEGER,                   -- what following it adds to the depth; NULL: it is not followed
  PRIMARY KEY (src, dst, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE exclusion (          -- hosts that were purged from this file: never asked again, whatever links to them
  host TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shape (              -- how many URLs of one path with the same set of query keys were admitted
  id INTEGER PRIMARY KEY,         -- a hash of the host, the path and the keys
  host INTEGER NOT NULL,
  n INTEGER NOT NULL
) STRICT;

CREATE TABLE repeat (             -- how many pages of a host had a body that was known when they came
  host INTEGER NOT NULL,
  body INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (host, body)
) STRICT, WITHOUT ROWID;

-- The host's counters follow the URLs, whatever statement moves them.
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

-- each URL whose latest response was 2xx; digest and size are of the stored, decoded body
CREATE VIEW pages AS SELECT
  o.name || u.path AS url, f.status, f.mime, f.charset, f.title, u.depth, b.size,
  strftime('%Y-%m-%dT%H:%M:%fZ', f.at / 1000.0, 'unixepoch') AS fetched_at, f.elapsed_ms,
  lower(hex(b.digest)) AS digest, po.name || p.path AS found_on, f.parse, f.truncated, f.data, f.robots, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last
LEFT JOIN body b ON b.id = f.body
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin
WHERE u.outcome = 'page';

-- each attempt, our own robots.txt and sitemap fetches included
CREATE VIEW fetches AS SELECT
  o.name || u.path AS url, strftime('%Y-%m-%dT%H:%M:%fZ', f.at / 1000.0, 'unixepoch') AS at, f.outcome, f.reason,
  f.status, f.elapsed_ms, coalesce(b.size, f.wire_size) AS size, f.attempt, f.run, f.address, f.truncated, f.id AS id,
  f.parse
FROM fetch f JOIN url u ON u.id = f.url JOIN origin o ON o.id = u.origin LEFT JOIN body b ON b.id = f.body;

-- each edge; the text is that of the first link from src to dst of this kind
CREATE VIEW links AS SELECT
  so.name || s.path AS src, xo.name || x.path AS dst, l.kind, l.rel, l.text
FROM link l JOIN url s ON s.id = l.src JOIN origin so ON so.id = s.origin
JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin;

CREATE VIEW redirects AS SELECT
  so.name || s.path AS src, xo.name || x.path AS dst, f.status,
  so.name LIKE 'https:%' AND xo.name LIKE 'http:%' AS downgrade
FROM url s JOIN origin so ON so.id = s.origin JOIN fetch f ON f.id = s.last
JOIN link l ON l.src = s.id AND l.kind = 'redirect'
JOIN url x ON x.id = l.dst JOIN origin xo ON xo.id = x.origin
WHERE s.outcome = 'redirect';

-- each URL whose latest outcome is an error or a status >= 400; retry_at is NULL when it is final
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

-- each URL waiting; due_at counts the host's block and the origin's robots.txt retry
CREATE VIEW queue AS SELECT
  o.name || u.path AS url, h.name AS host, u.depth, u.priority,
  strftime('%Y-%m-%dT%H:%M:%fZ', max(u.due_at, h.blocked_until,
    iif(o.robots_status = 'unreachable', o.robots_until, 0)) / 1000.0, 'unixepoch') AS due_at, u.attempts
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.due_at IS NOT NULL;

-- delay and crawl_delay in seconds
CREATE VIEW hosts AS SELECT
  h.name AS host, h.pages, h.failed AS failures, h.queued, h.delay / 1000.0 AS delay,
  h.crawl_delay / 1000.0 AS crawl_delay,
  iif(h.next_fetch_at > 0, strftime('%Y-%m-%dT%H:%M:%fZ', h.next_fetch_at / 1000.0, 'unixepoch'), NULL) AS next_fetch_at,
  iif(h.blocked_until > 0, strftime('%Y-%m-%dT%H:%M:%fZ', h.blocked_until / 1000.0, 'unixepoch'), NULL) AS blocked_until,
  (SELECT o.robots_status FROM origin o WHERE o.host = h.id AND o.robots_status IS NOT NULL
   ORDER BY o.robots_status = 'unreachable' DESC, o.id LIMIT 1) AS robots_status,
  h.redirects, h.skipped, h.trouble
FROM host h WHERE h.name <> '';
CREATE INDEX origin_host ON origin (host);

CREATE VIEW runs AS SELECT
  id, strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1000.0, 'unixepoch') AS ended_at, ending,
  requests, connections, reused, version, spec, bytes
FROM run;

-- the whole crawl in one row; slowest_ms: what the host with the longest queue needs at its delay
CREATE VIEW counts AS SELECT
  coalesce(sum(pages), 0) AS pages, coalesce(sum(redirects), 0) AS redirects, coalesce(sum(failed), 0) AS failures,
  coalesce(sum(skipped), 0) AS skipped, coalesce(sum(queued), 0) AS queued, coalesce(sum(pages + redirects + failed + queued > 0), 0) AS hosts,
  coalesce(max(queued * coalesce(delay, 0)), 0) AS slowest_ms
FROM host;
