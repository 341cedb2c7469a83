"""What leaves a crawl file in the formats of others. Functions over an open reader; nothing is written to the crawl file."""
