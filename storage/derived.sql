-- Views over a crawl file and its index (`crawler index`), made for each reader of both.

-- (`crawler index` makes it) each page that another has the body of ('exact') or nearly the text of ('near'): `same_as` is the first such page,
-- `distance` how many of the 64 bits of their SimHashes differ
CREATE TEMP VIEW duplicates AS SELECT
  o.name || u.path AS url, d.alike, fo.name || f.path AS same_as, d.distance, u.id AS id
FROM (
  SELECT id, 'exact' AS alike, first, 0 AS distance FROM exact_duplicates
  UNION ALL SELECT id, 'near', first, distance FROM derived.near) d
JOIN url u ON u.id = d.id JOIN origin o ON o.id = u.origin
JOIN url f ON f.id = d.first JOIN origin fo ON fo.id = f.origin;

-- (`crawler index` makes it) each page and redirect, and how many clicks lead there from a seed; a redirect is none; NULL: no links lead there
CREATE TEMP VIEW click_depth AS SELECT o.name || u.path AS url, n.click_depth, u.outcome, u.id AS id
FROM derived.node n JOIN url u ON u.id = n.id JOIN origin o ON o.id = u.origin;

-- (`crawler index` makes it) each page and redirect, and how likely one is there who follows links at random (damping 0.85); all sum to 1
CREATE TEMP VIEW pagerank AS SELECT o.name || u.path AS url, n.pagerank, u.outcome, u.id AS id
FROM derived.node n JOIN url u ON u.id = n.id JOIN origin o ON o.id = u.origin;
