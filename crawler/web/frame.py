"""The frame around each page: head, navigation, how the crawl stands, and the box that finds."""

from __future__ import annotations

from crawler.report.markup import Safe, tag
from crawler.web.asked import Asked, Shown

NAV = (
    ("/", "Overview"), ("/pages", "Pages"), ("/hosts", "Hosts"), ("/failures", "Failures"), ("/broken", "Broken links"),
    ("/redirects", "Redirects"), ("/skipped", "Skipped"), ("/sql", "SQL"),
)  # fmt: skip
SECONDS, RESTING, FILLING = "2", "10", "0.5"  # between two looks at a page that is live; while nothing crawls; at first


def document(shown: Shown, asked: Asked) -> str:
    """The whole page."""
    file = asked.reader.path.name
    running = asked.reader.crawler() is not None
    pace = FILLING if asked.sheet.missing else SECONDS if running else RESTING
    main = tag("main", shown.body, id="main", tabindex="-1", data_live=pace if shown.live else None)
    body = tag("body", tag("a", "Skip to the content", href="#main", class_="skip"), _header(asked, file, running), main)
    return f"<!DOCTYPE html>\n{tag('html', _head(f'{shown.title} · {file}'), body, lang='en')}\n"


def failed(title: str, sentence: str) -> str:
    """A page that says what is wrong, where there is nothing else to show."""
    body = tag("body", tag("main", tag("h1", title), tag("p", sentence, role="alert"), tag("p", tag("a", "Overview", href="/"))))
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Safe:
    return tag("head", tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="color-scheme", content="light dark"), tag("title", title),
               tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
               *(tag("link", rel="stylesheet", href=f"/static/{name}.css") for name in ("style", "plots")),
               tag("script", src="/static/script.js", defer=""))  # fmt: skip


def _header(asked: Asked, file: str, running: bool) -> Safe:
    links = [tag("a", name, href=path, aria_current="page" if path == asked.path else None) for path, name in NAV]
    find = tag("input", type="search", name="q", id="find", placeholder="Words, or a URL", aria_label="Find words, or a URL",
               title="Press / to get here", autocomplete="off")  # fmt: skip
    return tag(
        "header",
        tag("a", file, href="/", class_="brand"),
        tag("span", _state(asked, running), class_="state", data_part="state"),
        tag("form", find, tag("button", "Find"), action="/search", role="search", class_="find"),
        tag("nav", *links, aria_label="Pages of the view"),
    )


def _state(asked: Asked, running: bool) -> Safe:
    run = asked.reader.run()
    if running and run:
        return tag("span", f"running · {run.progress.get('rate', 0):g}/s", class_="good")
    return tag("span", (run.ending or "killed") if run else "new")
