"""What a crawl came to, as one HTML page for people: what it says (facts, problems), how it looks (plots, markup)."""
