"""Settings of single hosts: the tables ``[host."example.org"]`` of a spec, checked, and found by a host's name.

``www.example.org`` is that host; ``*.example.org`` is the domain itself and all below it, each host by itself. One table holds
for a host: that of its name, else that of the smallest domain it is in. What the table is silent about is the spec's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from crawler.settings import BadSpec, table, typed
from crawler.text import near_miss
from storage.model import HostBudget, record

SETTINGS: Mapping[str, tuple[str, str]] = {  # key -> the spec's setting, its type
    "delay": ("delay", "float"),
    "adaptive": ("adaptive", "float"),
    "connections": ("per_host", "int"),
    "max_pages": ("max_pages_per_host", "int"),
    "include": ("include", "tuple"),
    "exclude": ("exclude", "tuple"),
}
KEYS = (*SETTINGS, "budget", "path")
PACE = ("delay", "adaptive", "connections")  # the keys that admit and refuse nothing
_OPTIONS = {option: key for key, (option, _) in SETTINGS.items()} | {"host_budget": "budget", "other_host_budget": "budget"}
_TYPED = {option: key for option, key in _OPTIONS.items() if key != "exclude"}  # which adds to what holds for all


@record
class Table:
    """What one table says. ``where``: its name in a TOML file; ``settings``: of the spec, by the spec's names."""

    where: str
    settings: Mapping[str, Any]
    budget: HostBudget


class Hosts:
    """All tables of a spec. Raises BadSpec for one that cannot be used."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self.tables: dict[str, Table] = {}  # by canonical name; ``.example.org`` for a domain
        for name, entries in tables.items():
            where = f'host."{name}"'
            key = _canonical(name, where)
            if key in self.tables:
                raise BadSpec(f"{where}: the same host as {self.tables[key].where}")
            self.tables[key] = _read(where, table(where, entries))

    def table(self, name: str) -> Table | None:
        """The one that holds for a host, named as in `storage.model.Place`."""
        if not self.tables:
            return None
        labels = name.split(".")
        names = [name, *("." + ".".join(labels[n:]) for n in range(len(labels)))]
        return next((found for n in names if (found := self.tables.get(n)) is not None), None)

    def budget(self, name: str) -> HostBudget | None:
        found = self.table(name)
        return found.budget if found else None


def _canonical(name: str, where: str) -> str:
    from crawler.url import InvalidUrl, admit  # who has no such tables need not load it

    dot, bare = ("." if name.startswith("*.") else ""), name.removeprefix("*.")
    try:
        if not bare or set(bare) & set("/?#@\\*") or (":" in bare and bare[0] != "["):
            raise InvalidUrl("more than a host")
        return dot + admit(f"http://{bare}/").host
    except InvalidUrl:
        raise BadSpec(f"{where}: neither a host (www.example.org) nor a domain (*.example.org)") from None


def _read(where: str, entries: Mapping[str, Any]) -> Table:
    settings: dict[str, Any] = {}
    budget, paths = None, list[tuple[str, int]]()
    for key, value in entries.items():
        name, told = str(key).replace("-", "_"), f"{where}.{key}"
        if name == "budget":
            budget = _count(told, value)
        elif name == "path":
            paths = _paths(told, table(told, value))
        elif name in SETTINGS:
            option, kind = SETTINGS[name]
            settings[option] = typed(told, kind, value)
        else:
            near = near_miss(_OPTIONS.get(name, name), KEYS)
            raise BadSpec(f"{told}: unknown{near}; a host has {', '.join(KEYS)}")
    return Table(where, settings, HostBudget(where, budget, tuple(paths)))


def _count(told: str, value: Any) -> int:
    count: int = typed(told, "int", value)
    if count < 0:
        raise BadSpec(f"{told}: must be 0 or more, not {count}")
    return count


def _paths(told: str, tables: Mapping[str, Any]) -> list[tuple[str, int]]:
    """[path."/calendar/"] budget = 100: what begins with the path, its query included."""
    from crawler.url import admit

    found = []
    for prefix, entries in tables.items():
        where = f'{told}."{prefix}"'
        if list(table(where, entries)) != ["budget"] or not prefix.startswith("/"):
            raise BadSpec(f'{where}: a path begins with /, and has a budget and nothing else, as in "/calendar/".budget = 100')
        path = admit(f"http://host.test{prefix}").path
        found.append((path, _count(f"{where}.budget", entries["budget"])))
    return found


def given_way(tables: Any, typed_options: Collection[str]) -> tuple[Any, list[str]]:
    """The tables without the keys whose settings were typed on the command line, which wins; and the names of these keys."""
    keys = {_TYPED[option] for option in typed_options if option in _TYPED}
    if not keys or not isinstance(tables, Mapping):
        return tables, []
    gone = [f'host."{name}".{key}' for name, entries in tables.items() for key in _among(entries, keys)]
    left = {
        name: {key: value for key, value in entries.items() if key not in _among(entries, keys)}
        if isinstance(entries, Mapping)
        else entries
        for name, entries in tables.items()
    }
    return left, gone


def _among(entries: Any, keys: Iterable[str]) -> list[str]:
    return [key for key in entries if str(key).replace("-", "_") in keys] if isinstance(entries, Mapping) else []
