-- Views that are made anew for each reader (`storage.open_reader`, `crawler query`) and are not kept in the file: so
-- a file that was made before them has them too, and they cost a crawl nothing.

-- each URL the crawl knows; outcome: 'page', 'redirect', 'failure', 'skipped', 'sitemap', or NULL: not tried, or a link only
CREATE TEMP VIEW urls AS SELECT
  o.name || u.path AS url, h.name AS host, u.depth, u.outcome, f.status, u.reason, u.detail,
  strftime('%Y-%m-%dT%H:%M:%fZ', u.due_at / 1000.0, 'unixepoch') AS due_at, u.attempts, po.name || p.path AS found_on,
  u.seed, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host LEFT JOIN fetch f ON f.id = u.last
LEFT JOIN url p ON p.id = u.parent LEFT JOIN origin po ON po.id = p.origin;

-- each URL that a run left in another state than the run before that asked for it: `change` is 'new', 'changed' or 'gone'; a URL
-- is there when it answers with a page or a redirect, and changed when its body, its status or its target is another
CREATE TEMP VIEW changes AS
WITH ends (url, id) AS (
  SELECT url, max(id) FROM fetch WHERE outcome IN ('page', 'redirect', 'failure') GROUP BY url, run),
pairs AS (SELECT url, id, lag(id) OVER (PARTITION BY url ORDER BY id) AS was FROM ends)
SELECT o.name || u.path AS url,
  CASE WHEN b.outcome = 'failure' THEN 'gone' WHEN a.id IS NULL OR a.outcome = 'failure' THEN 'new' ELSE 'changed' END AS change,
  b.run, strftime('%Y-%m-%dT%H:%M:%fZ', b.at / 1000.0, 'unixepoch') AS at, b.status, a.status AS was_status, b.reason,
  b.title, a.title AS was_title, lower(hex(bb.digest)) AS digest, lower(hex(ab.digest)) AS was_digest, u.id AS id
FROM pairs p JOIN fetch b ON b.id = p.id LEFT JOIN fetch a ON a.id = p.was
JOIN url u ON u.id = p.url JOIN origin o ON o.id = u.origin
LEFT JOIN body bb ON bb.id = b.body LEFT JOIN body ab ON ab.id = a.body
WHERE (b.outcome <> 'failure' OR a.outcome <> 'failure') AND (
  a.id IS NULL OR a.outcome <> b.outcome OR a.status <> b.status OR a.body IS NOT b.body OR (b.outcome = 'redirect' AND
    (SELECT value->>1 FROM json_each(a.headers) WHERE lower(value->>0) = 'location') IS NOT
    (SELECT value->>1 FROM json_each(b.headers) WHERE lower(value->>0) = 'location')));

-- each page and how many other URLs link or redirect to it
CREATE TEMP VIEW inlinks AS SELECT
  o.name || u.path AS url, coalesce(n.inlinks, 0) AS inlinks, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin LEFT JOIN (
  SELECT dst, count(DISTINCT src) AS inlinks FROM link
  WHERE src <> dst AND kind IN ('a', 'area', 'frame', 'iframe', 'redirect', 'refresh') GROUP BY dst) n ON n.dst = u.id
WHERE u.outcome = 'page';

-- each redirect, and where following it ends: `way` are the URLs passed
CREATE TEMP VIEW redirect_chains AS
WITH RECURSIVE hop (src, at, hops, ids, way, loop) AS (
  SELECT u.id, u.id, 0, ',' || u.id || ',', o.name || u.path, 0
  FROM url u JOIN origin o ON o.id = u.origin WHERE u.outcome = 'redirect'
  UNION ALL
  SELECT h.src, l.dst, h.hops + 1, h.ids || l.dst || ',', h.way || ' ' || o.name || u.path,
    instr(h.ids, ',' || l.dst || ',') > 0
  FROM hop h JOIN url s ON s.id = h.at AND s.outcome = 'redirect' JOIN link l ON l.src = h.at AND l.kind = 'redirect'
  JOIN url u ON u.id = l.dst JOIN origin o ON o.id = u.origin
  WHERE NOT h.loop AND h.hops < 20)
SELECT so.name || s.path AS src, o.name || u.path AS dst, h.hops,
  iif(h.loop, 'loop', coalesce(u.outcome, iif(u.due_at IS NULL, 'untried', 'queued'))) AS ends_as, f.status, h.way
FROM hop h JOIN url s ON s.id = h.src JOIN origin so ON so.id = s.origin
JOIN url u ON u.id = h.at JOIN origin o ON o.id = u.origin LEFT JOIN fetch f ON f.id = u.last
WHERE h.hops > 0 AND (h.loop OR h.hops = 20 OR u.outcome IS NOT 'redirect');

-- each page that was not a seed and that no other URL links or redirects to: a sitemap names it
CREATE TEMP VIEW orphans AS SELECT
  o.name || u.path AS url, f.title, so.name || s.path AS found_on, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last
LEFT JOIN url s ON s.id = u.parent LEFT JOIN origin so ON so.id = s.origin
WHERE u.outcome = 'page' AND NOT u.seed AND u.id NOT IN (
  SELECT dst FROM link WHERE src <> dst AND kind IN ('a', 'area', 'frame', 'iframe', 'redirect', 'refresh'));

-- each page, and each URL that a sitemap lists; `sitemap` is the first that does, NULL: none
CREATE TEMP VIEW sitemap_coverage AS SELECT
  o.name || u.path AS url, so.name || s.path AS sitemap, l.text AS lastmod,
  coalesce(u.outcome, iif(u.due_at IS NULL, 'untried', 'queued')) AS outcome, f.status, u.reason, u.id AS id
FROM url u JOIN origin o ON o.id = u.origin LEFT JOIN fetch f ON f.id = u.last LEFT JOIN (
  SELECT dst, min(src) AS src, text FROM link WHERE kind = 'sitemap' AND rel IS NOT 'index' GROUP BY dst) l ON l.dst = u.id
LEFT JOIN url s ON s.id = l.src LEFT JOIN origin so ON so.id = s.origin
WHERE u.outcome = 'page' OR (l.dst IS NOT NULL AND u.outcome IS NOT 'sitemap' AND u.role IS NULL);

-- each page whose body another page has, byte for byte; `same_as` is the first of them
CREATE TEMP VIEW exact_duplicates AS SELECT
  o.name || u.path AS url, fo.name || s.path AS same_as, lower(hex(b.digest)) AS digest, b.size, g.first, u.id AS id
FROM (SELECT f.body, min(u.id) AS first FROM url u JOIN fetch f ON f.id = u.last
  WHERE u.outcome = 'page' AND f.body IS NOT NULL GROUP BY f.body HAVING count(*) > 1) g
JOIN fetch f ON f.body = g.body JOIN url u ON u.id = f.url AND u.last = f.id AND u.outcome = 'page' AND u.id <> g.first
JOIN origin o ON o.id = u.origin JOIN body b ON b.id = g.body
JOIN url s ON s.id = g.first JOIN origin fo ON fo.id = s.origin;

-- each thing that `crawler control` changed in a running crawl: settings, exclusions, pauses
CREATE TEMP VIEW controls AS SELECT
  strftime('%Y-%m-%dT%H:%M:%fZ', (value->>'at') / 1000.0, 'unixepoch') AS at, value->>'run' AS run, value->>'what' AS what,
  value->>'name' AS name, value->>'host' AS host, value->>'before' AS before, value->>'now' AS now
FROM main.meta WHERE key GLOB 'change *' ORDER BY key;
