"""A crawl as folders of files: a copy to browse offline, and Markdown."""
