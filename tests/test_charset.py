"""From bytes to text: WHATWG labels only, and never an exception (FAULTS P8)."""

from __future__ import annotations

import codecs
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from crawler.parse.charset import decode, encoding_of, prescan

_LABELS = sorted(LABELS)


@pytest.mark.parametrize(
    ("body", "content_type", "text", "name"),
    [
        (b"\xef\xbb\xbfa", "text/html; charset=latin-1", "a", "utf-8"),
        (b"\xff\xfea\x00", None, "a", "utf-16le"),
        (b"\xfe\xff\x00a", None, "a", "utf-16be"),
        (b"\xe4", "text/html; charset=koi8-r", "Д", "koi8-r"),
        (b"<meta charset=utf-8>\xe4", "text/html; charset=koi8-r", "<meta charset=utf-8>Д", "koi8-r"),
        (b"<meta charset=koi8-r>\xe4", "text/html; charset=nonsense", "<meta charset=koi8-r>Д", "koi8-r"),
        (b"\x80\x81\x93", "text/html; charset=iso-8859-1", "€\x81“", "windows-1252"),
        (b"caf\xc3\xa9", None, "café", "utf-8"),
        (b"caf\xe9", None, "café", "windows-1252"),
        (b"\xc3\xa9t\xc3", None, "ét\ufffd", "utf-8"),  # cut short by a cap, not Latin-1
        (b"\xa2\xe3", "text/html; charset=gb2312", "€", "gbk"),  # Python's own gbk has no euro
        (b"<meta charset=utf-16>\xc3\xa9", None, "<meta charset=utf-16>é", "utf-8"),
        (b"<meta charset=x-user-defined>\x80", None, "<meta charset=x-user-defined>€", "windows-1252"),
        (b"<?xml version='1.0' encoding='koi8-r'?>\xe4", None, "<?xml version='1.0' encoding='koi8-r'?>Д", "koi8-r"),
        (b"", None, "", "utf-8"),
    ],
)
def test_order_of_declarations(body: bytes, content_type: str | None, text: str, name: str) -> None:
    """BOM, then HTTP, then meta or XML declaration, then UTF-8 if valid, else windows-1252."""
    assert decode(body, content_type) == (text, name)


@pytest.mark.parametrize("label", ["zip", "rot13", "idna", "utf-7", "utf_8_sig", "\xff", "", "a" * 9999, "x\0"])
def test_p8_only_labels_of_the_standard_are_known(label: str) -> None:
    """A codec that only Python knows, or nobody, is no charset; nothing the server sent reaches `codecs.lookup`."""
    assert encoding_of(label) is None
    assert decode(b"caf\xc3\xa9", f"text/html; charset={label}") == ("café", "utf-8")


def test_p8_server_strings_never_reach_the_codec_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """`codecs.lookup` would import a module by the name the server chose."""
    asked: list[str] = []
    monkeypatch.setattr(codecs, "lookup", asked.append)
    decode(b"x", "text/html; charset=some_module")
    decode(b"<meta charset=some_module>")
    assert "some_module" not in asked


def test_p8_all_labels_on_random_bytes() -> None:
    """0 exceptions over all labels and 100,000 random bodies."""
    dice = random.Random(8)
    for n in range(100_000):
        label = _LABELS[n % len(_LABELS)]
        text, name = decode(dice.randbytes(dice.randrange(48)), f"text/html; charset={label}")
        assert isinstance(text, str)
        assert name in LABELS.values()


_HEADERS = st.none() | st.text(max_size=80) | st.sampled_from(_LABELS).map("text/html;charset={}".format)


@given(st.binary(max_size=4096), _HEADERS)
def test_p8_decode_never_raises(body: bytes, content_type: str | None) -> None:
    """Any bytes under any header give a text that can be encoded again, under a name of the standard's table."""
    text, name = decode(body, content_type)
    text.encode("utf-8")
    assert name in LABELS.values()


@given(st.text(alphabet="<>!-/=?\"' \tmetacharshttp-equivcontent;utf8", max_size=300))
def test_p8_prescan_never_raises(markup: str) -> None:
    """The prescan ends on every mess of markup."""
    assert prescan(markup.encode()) in {None, "utf-8"}
