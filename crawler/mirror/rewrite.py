"""A page whose links can be written anew: text, URL, text, URL, … Extractors: they run in the parse workers.

Each URL in an attribute or a style sheet is made absolute and marked in the tree; the tree is written out and cut at the marks.
So whoever joins the parts decides what each URL becomes, and never looks at markup. Of Markdown the same.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from crawler.parse.css import rewritten
from crawler.parse.markdown import markdown
from crawler.parse.values import refresh, srcset
from crawler.url import InvalidUrl, canonical, split

MOST = 12 << 20  # characters that a page may come to: 5 MiB can hold a million links, of 4,096 characters when they are absolute
LINK, KEPT = "l", "k"  # a link in an attribute; one there that stays what it was
STYLE, TEXT = "s", "t"  # in a style element; in Markdown
ATTRIBUTES = (LINK, KEPT)

Extractor = Callable[[Any, str], Mapping[str, Any]]
_SELECTOR = (
    "base,meta,style,[href],[src],[srcset],[imagesrcset],[style],[poster],[data],[background],[action],[formaction],[cite],"
    "[longdesc],[ping],image,use"
)
_LINKS = ("href", "src", "poster", "data", "background", "xlink:href", "cite", "longdesc")
_FORMS = ("action", "formaction")  # what a form sends goes to the server, if anywhere
_NOT_IN_CSS = re.compile(r"[\n\"<>\\]")  # escaped there, and nobody's honest URL
_STAYS = frozenset({"canonical", "shortlink", "dns-prefetch", "preconnect", "prefetch", "preload", "modulepreload"})


def rewriting(form: str) -> Extractor:
    """An extractor for 'html' or 'markdown'. It gives ``parts``: by turns a piece of text, and a URL after one of the letters
    above; nothing for a body that is no HTML. Raises ValueError when they come to more than `MOST`."""

    def extract(tree: Any, url: str) -> dict[str, Any]:
        if tree is None or tree.root is None:
            return {}
        mark = secrets.token_hex(16)
        text = _html(tree, url, mark) if form == "html" else markdown(tree, url, lambda link: f"{mark}{TEXT}{link}{mark}")
        if len(text) > MOST:
            raise ValueError(f"{len(text):,} characters, {MOST:,} are allowed")
        parts = text.split(mark)
        parts[1::2] = [part.replace("&amp;", "&") if part[0] in ATTRIBUTES else part for part in parts[1::2]]
        return {"parts": parts}

    return extract


def _html(tree: Any, url: str, mark: str) -> str:
    page = _Page(url, mark)
    nodes = {node.mem_id: node for node in tree.css(_SELECTOR)}  # one that fits twice comes twice
    page.set_base([*nodes.values()])
    for node in nodes.values():
        page.change(node)
    return ("" if page.declared else "\ufeff") + str(tree.html)


class _Page:
    """``declared``: its charset was said, and is said to be UTF-8 now; else a byte order mark will."""

    def __init__(self, url: str, mark: str) -> None:
        self.mark = mark
        self.declared = False
        self._base, self._based = url, False
        self._origin = split(url).origin

    def set_base(self, nodes: list[Any]) -> None:
        """The first base with an href counts, and only if it is http(s)."""
        hrefs = (node.attributes["href"] for node in nodes if node.tag == "base" and "href" in node.attributes)
        try:
            base = canonical(next(hrefs, None) or "", self._base)
        except InvalidUrl:
            return
        self._based = base != self._base and base.startswith(("http://", "https://"))
        self._base = base if self._based else self._base

    def change(self, node: Any) -> None:
        tag, attributes = node.tag, node.attributes
        if tag == "base":
            node.decompose()
        elif tag == "meta":
            self._meta(node, attributes)
        elif tag == "style":
            child = node.child
            if child is not None:
                child.replace_with(self._css(node.text(), STYLE))
        else:
            self._attributes(node, tag, attributes)

    def _attributes(self, node: Any, tag: str, attributes: dict[str, str | None]) -> None:
        rels = {*(attributes.get("rel") or "").lower().split()} if tag == "link" else set()
        kind = KEPT if rels & _STAYS else LINK
        for name, value in attributes.items():
            if not value:
                continue
            if name in _LINKS or name in _FORMS:
                if name != "data" or tag == "object":
                    self._set(node, name, self._link(value, KEPT if name in _FORMS else kind))
            elif name in ("srcset", "imagesrcset"):
                self._set(node, name, self._candidates(value))
            elif name == "style":
                self._set(node, name, self._css(value, LINK))
        if "ping" in attributes:
            del node.attrs["ping"]
        for name in ("integrity", "crossorigin"):  # a rewritten file has another digest, and a folder has no origin
            if name in attributes and self._ours(attributes):
                del node.attrs[name]

    def _meta(self, node: Any, attributes: dict[str, str | None]) -> None:
        equivalent = (attributes.get("http-equiv") or "").strip().lower()
        if "charset" in attributes:
            node.attrs["charset"] = "utf-8"
            self.declared = True
        elif equivalent == "content-type":
            node.attrs["content"] = "text/html; charset=utf-8"
            self.declared = True
        elif equivalent.startswith("content-security-policy"):  # 'self' is no folder
            node.decompose()
        elif equivalent == "refresh" and (found := refresh(attributes.get("content") or "")) and found[1]:
            link = self._link(found[1], LINK)
            if link is not None:
                node.attrs["content"] = f"{found[0]}; url={link}"

    def _set(self, node: Any, name: str, value: str | None) -> None:
        if value is not None:
            node.attrs[name] = value

    def _link(self, href: str, kind: str) -> str | None:
        """The marked URL and its fragment; None: what it says holds in any place."""
        text = href.strip("\t\n\f\r ")
        if text.startswith("#") and not self._based:
            return None
        try:
            url = canonical(text, self._base)
        except InvalidUrl:
            return None
        if not url.startswith(("http://", "https://")):
            return None
        _, sharp, fragment = text.partition("#")
        return f"{self.mark}{kind}{url}{self.mark}{sharp}{fragment}"

    def _candidates(self, value: str) -> str:
        """Candidates as they stand, each URL marked."""
        at, parts = 0, []
        for href in srcset(value):
            found = value.find(href, at)
            link = self._link(href, LINK)
            if found >= 0 and link is not None:
                parts += [value[at:found], link]
                at = found + len(href)
        return "".join([*parts, value[at:]])

    def _css(self, text: str, kind: str) -> str:
        return rewritten(text, self._in_css(kind))

    def _in_css(self, kind: str) -> Callable[[str], str | None]:
        return lambda href: None if _NOT_IN_CSS.search(href) else self._link(href, kind)

    def _ours(self, attributes: dict[str, str | None]) -> bool:
        """Whether what it loads is of the page's own server, and so probably a file beside it."""
        href = attributes.get("src") or attributes.get("href") or ""
        try:
            return split(canonical(href, self._base)).origin == self._origin
        except InvalidUrl:
            return False
