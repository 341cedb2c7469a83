"""The local web view of a crawl file, `crawler serve`: read-only, loopback only, also while the crawl runs (decision 0030)."""
