"""Orders to a running crawl: from a request to what changes by it. Pure; every refusal is a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from crawler.frontier.exclusions import BadExclusion, one
from crawler.spec import CrawlSpec, default_of
from crawler.url import InvalidUrl, admit
from storage.model import JsonObject, record

LIVE = (
    "delay",
    "ip_delay",
    "adaptive",
    "max_pages",
    "max_pages_per_host",
    "max_rate",
    "max_time",
    "patience",
    "min_free",
)
"""Settings that a running crawl can change; the others are part of what it holds open."""
WORDS = {"pause": "paused", "resume": "going on", "stop": "stopping: what is in flight may end"}
NOTHING = ("", "none", "default")  # words for: the default


class BadOrder(ValueError):
    """A request that is none; the message says why, and what would do."""


@record
class Order:
    """``do``: 'show', 'set', 'exclude', 'pause', 'resume' or 'stop'. ``settings``: of the spec, as they are to be.
    ``changes``: a row each for the file, as `controls` shows them. ``host``: whose delay is to be said."""

    do: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[JsonObject, ...] = ()
    host: str | None = None


def decide(request: Any, spec: CrawlSpec, *, paused: bool = False) -> Order:
    """What a request comes to in a crawl with these settings. Raises BadOrder or BadSpec."""
    do = request.get("do") if isinstance(request, dict) else None
    if do == "set":
        return _set(request, spec)
    if do == "exclude":
        return _exclude(request, spec)
    if do in ("show", "pause", "resume", "stop"):
        idle = do == "show" or (do == "pause" and paused) or (do == "resume" and not paused)
        return Order(do, changes=() if idle else ({"what": do},))
    raise BadOrder(f"{str(do)[:80]!r} is none of show, set, exclude, pause, resume, stop")


def _set(request: Mapping[str, Any], spec: CrawlSpec) -> Order:
    wanted, host = request.get("settings"), request.get("host")
    if not isinstance(wanted, dict) or not wanted:
        raise BadOrder(f"set what? For example: delay=2; these can be set: {_names()}")
    if host is not None:
        return _host_delay(_host(host), wanted, spec)
    settings = {_name(name): _value(_name(name), value) for name, value in wanted.items()}
    spec.changed(**settings)  # or BadSpec
    changes = [
        {"what": "set", "name": _shown(name), "before": getattr(spec, name), "now": value}
        for name, value in settings.items()
        if value != getattr(spec, name)
    ]
    return Order("set", settings, tuple(changes))


def _host_delay(host: str, wanted: Mapping[str, Any], spec: CrawlSpec) -> Order:
    if [*wanted] != ["delay"]:
        raise BadOrder(f"of one host only the delay can be set, not {', '.join(map(_shown, wanted))}")
    text = str(wanted["delay"])
    delay = None if text in NOTHING else _number("delay", text)
    others = [pair for pair in spec.host_delay if pair.rpartition("=")[0].lower().rstrip(".") != host]
    settings = {"host_delay": (*others, *([f"{host}={round(delay, 3):g}"] if delay is not None else []))}
    after = spec.changed(**settings)
    change = {"what": "set", "name": "delay", "host": host, "before": spec.delay_at(host), "now": after.delay_at(host)}
    return Order("set", settings, () if spec.host_delay == after.host_delay else (change,), host)


def _exclude(request: Mapping[str, Any], spec: CrawlSpec) -> Order:
    hosts, patterns = _strings(request.get("hosts")), _strings(request.get("patterns"))
    if not hosts and not patterns:
        raise BadOrder("exclude what? A host (www.example.org, *.example.org, 192.0.2.0/24) or a regular expression")
    try:
        hosts = [one(host, "exclude-host").what for host in hosts]
    except BadExclusion as error:
        raise BadOrder(str(error)) from None
    hosts = [host for host in hosts if host not in spec.exclude_host]
    patterns = [pattern for pattern in patterns if pattern not in spec.exclude]
    settings = {"exclude_host": (*spec.exclude_host, *hosts), "exclude": (*spec.exclude, *patterns)}
    spec.changed(**settings)
    rows = [{"what": "exclude", "name": "exclude-host", "now": host} for host in hosts]
    rows += [{"what": "exclude", "name": "exclude", "now": pattern} for pattern in patterns]
    return Order("exclude", settings, tuple(rows))


def is_host(what: str) -> bool:
    """Whether a word that may be either is meant as a host, a domain or a network: it is one, and has a dot or a colon."""
    try:
        return "." in one(what, "").what.lstrip(".") or ":" in what or what == "localhost"
    except BadExclusion:
        return False


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(v, str) and v and v.isprintable() for v in value):
        raise BadOrder("hosts and patterns are lists of printable texts")
    return list(dict.fromkeys(value))


def _name(name: str) -> str:
    found = name.replace("-", "_")
    if found not in LIVE:
        raise BadOrder(
            f"{_shown(name)} cannot be set while the crawl runs; these can: {_names()}. "
            "For any other: stop it, then `crawler resume` with the option"
        )
    return found


def _value(name: str, value: Any) -> Any:
    text = str(value)
    if text in NOTHING:
        return default_of(name)
    number = _number(name, text)
    whole = name in ("max_pages", "max_pages_per_host", "min_free")
    if whole and number != int(number):
        raise BadOrder(f"{_shown(name)}: must be a whole number, not {text}")
    return int(number) if whole else number


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1e15:
        raise BadOrder(f"{_shown(name)}: must be a number, 0 or more, or none; not {text[:80]!r}")
    return number


def _host(text: Any) -> str:
    try:
        if not isinstance(text, str) or set(text) & set("/?#@\\"):
            raise InvalidUrl("more than a host")
        place = admit(f"http://{text}/")
        if place.origin != f"http://{place.host}":
            raise InvalidUrl("a port")
    except InvalidUrl:
        raise BadOrder(
            f"{str(text)[:300]!r} is no host name; write it like www.example.org, without scheme or port"
        ) from None
    return place.host


def _names() -> str:
    return ", ".join(map(_shown, LIVE))


def _shown(name: str) -> str:
    return str(name)[:80].replace("_", "-")


def sentence(change: JsonObject) -> str:
    """A change in words: ``delay of www.example.org 1 -> 2``."""
    if change["what"] not in ("set", "exclude"):
        return WORDS[change["what"]]
    if change["what"] == "exclude":
        return f"{change['name']} {change['now']}"
    of = f" of {change['host']}" if change.get("host") else ""
    return f"{change['name']}{of} {word(change['before'])} -> {word(change['now'])}"


def word(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, Sequence) else str(value)
