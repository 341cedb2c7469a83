"""Whether our own network fails, and not the hosts: judged by how many fail at once. Pure; told the time in s.

One host that does not answer is the host's affair. When every host that is asked fails, and nobody has answered for
some seconds, it is ours: no host is charged, and one visit each few seconds finds out when it is over. A captive portal
is the same with redirects in place of faults. While it is not clear yet whose fault it is, the answer is OPEN: the next
answer of any host decides it, or the next failures. docs/decisions/0009 has the reasons for the figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import islice

from crawler.frontier.scope import same_site
from crawler.url import InvalidUrl, admit
from crawler.visit import Fault, Outcome
from storage.model import Place

SILENCE = 10.0  # seconds without any answer, after which failures may be our network's
QUESTION = 15.0  # seconds a question stays open: longer than a connection may take. A failure counts for twice as long
ENOUGH = 20  # hosts that fail at once; all of them, where fewer are being asked
PORTAL_WINDOW, PORTAL_HOSTS = 60.0, 20  # more hosts than these, all redirected to one (FAULTS N8)
PROBE = 5.0  # seconds between two visits while the network is gone
ECHO = 20.0  # seconds after its return in which a failure may still stem from the outage: DNS failures are kept as long
OUTAGE_MOST = 1800.0  # seconds without any answer, after which the run ends with everything queued
SILENT_MOST = 60.0  # where nobody has answered in this run: after so long the hosts are charged, at the probes' pace
GAP = 5.0  # seconds unaccounted for: the process was stopped, or the machine slept (FAULTS X5)

SUSPECT = frozenset(
    {
        Fault.OFFLINE,
        Fault.DNS_TIMEOUT,
        Fault.DNS_FAILED,
        Fault.CONNECT_TIMEOUT,
        Fault.CONNECT_FAILED,
        Fault.TIMEOUT,
    }
)
"""What a network that is gone looks like. A refusal or a reset came from somebody; NXDOMAIN from a name server."""


class Whose(Enum):
    """Who answers for an outcome."""

    HOST = "host"
    NETWORK = "network"
    MACHINE = "machine"  # we were stopped meanwhile
    OPEN = "open"  # the next answer or failure tells


class Network:
    """What the answers and failures of all hosts together say of our own network. ``down``: why it is gone, or ""."""

    def __init__(self) -> None:
        self.down = ""
        self._since = 0.0  # of the outage
        self._returned = float("-inf")
        self._heard_at: float | None = None  # when anybody answered last
        self._failed: dict[str, float] = {}  # hosts that failed since anybody answered -> when
        self._portals: dict[str, dict[str, float]] = {}  # redirected to -> hosts that were, and when
        self._seen: float | None = None
        self._gap = float("-inf")

    @property
    def suspicious(self) -> bool:
        """Whether anything is open."""
        return bool(self._failed or self._portals)

    def seen(self, now: float) -> bool:
        """We are here now; whether we were away since the last time. To be called each second at least."""
        away = self._seen is not None and now - self._seen > GAP
        self._seen = now
        if away:
            self._gap = now
        return away

    def judge(self, place: Place, outcome: Outcome, now: float, *, known: bool, others: Iterable[str]) -> Whose:
        """Whose doing an outcome is. ``known``: the host was failing before, so that its failure is no news. ``others``:
        hosts that will be asked soon, or are being asked."""
        began = now - outcome.elapsed_ms / 1000
        if began < self._gap and (outcome.fault is not None or outcome.truncated in ("time", "cut")):
            return Whose.MACHINE
        portal = portal_of(place, outcome)
        if outcome.status is not None and (portal is None or (self.down and portal not in self._portals)):
            if place.host not in self._portals:
                self._answered(now)
            return Whose.HOST
        if self.down:
            return Whose.NETWORK if self._heard_at is not None or self.patient(now) else Whose.HOST
        if portal is not None:
            return self._redirected(portal, place.host, now, others)
        return self._fault(place.host, outcome.fault, began, now, others, known=known)

    def patient(self, now: float) -> bool:
        """Whether an outage is waited for."""
        most = SILENT_MOST if self._heard_at is None else OUTAGE_MOST
        return bool(self.down) and now - self._since < most

    def hopeless(self, now: float) -> bool:
        """Whether an outage has lasted for so long that the run had better end."""
        return bool(self.down) and self._heard_at is not None and not self.patient(now)

    def _answered(self, now: float) -> None:
        if self.down:
            self.down, self._returned = "", now
        self._heard_at = now
        self._failed.clear()
        self._portals.clear()

    def _fault(
        self, host: str, fault: Fault | None, began: float, now: float, others: Iterable[str], *, known: bool
    ) -> Whose:
        if fault in SUSPECT and (began < self._returned or now < self._returned + ECHO):
            return Whose.NETWORK
        certain = fault is Fault.OFFLINE  # the kernel itself knows no way out: then a single host is enough
        if fault not in SUSPECT or (known and not certain):
            return Whose.HOST
        failed = self._failed = {h: at for h, at in self._failed.items() if at > now - 2 * QUESTION} | {host: now}
        waiting = _count(others, failed, ENOUGH)
        silent = self._heard_at is None or now - self._heard_at >= SILENCE
        if (len(failed) >= ENOUGH or not waiting) and (certain or (silent and len(failed) > 1)):
            return self._gone(now, f"our own network seems gone, nobody answers ({', '.join([*failed][:3])}, ...)")
        return Whose.OPEN if waiting or len(failed) > 1 else Whose.HOST

    def _redirected(self, portal: str, host: str, now: float, others: Iterable[str]) -> Whose:
        hosts = {h: at for h, at in self._portals.get(portal, {}).items() if at > now - PORTAL_WINDOW} | {host: now}
        self._portals[portal] = hosts
        if len(hosts) > PORTAL_HOSTS:
            return self._gone(now, f"every host redirects to {portal}, a captive portal it seems")
        missing = PORTAL_HOSTS + 1 - len(hosts)
        return Whose.OPEN if _count(others, hosts, missing) >= missing else Whose.HOST

    def _gone(self, now: float, why: str) -> Whose:
        self.down, self._since = why, now
        self._failed.clear()
        return Whose.NETWORK


def portal_of(place: Place, outcome: Outcome) -> str | None:
    """The host of another site that this answer redirects to for the moment, as a captive portal does."""
    if outcome.status not in (302, 303, 307) or not outcome.location:
        return None
    try:
        target = admit(outcome.location, place.url)
    except InvalidUrl:
        return None
    return None if target.host == place.host or same_site(target, place) else target.host


def _count(others: Iterable[str], without: dict[str, float], most: int) -> int:
    return sum(1 for _ in islice((name for name in others if name not in without), most))
