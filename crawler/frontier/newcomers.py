"""New hosts: how many of a registrable domain may be asked for the first time within an hour (FAULTS T4).

A wildcard in the DNS makes a host of every name, each with a delay and a robots.txt of its own. Told the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from crawler.frontier.scope import registrable

HOUR = 3600.0
WHY = "new hosts of its domain come {most} an hour (--new-hosts-per-hour)"


class Newcomers:
    """Counts hosts by domain. ``most``: an hour; 0 is no limit. ``exempt``: the seeds' hosts. ``asked``: when hosts were
    asked for the first time, monotonic s, as far as the last hour."""

    def __init__(self, most: int, exempt: Collection[str], asked: Mapping[str, float]) -> None:
        self.why = WHY.format(most=most)
        self._most = most
        self._exempt = exempt
        self._asked: dict[str, dict[str, float]] = {}  # by domain, in the order of time
        for name, at in sorted(asked.items(), key=lambda item: item[1]):
            if name not in exempt:
                self._asked.setdefault(registrable(name), {})[name] = at

    def wait(self, name: str, now: float) -> float:
        """Seconds until this host may be asked for the first time; 0: now, and it is counted."""
        if not self._most or name in self._exempt:
            return 0.0
        hosts = self._asked.setdefault(registrable(name), {})
        while hosts and (oldest := next(iter(hosts.items())))[1] <= now - HOUR:
            del hosts[oldest[0]]
        if name in hosts:
            return 0.0
        if len(hosts) >= self._most:
            return next(iter(hosts.values())) + HOUR - now
        hosts[name] = now
        return 0.0
