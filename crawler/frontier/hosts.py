"""The spec as it holds at each host."""

from __future__ import annotations

from dataclasses import replace

from crawler.hosts import SETTINGS, Hosts
from crawler.spec import CrawlSpec

_KEPT = 10_000  # hosts with a table that are remembered


class HostSpecs:
    """`at` gives the spec with the settings of a host's table. Without tables it costs nothing."""

    def __init__(self, spec: CrawlSpec) -> None:
        self.spec = spec
        self.hosts = Hosts(spec.host)
        self._known: dict[str, CrawlSpec] = {}

    def at(self, name: str) -> CrawlSpec:
        if not self.hosts.tables:
            return self.spec
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[name] = self._there(name)
        return known

    def _there(self, name: str) -> CrawlSpec:
        table = self.hosts.table(name)
        if table is None:
            return self.spec
        settings = dict(table.settings)
        settings["exclude"] = (*self.spec.exclude, *settings.get("exclude", ()))  # what is barred everywhere is barred here
        return replace(self.spec, host={}, **settings)

    def change(self, spec: CrawlSpec) -> None:
        """Another spec from now on, with the same tables."""
        self.spec = spec
        self._known.clear()

    @property
    def counted(self) -> bool:
        """Whether the pages of any host are limited."""
        tables = self.hosts.tables.values()
        return self.spec.max_pages_per_host is not None or any("max_pages_per_host" in t.settings for t in tables)

    def named(self, name: str, key: str) -> str:
        """What decides a key at a host, as people know it: ``--exclude``, or the table's."""
        table = self.hosts.table(name)
        option, _ = SETTINGS[key]
        return f"{table.where}.{key}" if table and option in table.settings else f"--{option.replace('_', '-')}"
