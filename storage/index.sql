-- A crawl file's index: everything in it is derived, and may be deleted at any time. Ids are those of `url`.

BEGIN IMMEDIATE;  -- whoever makes it commits

CREATE TABLE meta (
  key TEXT PRIMARY KEY,           -- 'format', 'crawl': whose index this is; 'text', 'graph': the latest fetch they know
  value NOT NULL
) WITHOUT ROWID;

CREATE TABLE doc (                -- each page
  id INTEGER PRIMARY KEY,
  simhash INTEGER,                -- of its text; NULL: too short, or no HTML
  reason TEXT                     -- why its text is not, or not wholly, in the index
) STRICT;

CREATE VIRTUAL TABLE text USING fts5 (title, body, tokenize = 'unicode61 remove_diacritics 2');

CREATE TABLE near (               -- each page that is nearly the same as an earlier one
  id INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  distance INTEGER NOT NULL
) STRICT;

CREATE TABLE node (               -- each page and redirect
  id INTEGER PRIMARY KEY,
  click_depth INTEGER,
  pagerank REAL NOT NULL
) STRICT;
