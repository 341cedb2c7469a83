"""What a page says: its links of every kind, title, base, canonical, language and robots directives.

The only importer of selectolax. Runs in a worker process (see `crawler.parse.worker`): lexbor is quadratic on hostile
input and may crash, so nothing here tries to be safe against it; the limits around it are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from crawler.parse import mime as media
from crawler.parse.charset import decode, from_header
from crawler.parse.edges import MAX_URL, Edges
from crawler.parse.values import directives, link_header, refresh, srcset
from crawler.url import InvalidUrl, canonical
from crawler.visit import Extract

MAX_HTML = 5 << 20  # bytes parsed (P6)
MAX_TEXT = 500  # characters of a link's text
MAX_TITLE = 1_000
MAX_LANG = 35  # characters hold any language tag (RFC 5646 §4.4.1)
MAX_LANGUAGES = 200  # of a page's translations
MAX_EXAMINED = 100_000  # elements looked at; 10,000 links hide behind no more on any honest page
AGENT = "poolcrawl"  # the product token in meta name= and X-Robots-Tag (RFC 9309 §2.2.1)

Headers = Sequence[tuple[str, str]]
Packed = tuple[bytes, str, bytes]  # SHA-256 of a body, codec, the body so packed
_Attributes = Mapping[str, str | None]

# One selector for all of them: 21 µs for 28 kB where naming every element and attribute takes 110.
_SELECTOR = "[href],[src],[srcset],meta,title,form,object,video[poster]"

_RELS = frozenset({
    "canonical", "next", "prev", "alternate", "stylesheet", "icon", "apple-touch-icon", "mask-icon", "manifest",
    "preload", "modulepreload", "prefetch", "prerender", "dns-prefetch", "preconnect", "amphtml", "shortlink",
    "search", "author", "license", "help", "pingback", "me", "hub", "self", "first", "last", "up", "payment",
})  # fmt: skip
_SAME_REL = {"previous": "prev", "apple-touch-icon-precomposed": "apple-touch-icon"}

# element → (attribute that holds the URL, kind of link)
_PLAIN: Mapping[str, tuple[str, str]] = {
    "frame": ("src", "frame"),
    "iframe": ("src", "iframe"),
    "script": ("src", "script"),
    "source": ("src", "source"),
    "video": ("src", "video"),
    "audio": ("src", "audio"),
    "track": ("src", "track"),
    "embed": ("src", "embed"),
    "object": ("data", "object"),
}


def extract(body: bytes, url: str, content_type: str | None = None, headers: Headers = ()) -> Extract:
    """What a body holds. ``url`` is where it came from, ``headers`` the response's (names in any case).

    A body that is no HTML yields the links and directives of its headers. The body is not digested nor packed here.
    Raises MemoryError when the parser cannot have the memory it wants, and nothing else.
    """
    return read(body, url, content_type, headers)[0]


def read(
    body: bytes, url: str, content_type: str | None = None, headers: Headers = (), packed: Packed = (b"", "raw", b"")
) -> tuple[Extract, LexborHTMLParser | None]:
    """The same as `extract`, with the body as it was ``packed``, and the tree for whoever wants to look further
    (None: not HTML)."""
    page = _Page(url)
    page.headers(headers)
    mime = media.sniff(content_type, body)
    if mime not in media.HTML:
        if mime == "text/css":
            page.style_sheet(body[:MAX_HTML])
        return page.finish(packed, mime=mime, charset=from_header(content_type), size=len(body)), None
    text, charset = decode(body[:MAX_HTML], content_type)
    tree = _parse(text)
    page.document(tree)
    return page.finish(packed, mime=mime, charset=charset, size=len(body)), tree


def selects(css: str) -> bool:
    """Whether a CSS selector is one that trees understand."""
    try:
        LexborHTMLParser("<html>").css(css)
    except SelectolaxError:
        return False
    return True


def _parse(text: str) -> LexborHTMLParser:
    try:
        return LexborHTMLParser(text)
    except SelectolaxError as error:  # lexbor fails for want of memory only
        raise MemoryError(str(error)) from error


class _Page:
    """What has been found so far on one page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._edges = Edges(url)
        self._base: str | None = None
        self._title: str | None = None
        self._canonical: str | None = None
        self._lang: str | None = None
        self._served: str | None = None  # the language by the headers, or by an element that stands for one
        self._robots: set[str] = set()
        self._data: dict[str, Any] = {}

    def headers(self, headers: Headers) -> None:
        for key, value in headers:
            name = key.lower()
            if name == "link":
                for target, parameters in link_header(value):
                    if "anchor" not in parameters:  # else the link is about another resource (RFC 8288 §3.2)
                        self._link(target, parameters.get("rel"), parameters.get("title"))
            elif name == "refresh":
                self._refresh(value)
            elif name == "x-robots-tag":
                self._robots |= directives(value, AGENT)
            elif name == "content-language":
                self._served = _one_language(value)

    def document(self, tree: LexborHTMLParser) -> None:
        nodes = tree.css(_SELECTOR)
        tags = [node.tag for node in nodes]
        self._language(tree)
        if "base" in tags:
            self._set_base([node.attributes for tag, node in zip(tags, nodes, strict=True) if tag == "base"])
        edges = self._edges
        for tag, node in zip(tags[:MAX_EXAMINED], nodes, strict=False):
            if tag == "a":
                attributes = node.attributes
                href = attributes.get("href")
                if href is not None:
                    edges.add(href, "a", attributes.get("rel"), node, _anchor_text)
            elif (handle := _ELEMENTS.get(tag or "")) is not None:
                handle(self, node, node.attributes)
            if edges.full:
                break
        edges.full |= len(nodes) > MAX_EXAMINED

    def style_sheet(self, body: bytes) -> None:
        """What it imports, and what it shows: images, fonts."""
        from crawler.parse.css import urls  # many a worker never meets one

        for href, imports in urls(body):
            self._edges.add(href, "stylesheet" if imports else "css", None, None, _clean)

    def finish(self, packed: Packed, *, mime: str, charset: str | None, size: int) -> Extract:
        marks = ["html"] * (mime in media.HTML and size > MAX_HTML) + ["links"] * self._edges.full
        return Extract(
            links=self._edges.links(),
            title=self._title,
            charset=charset,
            base=self._base,
            canonical=self._canonical,
            lang=self._lang or self._served,
            mime=mime,
            robots=frozenset(self._robots),
            data=self._data,
            dropped=self._edges.dropped,
            truncated=",".join(marks) or None,
            digest=packed[0],
            size=size,
            codec=packed[1],
            packed=packed[2],
        )

    # --- document-wide: `<noscript><img>` in the head moves all that follows into the body (LIBRARIES 1.2) ---

    def _set_base(self, bases: Sequence[_Attributes]) -> None:
        """The first base with an href counts, and only if it is http(s) (P10)."""
        first = next((attributes for attributes in bases if "href" in attributes), None)
        if first is None:
            return
        try:
            base = canonical(first["href"] or "", self._url)
        except InvalidUrl:
            return
        if base.startswith(("http://", "https://")) and len(base) <= MAX_URL:
            self._base = base
            self._edges.rebase(base)

    def _language(self, tree: LexborHTMLParser) -> None:
        root = tree.root
        lang = root.attributes.get("lang") if root is not None else None
        self._lang = lang.strip()[:MAX_LANG] or None if lang else None

    def _refresh(self, value: str) -> None:
        found = refresh(value)
        if found is not None and found[1]:
            self._edges.add(found[1], "refresh", None, None, _clean)

    def _link(self, href: str, rel: str | None, title: str | None, hreflang: str | None = None) -> None:
        kind = _link_kind(rel)
        if not self._edges.add(href, kind, rel, title, _clean):
            return
        if kind == "canonical" and self._canonical is None:
            self._canonical = self._edges.url(href)
        elif kind == "alternate" and hreflang:
            known = self._data.setdefault("hreflang", {})
            if len(known) < MAX_LANGUAGES:
                known.setdefault(hreflang[:MAX_LANG], self._edges.url(href))

    # --- one method for each element that is not plain ---

    def on_link(self, node: LexborNode, attributes: _Attributes) -> None:
        href = attributes.get("href")
        if href:
            self._link(href, attributes.get("rel"), attributes.get("title"), attributes.get("hreflang"))

    def on_area(self, node: LexborNode, attributes: _Attributes) -> None:
        href = attributes.get("href")
        if href is not None:
            self._edges.add(href, "area", attributes.get("rel"), attributes.get("alt"), _clean)

    def on_plain(self, node: LexborNode, attributes: _Attributes) -> None:
        attribute, kind = _PLAIN[node.tag or ""]
        href = attributes.get(attribute)
        if href:
            self._edges.add(href, kind, None, attributes.get("title"), _clean)
        if kind == "video" and (poster := attributes.get("poster")):
            self._edges.add(poster, "img", None, None, _clean)
        if kind == "source":
            self._candidates(attributes)

    def on_image(self, node: LexborNode, attributes: _Attributes) -> None:
        src = attributes.get("src")
        if src:
            self._edges.add(src, "img", None, attributes.get("alt"), _clean)
        self._candidates(attributes)

    def _candidates(self, attributes: _Attributes) -> None:
        for href in srcset(attributes.get("srcset") or ""):
            self._edges.add(href, "img", None, attributes.get("alt"), _clean)

    def on_input(self, node: LexborNode, attributes: _Attributes) -> None:
        if (attributes.get("type") or "").lower() == "image":
            self.on_image(node, attributes)

    def on_form(self, node: LexborNode, attributes: _Attributes) -> None:
        action = attributes.get("action")
        if action and (attributes.get("method") or "get").strip().lower() not in ("post", "dialog"):
            self._edges.add(action, "form", attributes.get("rel"), None, _clean)

    def on_meta(self, node: LexborNode, attributes: _Attributes) -> None:
        content = attributes.get("content")
        if not content:
            return
        pragma = (attributes.get("http-equiv") or "").lower()
        if pragma == "refresh":
            self._refresh(content)
        elif pragma == "content-language":
            self._served = _one_language(content)
        name = (attributes.get("name") or "").strip().lower()
        if name in ("robots", AGENT):
            self._robots |= directives(content)
        elif name in ("tdm-reservation", "tdm-policy"):
            self._data.setdefault(name, _clean(content))
        elif name == "description":
            self._data.setdefault("description", _clean(content, MAX_TITLE))

    def on_title(self, node: LexborNode, attributes: _Attributes) -> None:
        parent = node.parent
        if self._title is None and (parent is None or parent.tag != "svg"):
            self._title = _clean(node.text(), MAX_TITLE)


_ELEMENTS: Mapping[str, Callable[[_Page, LexborNode, _Attributes], None]] = {
    "link": _Page.on_link,
    "area": _Page.on_area,
    "img": _Page.on_image,
    "input": _Page.on_input,
    "form": _Page.on_form,
    "meta": _Page.on_meta,
    "title": _Page.on_title,
    **dict.fromkeys(_PLAIN, _Page.on_plain),
}


def _link_kind(rel: str | None) -> str:
    """The kind of a ``link``: its first rel token we know. An alternate stylesheet is a stylesheet, not a page."""
    tokens = [_SAME_REL.get(t, t) for t in (rel or "").lower().split()]
    if "stylesheet" in tokens:
        return "stylesheet"
    return next((t for t in tokens if t in _RELS), "link")


def _one_language(value: str) -> str | None:
    """A Content-Language that names one language; of several nobody knows which it is (HTML §4.2.5.3)."""
    lang = value.strip()
    return lang[:MAX_LANG] if lang and not {",", " "} & {*lang} else None


def _clean(text: str | None, limit: int = MAX_TEXT) -> str | None:
    return " ".join(text.split())[:limit] or None if text else None


def _anchor_text(node: LexborNode) -> str | None:
    """The text of an anchor; if it has none, that of the first image in it that has an alt."""
    text = " ".join(node.text_lexbor().split())[:MAX_TEXT]
    if text or node.first_child is None:
        return text or None
    image = node.css_first("img[alt]")
    return _clean(image.attributes.get("alt")) if image is not None else None
