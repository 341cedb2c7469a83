"""The main part of a page, and its text: what its author would call the page, without menus, banners and footers.

The element that holds most of the running text: each paragraph speaks for its parent, and half as much for the parent of
that, by its length and by how little of it is links. Where the text goes on beside that element, the one around them is it.
After Readability (arc90, 2009), without its class names in English.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

DEEP = 60  # elements within each other; what is deeper is taken as its text
LEAST = 25  # characters of a paragraph that says anything about where it stands
MOST = 5_000  # paragraphs looked at
DEEPEST = 100  # elements around one
GENERATIONS = 3  # a paragraph speaks for its parent and two above
WIDER = 3  # times the running text that an element around the best one must hold, to be taken in its place
FURNITURE = frozenset({
    "script", "style", "noscript", "template", "svg", "head", "iframe", "nav", "footer", "aside", "button", "select",
    "textarea", "input", "dialog", "canvas", "audio", "video", "object",
})  # fmt: skip
BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "li", "main",
    "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_ROLES = frozenset({"navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alert", "menu"})
_BREAK = "\0"
_PARAGRAPHS = "p,pre,blockquote,li"
_BOXES = "div,section,article,td,dd"


def main_part(tree: Any) -> Any:
    """The element to read; None: a page without a body."""
    body = tree.body
    if body is None:
        return None
    known: dict[int, bool] = {}
    nodes: dict[int, Any] = {}
    scores: dict[int, float] = {}  # by element, as its paragraphs speak for it
    held: dict[int, float] = {}  # by element, what all paragraphs in it say
    for paragraph, weight in islice(_paragraphs(tree), MOST):
        around = list(islice(_ancestors(paragraph), DEEPEST))
        if weight and not any(_aside(node, known) for node in around):
            for n, node in enumerate(around):
                nodes[node.mem_id] = node
                held[node.mem_id] = held.get(node.mem_id, 0.0) + weight
                if n < GENERATIONS:
                    scores[node.mem_id] = scores.get(node.mem_id, 0.0) + weight / 2**n
    if not scores:
        return body
    best = max(scores, key=lambda id_: scores[id_])
    return nodes[_widened(best, nodes, held)]


def _widened(best: int, nodes: dict[int, Any], held: dict[int, float]) -> int:
    for node in islice(_ancestors(nodes[best]), DEEPEST):
        if held.get(node.mem_id, 0.0) >= WIDER * held[best]:
            best = node.mem_id
    return best


def _paragraphs(tree: Any) -> Iterator[tuple[Any, float]]:
    """Elements with text, and how much each says. Text right in a box, with line breaks for paragraphs, counts as one in it."""
    for node in tree.css(_PARAGRAPHS):
        yield node, _weight(node)
    for node in tree.css(_BOXES):
        text = node.text(deep=False)
        if len(text.strip()) >= LEAST and node.first_child is not None:
            yield node.first_child, 1 + min(len(text) / 100, 10) + text.count(",")


def _ancestors(node: Any) -> Iterator[Any]:
    while (node := node.parent) is not None and node.tag not in ("html", "-undef", "-document"):
        yield node


def _aside(node: Any, known: dict[int, bool]) -> bool:
    """`furniture`, asked once of each element."""
    if (id_ := node.mem_id) not in known:
        known[id_] = furniture(node)
    return known[id_]


def _weight(paragraph: Any) -> float:
    text: str = paragraph.text_lexbor()
    size = len(text)
    if size < LEAST:
        return 0.0
    linked = sum(len(a.text_lexbor()) for a in paragraph.css("a"))
    loose = 0.3 if paragraph.tag in ("li", "td", "dd") else 1.0
    return (1 + min(size / 100, 10) + text.count(",")) * (1 - min(1.0, linked / size)) * loose


def furniture(node: Any) -> bool:
    """Whether it is no part of what a reader came for."""
    if node.tag in FURNITURE:
        return True
    attributes = node.attributes
    style = attributes.get("style") or ""
    return "hidden" in attributes or attributes.get("role") in _ROLES or "display:none" in style.replace(" ", "")


# --- its text ---


def text(tree: Any) -> str:
    """The main part as plain text, a line for each block."""
    part = main_part(tree)
    lines = "".join(_pieces(part, 0)).split(_BREAK) if part is not None else []
    return "\n".join(line for piece in lines if (line := flat(piece)))


def _pieces(node: Any, depth: int) -> Iterator[str]:
    if depth > DEEP:
        yield node.text().replace(_BREAK, " ")
        return
    for child in node.iter(include_text=True):
        tag = child.tag
        if tag == "-text":
            yield (child.text_content or "").replace(_BREAK, " ")
        elif tag and tag[0] not in "-!_" and not furniture(child):
            ends = (_BREAK,) if tag in BLOCKS or tag == "br" else ()
            yield from ends
            yield from _pieces(child, depth + 1)
            yield from ends


def flat(text: str) -> str:
    """On one line."""
    return " ".join(text.split())
