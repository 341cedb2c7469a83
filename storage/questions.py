"""Ready-made questions about a crawl: `crawler query --list` names them, `crawler query crawl.db NAME` asks one."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """``derived``: it needs the file's index (`storage.index`)."""

    name: str
    about: str
    sql: str
    derived: bool = False


_ALL = (
    Question(
        "broken-links",
        "links to URLs that failed, with the page they are on",
        "SELECT dst, status, reason, src, text FROM broken_links ORDER BY dst, src",
    ),
    Question(
        "failures",
        "URLs that failed, by what happened",
        "SELECT reason, status, url, attempts, retry_at, found_on FROM failures ORDER BY reason, status, url",
    ),
    Question(
        "skipped",
        "how many URLs were refused, by reason, with an example",
        "SELECT reason, count(*) AS urls, min(url) AS example FROM skipped GROUP BY reason ORDER BY urls DESC",
    ),
    Question(
        "redirect-chains",
        "redirects that lead to another redirect, or in a circle",
        "SELECT src, hops, ends_as, dst, status FROM redirect_chains WHERE hops > 1 OR ends_as = 'loop' ORDER BY hops DESC, src",
    ),
    Question(
        "downgrades",
        "redirects from https to http",
        "SELECT src, dst, status FROM redirects WHERE downgrade ORDER BY src",
    ),
    Question(
        "missing-titles",
        "HTML pages without a title",
        "SELECT url, found_on FROM pages WHERE title IS NULL AND mime IN ('text/html', 'application/xhtml+xml') ORDER BY url",
    ),
    Question(
        "duplicate-titles",
        "titles that several pages have",
        "SELECT title, count(*) AS pages, min(url) AS first FROM pages WHERE title IS NOT NULL "
        "GROUP BY title HAVING count(*) > 1 ORDER BY pages DESC, title",
    ),
    Question(
        "slow-pages",
        "the hundred pages that took longest",
        "SELECT elapsed_ms, size, url FROM pages ORDER BY elapsed_ms DESC, url LIMIT 100",
    ),
    Question(
        "large-pages",
        "the hundred largest bodies",
        "SELECT size, mime, truncated, url FROM pages ORDER BY size DESC, url LIMIT 100",
    ),
    Question(
        "not-parsed",
        "pages that were not, or not wholly, parsed, and why",
        "SELECT parse, truncated, url FROM pages WHERE parse IS NOT NULL OR truncated IS NOT NULL ORDER BY parse, url",
    ),
    Question(
        "media-types",
        "what kinds of body there are",
        "SELECT mime, count(*) AS pages, sum(size) AS bytes FROM pages GROUP BY mime ORDER BY pages DESC",
    ),
    Question(
        "hosts",
        "hosts with trouble first, then by pages",
        "SELECT host, pages, failures, queued, trouble FROM hosts ORDER BY trouble IS NULL, pages DESC, host",
    ),
    Question(
        "next-in-queue",
        "the hundred URLs that are due first",
        "SELECT due_at, host, depth, attempts, url FROM queue ORDER BY due_at, url LIMIT 100",
    ),
    Question(
        "latest-requests",
        "the last hundred requests, those for robots.txt and sitemaps too",
        "SELECT at, outcome, status, reason, elapsed_ms, url FROM fetches ORDER BY id DESC LIMIT 100",
    ),
    Question(
        "runs",
        "the runs of the crawl",
        "SELECT id, started_at, ended_at, ending, requests, connections, reused, bytes FROM runs ORDER BY id",
    ),
    Question(
        "inlinks",
        "the hundred pages that most others link to",
        "SELECT inlinks, url FROM inlinks ORDER BY inlinks DESC, url LIMIT 100",
    ),
    Question(
        "orphans",
        "pages that only a sitemap knows: nothing links to them",
        "SELECT url, title, found_on FROM orphans ORDER BY url",
    ),
    Question(
        "sitemap-gaps",
        "URLs that a sitemap lists and that are no page",
        "SELECT url, outcome, status, reason, sitemap FROM sitemap_coverage "
        "WHERE sitemap IS NOT NULL AND outcome <> 'page' ORDER BY outcome, url",
    ),
    Question(
        "not-in-sitemap",
        "pages that no sitemap lists",
        "SELECT url FROM sitemap_coverage WHERE sitemap IS NULL AND outcome = 'page' ORDER BY url",
    ),
    Question(
        "exact-duplicates",
        "pages with the same body, byte for byte",
        "SELECT url, same_as, size FROM exact_duplicates ORDER BY same_as, url",
    ),
    Question(
        "duplicates",
        "pages with the same body, or nearly the same text",
        "SELECT url, alike, distance, same_as FROM duplicates ORDER BY same_as, url",
        derived=True,
    ),
    Question(
        "click-depth",
        "the hundred pages that take most clicks from a seed; first those no click leads to",
        "SELECT click_depth, url FROM click_depth WHERE outcome = 'page' "
        "ORDER BY click_depth IS NOT NULL, click_depth DESC, url LIMIT 100",
        derived=True,
    ),
    Question(
        "pagerank",
        "the hundred pages a reader who follows links at random is most often on",
        "SELECT pagerank, url FROM pagerank WHERE outcome = 'page' ORDER BY pagerank DESC, url LIMIT 100",
        derived=True,
    ),
)
QUESTIONS = {question.name: question for question in _ALL}
