"""Whose doing a failure is. It may be our own network's, which shows when others are asked: `network` has the rules, the
waiting is here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from crawler.clock import Clock
from crawler.frontier import network
from crawler.frontier.network import Network, Whose
from crawler.frontier.workbench import Workbench
from crawler.visit import Fault, Outcome, Visit


class Blame:
    """Judges outcomes by what others answer meanwhile."""

    def __init__(self, network: Network, bench: Workbench, clock: Clock) -> None:
        self._network = network
        self._bench = bench
        self._clock = clock
        self._question: asyncio.Future[Whose] | None = None  # whose fault the open failures are

    def of(self, visit: Visit, outcome: Outcome) -> Whose:
        """What this outcome says, of itself and of those that are open."""
        known = visit.handle[0].standing.failures > 0
        whose = self._network.judge(visit.place, outcome, self._clock.now(), known=known, others=self._others())
        if self._network.down:
            self.decide(Whose.NETWORK)
        elif not self._network.suspicious:
            self.decide(Whose.HOST)
        return whose

    async def verdict(self) -> Whose | None:
        """Waits until it shows whose doing the open failures are; None: it does not, within `network.QUESTION` seconds."""
        if self._question is None:
            self._question = asyncio.get_running_loop().create_future()
        question = self._question
        await asyncio.wait({question}, timeout=network.QUESTION)
        return question.result() if question.done() else None

    def decide(self, whose: Whose) -> None:
        """Tell those who wait."""
        if self._question is not None:
            self._question.set_result(whose)
            self._question = None

    def _others(self) -> Iterator[str]:
        """Hosts that are being asked or were just now, or will be soon, and were not failing before."""
        soon = self._clock.now() + network.SILENCE
        for host in self._bench.hosts.values():
            at = host.ready_at()
            if not host.standing.failures and (host.out or (at is not None and at <= soon)):
                yield host.name


def charged_to(whose: Whose, outcome: Outcome, why: str) -> Outcome:
    """The outcome as whoever answers for it has it: what is our own machine's or network's is nobody's page or failure.
    ``why``: what is wrong with the network."""
    if whose in (Whose.HOST, Whose.OPEN):  # what nobody else has confirmed is the host's
        if outcome.fault is not Fault.OFFLINE:
            return outcome
        return replace(
            outcome, fault=Fault.CONNECT_FAILED, reason=outcome.reason.replace("offline", "connect_failed", 1)
        )
    fault = Fault.LOCAL if whose is Whose.MACHINE else Fault.OFFLINE
    text = "this process was stopped meanwhile" if whose is Whose.MACHINE else why or "our own network was gone"
    return Outcome(
        outcome.url, None, f"{fault.value}: {text}", elapsed_ms=outcome.elapsed_ms, fault=fault, sent_at=outcome.sent_at
    )
