"""The sorted form of a URL by which archives are searched: `http://www.example.org/A?b=2&a=1` is `org,example)/a?a=1&b=2`.

After the Internet Archive's canonicalization, as replay tools compute it; session ids are left in, which those cut out.
"""

from __future__ import annotations

import re

_WWW = re.compile(r"www\d*\.")
_PORT = re.compile(r":(\d+)\Z")
_DEFAULT = {"http": "80", "https": "443"}
_ESCAPE = re.compile(r"%[0-9a-f]{2}")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!$'()*+,-.:;=@_~[]|^`{}\\\"<>")


def surt(url: str) -> str:
    """Of a canonical http(s) URL. Linear; never raises."""
    scheme, _, rest = url.lower().partition("://")
    host, slash, rest = rest.partition("/")
    path, mark, query = (slash + rest).partition("?")
    path = re.sub("/{2,}", "/", _plain(path))
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    query = "&".join(sorted(_plain(query).split("&"))) if mark and query else ""
    return f"{_host(scheme, host)}){path or '/'}" + (f"?{query}" if query else "")


def _host(scheme: str, host: str) -> str:
    port = _PORT.search(host)
    name = host[: port.start()] if port else host
    name = name.strip("[]") if ":" in name else ",".join(reversed(_WWW.sub("", name, count=1).split(".")))
    return name if port is None or port[1] == _DEFAULT.get(scheme) else f"{name}:{port[1]}"


def _plain(text: str) -> str:
    """Without escapes of what needs none."""
    return _ESCAPE.sub(lambda found: c if (c := chr(int(found[0][1:], 16))) in _PLAIN else found[0], text)
