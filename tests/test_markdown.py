"""Text and Markdown of a page's main part (crawler.parse.article, crawler.parse.markdown)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # comes with rich

from crawler.parse.bounds import MAX_TEXT
from crawler.parse.html import read
from crawler.parse.markdown import Markdown
from crawler.parse.worker import load, work
from crawler.spec import from_mapping

URL = "http://h.test/a/b"
LONG = "A sentence, which is long enough to be taken for running text, as it has commas and some forty words or so. " * 3


def tree(html: str) -> object:
    return read(html.encode("utf-8", "replace"), URL, "text/html; charset=utf-8")[1]


def of(html: str) -> str:
    """The Markdown of a fragment, nothing left out for being beside the point."""
    return "\n\n".join(Markdown(URL).blocks(tree(html).body, 0))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1> One <em>two</em></h1><h6>six</h6><h2></h2>", "# One *two*\n\n###### six"),
        ("<h2>#</h2><h2>a ##</h2><h2>C#</h2>", "## \\#\n\n## a \\##\n\n## C#"),
        ("<p>a\n b<p>c<div>d<div>e</div>f</div>g", "a b\n\nc\n\nd\n\ne\n\nf\n\ng"),
        ("<b> x </b>y <i>z</i><strong></strong>", "**x** y *z*"),
        ("<b><strong>x</strong></b> <del>old</del>", "**x** ~~old~~"),
        ("<a href=c?d>to <b>c</b></a>", "[to **c**](http://h.test/a/c?d)"),
        ("<a href='x(1)'>x</a> <a href='#s'>s</a> <a href='javascript:x'>j</a> <a>n</a>", "[x](<http://h.test/a/x(1)>) s j n"),
        ("<img src=i.png alt='an [i]'><img src=i.png><img alt=only>", "![an \\[i\\]](http://h.test/a/i.png)only"),
        ("one<br>two<br><br>three", "one\\\ntwo\\\nthree"),
        ("<ul><li>a<li>b<ol><li>c<li><p>d<p>e</ol></ul>", "- a\n- b\n\n  1. c\n  2. d\n\n     e"),
        ("<pre>x\n  y\n</pre><pre>a ``` b</pre>", "```\nx\n  y\n```\n\n````\na ``` b\n````"),
        ("<code>a b</code> <kbd>`</kbd>", "`a b` `` ` ``"),
        ("<blockquote>q<p>r</blockquote><hr>", "> q\n>\n> r\n\n---"),
        ("<table><tr><th>a<th>b<tr><td>c|d<tr><td>e<td>f", "| a | b |\n| --- | --- |\n| c\\|d |\n| e | f |"),
        ("<table><tr><td><p>layout</p><td>x</table>", "layout\n\nx"),
        ("<script>x</script><style>y</style><nav>n</nav><p hidden>h</p><p style='display: none'>d</p>z<!-- c -->", "z"),
        ("# no, 1. no, *no* _no_ snake_case [no](x) &lt;b&gt; &amp;amp; `no`",
         "\\# no, 1. no, \\*no\\* \\_no\\_ snake_case \\[no\\](x) \\<b> \\&amp; \\`no\\`"),
        ("1. a<p>- b<p>+c<p>+ c<p>&gt; d<p>---<p>12) x", "1\\. a\n\n\\- b\n\n+c\n\n\\+ c\n\n\\> d\n\n\\---\n\n12\\) x"),
    ],
)  # fmt: skip
def test_markdown(html: str, text: str) -> None:
    """CommonMark with GitHub's tables; what a page wrote as text stays text; links in full, and only of the web."""
    assert of(html) == text


WORDS = st.text(st.sampled_from("ab *_`[]()<>!#+-=.>|\\&~1\n\u00e9\u4e2d"), min_size=1, max_size=12)
ELEMENTS = st.sampled_from(["p", "h2", "li", "div", "td", "b", "em", "a href=x", "blockquote", "span", "code", "ul"])
TREES = st.recursive(
    WORDS.map(escape),
    lambda inner: st.tuples(ELEMENTS, st.lists(inner, max_size=3)).map(lambda e: f"<{e[0]}>{''.join(e[1])}</{e[0].split()[0]}>"),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TREES, max_size=4))
def test_what_a_reader_sees_is_what_the_page_says(parts: list[str]) -> None:
    """Rendered, it has the page's letters in their order, no HTML, and no link that the page does not have."""
    page = tree("".join(parts))
    rendered = MarkdownIt("commonmark", {"html": True}).parse(of("".join(parts)))
    assert _letters("".join(_seen(rendered))) == _letters(page.body.text())  # type: ignore[attr-defined]
    assert not any(t.type.startswith("html") for t in _flat(rendered))
    assert {t.attrs["href"] for t in _flat(rendered) if t.type == "link_open"} <= {"http://h.test/a/x"}


def _letters(text: str) -> str:
    """Of a text, what is neither white space nor a sign that Markdown may take for emphasis next to letters."""
    return re.sub(r"[^\w()<>#+=&\\|]+", "", text)


def _flat(tokens: list[object]) -> Iterator[object]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])  # type: ignore[attr-defined]


def _seen(tokens: list[object]) -> Iterator[str]:
    for token in _flat(tokens):
        if token.type in ("text", "code_inline", "fence", "code_block", "text_special"):  # type: ignore[attr-defined]
            yield token.content  # type: ignore[attr-defined]


# --- the main part ---


def found(html: str, *groups: str) -> dict[str, object]:
    extractors = [load(name) for name in from_mapping({"data": list(groups)}).extractors]
    return dict(work(html.encode(), URL, "text/html; charset=utf-8", (), extractors=extractors).data)


TEASER = "<li><a href=x>A teaser that leads elsewhere, of some length</a>"
MENU = f"<nav><p>{'menu, ' * 90}</p></nav><ul>{TEASER * 30}</ul>"
FOOT = "<footer><p>" + "small print, " * 90 + "</footer><aside><p>" + "related, " * 90 + "</aside>"


@pytest.mark.parametrize(
    "body",
    [
        f"<main><h1>Title</h1><p>{LONG}</main>",
        f"<div class=a><div><h1>Title</h1><p>{LONG}<p>{LONG}</div></div><div><p>Comment, short, of somebody else.</div>",
        f"<div><h1>Title</h1>{LONG}<br><br>{LONG}</div>",
        f"<div><h1>Title</h1><div><p>{LONG}</div><div><p>{LONG}</div><div><p>{LONG}</div></div>",
        "<div><div>" + f"<div><div><div><div><p>{LONG}</div></div></div></div>" * 4 + "</div></div>",
        f"<table><tr><td><ul><li><a href=x>Here and there</a></ul><td><h1>Title</h1>{LONG}</table>",
    ],
)
def test_the_main_part_is_where_the_running_text_is(body: str) -> None:
    """Menus, teasers, small print and what stands beside are left out, whatever the elements are called."""
    data = found(f"<body>{MENU}{body}{FOOT}", "text", "markdown")
    text = str(data["text"])
    assert text.count(LONG.strip()) == body.count(LONG.strip())
    assert not any(word in text for word in ("menu", "teaser", "print", "related"))
    assert re.sub(r"[\\|*#-]|\s", "", str(data["markdown"])) == re.sub(r"[|-]|\s", "", text)


def test_a_page_without_running_text_is_taken_whole() -> None:
    """A list of links has no main part to be found by its text; its furniture is left out all the same."""
    assert found("<nav>n</nav><ul><li><a href=c>C</a></ul>", "text", "markdown") == {
        "text": "C",
        "markdown": "- [C](http://h.test/a/c)",
    }


@pytest.mark.parametrize("html", ["", "<frameset><frame src=x></frameset>", "<!-- x -->", "\0"])
def test_a_page_without_text_has_an_empty_one(html: str) -> None:
    """Nothing to read is an empty text, not a missing one."""
    assert found(html, "text", "markdown") in ({"text": "", "markdown": ""}, {"text": "\ufffd", "markdown": "\ufffd"})


DEEP = ["<div>" * 3_000, "<b>" * 300, "<ul><li>" * 300, "<table><tr><td>" * 60, "<blockquote>" * 300, "<td><p>" * 5_000]
MUCH = ["<p>" + "x" * 300_000, "<p>a, b" * 20_000]


@pytest.mark.parametrize("html", [*(deep + LONG for deep in DEEP), *MUCH], ids=lambda html: html[:12])
def test_hostile_pages_are_bounded(html: str) -> None:
    """Nested deeper than Python's stack, or longer than an answer: at most 200,000 characters, and `cut` says so."""
    data = found(html, "text", "markdown")
    sizes = {name: len(str(data[name])) for name in ("text", "markdown")}
    assert all(0 < size <= MAX_TEXT for size in sizes.values())
    assert data.get("cut", []) == [name for name, size in sizes.items() if size == MAX_TEXT]


def test_links_follow_the_base_element() -> None:
    """As everywhere: relative to the page's base, if it has one."""
    assert found("<base href=/x/><p><a href=y>a</a>", "markdown")["markdown"] == "[a](http://h.test/x/y)"


def test_a_ragged_table_is_no_larger_than_its_cells() -> None:
    """One row of 2,000 cells does not make 2,000 of each of the others: GitHub's readers fill up what is missing."""
    text = of("<table><tr>" + "<td>x" * 2_000 + "<tr><td>y" * 2_000 + "</table>")
    assert (text.count("\n"), len(text) < 50_000) == (2_001, True)
