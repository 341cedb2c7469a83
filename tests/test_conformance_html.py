"""Public suites for HTML and encodings. Where we differ, docs/conformance-html.md says so by case and reason."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from crawler.parse.charset import decode, encoding_of, from_header
from crawler.parse.html import extract
from crawler.parse.mime import content_type
from crawler.parse.values import refresh, srcset
from crawler.url import canonical

ROOT = Path(os.environ.get("CONFORMANCE") or Path(__file__).resolve().parents[2] / "shared" / "conformance")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "conformance-html.md"

BEYOND_PRESCAN = "declared beyond the first 1,024 bytes, which is all the standard's prescan reads"
NOFOLLOW_KEPT = "Nutch drops nofollow links; we keep the edge with its rel and the frontier refuses it"
FORM_OFF = "this case switches Nutch's form links off; ours are edges that are never followed"
DIFFERENCES: dict[str, str] = {
    **{f"h5l/tests1.dat/{n}": BEYOND_PRESCAN for n in range(47, 53)},
    "h5l/tests1.dat/53": "the declaration is made by a script, and we run none",
    "wpt/srcset/76": "a control character makes the width an unknown word, and unknown words are passed over",
    "scrapy/le/21": "Scrapy leaves out links that end in .jpg; we know a type when the server has told it",
    "nutch/dom/7": NOFOLLOW_KEPT,
    "nutch/dom/8": NOFOLLOW_KEPT,
    "nutch/dom/10": FORM_OFF,
}


def cases(name: str) -> Any:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not in the conformance folder (set CONFORMANCE)", allow_module_level=True)
    return json.loads(path.read_text(encoding="utf-8"))


def by_id(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in cases(name)]


def agree(case: dict[str, Any], same: bool, detail: object = "") -> None:
    """A listed difference that starts to agree is as wrong as an unlisted one."""
    listed = DIFFERENCES.get(case["id"])
    assert same is (listed is None), (case["id"], listed, detail)


def test_labels() -> None:
    """All labels of the WHATWG Encoding Standard, and their names."""
    table = cases("encoding_labels_whatwg.json")
    assert {label: encoding_of(label) for label in table} == {label: name.lower() for label, name in table.items()}


@pytest.mark.parametrize("case", by_id("encoding_wpt_content_type.json"))
def test_content_type(case: dict[str, Any]) -> None:
    """Essence and charset of a Content-Type header (WHATWG MIME Sniffing)."""
    wanted = (case["essence"], case["encoding"] and case["encoding"].lower())
    agree(case, (content_type(case["input"])[0], from_header(case["input"])) == wanted, case["input"])


@pytest.mark.parametrize("case", by_id("encoding_html5lib.json"))
def test_sniffed_encoding(case: dict[str, Any]) -> None:
    """The declaration in the page. All-ASCII pages without one are UTF-8 to us, windows-1252 there: the same text."""
    body, wanted = base64.b64decode(case["data_b64"]), case["encoding"].lower()
    _, found = decode(body)
    agree(case, found == wanted or (wanted == "windows-1252" and found == "utf-8" and body.isascii()), found)


@pytest.mark.parametrize("case", by_id("html_srcset_wpt.json"))
def test_srcset(case: dict[str, Any]) -> None:
    """Candidates are found where a browser finds any, the one it would pick among them."""
    found = list(srcset(case["srcset"]))
    picked = case["expect_selected"] if not case["resolve"] else case["srcset"].strip(" \t\n\r\f")
    agree(case, bool(found) == case["expect_any_candidate"] and (not picked or picked in found), found)


@pytest.mark.parametrize("case", by_id("html_meta_refresh_wpt.json"))
def test_refresh(case: dict[str, Any]) -> None:
    """Delay and target; tabs and newlines inside are the URL parser's to remove."""
    found = refresh(case["content"])
    if found is not None:
        found = (found[0], found[1].translate(dict.fromkeys(map(ord, "\t\r\n"))))
    agree(case, found == ((case["delay"], case["url"]) if case["redirect"] else None), found)


_SCRAPY = [p for p in by_id("html_scrapy_linkextractor.json") if p.values[0]["default_extractor"]]


@pytest.mark.parametrize("case", _SCRAPY)
def test_scrapy_default_extractor(case: dict[str, Any]) -> None:
    """Scrapy's a and area links with their texts and nofollow, canonical (so without fragments) and distinct."""
    body = case["html"].encode(case["response_encoding"]) if "html" in case else base64.b64decode(case["html_b64"])
    page = extract(body, case["url"], case["content_type"] or f"text/html; charset={case['response_encoding']}")
    found = {e.url: "nofollow" in (e.rel or "").split() for e in page.links if e.kind in ("a", "area")}
    wanted = {canonical(link["url"]): link["nofollow"] for link in case["links"]}
    agree(case, found == wanted, (found, wanted))


@pytest.mark.parametrize("case", by_id("html_nutch_outlinks.json"))
def test_nutch_outlinks(case: dict[str, Any]) -> None:
    """The links of a DOM, canonical and distinct, and the texts of anchors."""
    page = extract(case["html"].encode(), case["base"], "text/html; charset=utf-8")
    found = {e.url for e in page.links}
    wanted: dict[str, str] = {}
    for link in case["outlinks"]:
        wanted.setdefault(canonical(link["url"], case["base"]), link["anchor"])  # the first text holds
    texts = {e.url: e.text or "" for e in page.links if e.kind == "a"}
    same_text = all(text == wanted.get(url, text) for url, text in texts.items())
    agree(case, found == wanted.keys() and same_text, (found, wanted, texts))


def test_differences_are_documented() -> None:
    """Every listed difference stands in docs/conformance-html.md."""
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in DIFFERENCES if f"`{name}`" not in text] == []
