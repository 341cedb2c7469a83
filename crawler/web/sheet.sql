-- What `crawler serve` keeps of a crawl file in a private database while it runs: pages as rows that can be sorted by any
-- column, and the attempts summed up. Ids are those of `url`; nothing is NULL, so that each order is one.

PRAGMA journal_mode = MEMORY;
PRAGMA secure_delete = ON;        -- what is purged is gone here too
PRAGMA cache_size = -65536;       -- 64 MiB; what is more goes to a temporary file

CREATE TABLE page (
  id INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,          -- the fetch: later ones are newer
  url TEXT NOT NULL,
  host TEXT NOT NULL,
  title TEXT NOT NULL,
  mime TEXT NOT NULL,
  status INTEGER NOT NULL,
  depth INTEGER NOT NULL,         -- as it was when the page came; -1: no followed link leads there
  size INTEGER NOT NULL,
  elapsed_ms INTEGER NOT NULL,
  partly TEXT NOT NULL            -- why it was not wholly read
) STRICT;
CREATE INDEX page_last ON page (last);
CREATE INDEX page_url ON page (url);
CREATE INDEX page_host ON page (host);
CREATE INDEX page_title ON page (title);
CREATE INDEX page_mime ON page (mime);
CREATE INDEX page_status ON page (status);
CREATE INDEX page_depth ON page (depth);
CREATE INDEX page_size ON page (size);
CREATE INDEX page_elapsed ON page (elapsed_ms);

CREATE TABLE tick (               -- requests in each second in which there was one
  at INTEGER PRIMARY KEY,
  requests INTEGER NOT NULL
) STRICT;

CREATE TABLE answer (             -- how often what was answered; robots.txt and sitemaps are left out
  status INTEGER NOT NULL,        -- 0: no answer
  reason TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (status, reason)
) STRICT, WITHOUT ROWID;
