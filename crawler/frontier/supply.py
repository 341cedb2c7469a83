"""The supply: brings hosts and URLs from the store to the workbench, a window at a time, and knows what it holds.

A URL's id is *held* from the read that fed it to the commit that settles it; `Store.due` leaves held ids out, so nothing is
fed twice and "in flight" is never written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crawler.clock import Clock, ms
from crawler.frontier.hosts import HostSpecs
from crawler.frontier.newcomers import Newcomers
from crawler.frontier.scope import Scope
from crawler.frontier.settling import judged
from crawler.frontier.stored import Times, host_of, rules_of
from crawler.frontier.workbench import Errand, Host, Workbench
from crawler.spec import CrawlSpec
from storage.links import admitted_hosts
from storage.model import Begun, HostRow, Queued, Settlement
from storage.store import Store

GATHER = 0.005  # seconds between two looks at the store: news of several hosts are answered by one read
GATHER_HOST = 50e-6  # as long for each host in hand: a look goes through all of them, 10 ms at a full bench
HOSTS_IN_HAND = 4096
ROWS_IN_HAND = 8_192  # queued URLs in all windows together, about 1 kB each


async def judge_again(store: Store, scope: Scope, *, now: int) -> None:
    """The rules have changed: what is queued and untried, or was refused, is judged by those of now."""
    await store.rescope(lambda place: judged(place, "a", None, None, scope, step=1), now=now, links=scope.follows)


class Supply:
    """Feeds a workbench. `round` reads what is wanted, `settled` is told of each commit, `sleep` waits for news."""

    def __init__(
        self, specs: HostSpecs, store: Store, scope: Scope, bench: Workbench, clock: Clock, begun: Begun
    ) -> None:
        self._specs, self._spec = specs, specs.spec
        self._store = store
        self._scope = scope
        self._bench = bench
        self._clock = clock
        self._times = Times(clock)
        self._rested_at = clock.now() if begun.resumed else None
        asked = {name: self._times.mono(at) for name, at in begun.newcomers.items()}
        exempt = {seed.host for seed in begun.seeds}
        self._newcomers = Newcomers(self._spec.new_hosts_per_hour, exempt, asked)
        self._out: dict[int, int] = {}  # id of a URL handed out and not settled -> its host's id
        self._settling: set[int] | None = None  # ids settled while the store is being read
        self._parked: dict[str, tuple[int, float]] = {}  # hosts with nothing due now -> id, and when to look again
        self._strangers: dict[str, list[Errand]] = {}  # robots.txt redirects to hosts not in hand
        self._news = asyncio.Event()
        self._new_hosts = True
        self._widened = False
        self._fruitless = 0  # rests in a row that nothing came of
        self.revisits_only = False  # there are as many pages as were asked for

    # --- what it is told

    def handed_out(self, host: Host, url_id: int | None) -> None:
        if url_id is not None:
            self._out[url_id] = host.id
        if host.more and len(host.window) <= self._window() // 2:
            self._news.set()

    def settled(self, batch: Sequence[Settlement]) -> None:
        """These are durable: their ids are no longer held, their discoveries can be fed."""
        horizon = self._horizon()
        for s in batch:
            if s.url_id is not None:
                self._out.pop(s.url_id, None)
                if self._settling is not None:
                    self._settling.add(s.url_id)
            host = self._bench.hosts.get(s.place.host)
            if host is not None:
                host.more |= s.page is not None or (s.due_at is not None and s.due_at <= horizon)
            if s.outcome == "redirect" and s.links[0].seed:
                self._widened |= self._scope.widened
                self._scope.widened = False
            self._discovered(s)
        self._news.set()

    def _discovered(self, s: Settlement) -> None:
        for name in admitted_hosts(s.links):
            host = self._bench.hosts.get(name)
            if host is None or not host.id:
                self._parked.pop(name, None)
                self._new_hosts = True
            else:
                host.more = True

    def send(self, errand: Errand) -> None:
        """A redirect of a robots.txt waits for its target host's turn, like everything else."""
        name = errand.place.host
        if name in self._bench.hosts:
            self._bench.send(errand, self._bench.hosts[name])
        else:
            self._strangers.setdefault(name, []).append(errand)
            self._news.set()

    def change(self, spec: CrawlSpec) -> None:
        """Other limits from now on."""
        self._widened |= spec.max_pages_per_host != self._spec.max_pages_per_host
        if self.revisits_only and spec.max_pages != self._spec.max_pages:
            self.revisits_only = False
            self.look_everywhere()
        self._spec = spec
        self._news.set()

    def excluded(self) -> None:
        """The scope's exclusions have changed, and what is in hand has been barred accordingly."""
        self._widened |= self._scope.widened
        self._scope.widened = False
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    # --- what it does

    async def round(self) -> None:
        """One look at the store for everything that is wanted now."""
        self._news.clear()
        if self._widened:
            await self._rescope()
        self._let_go()
        if self._strangers:
            await self._feed_strangers()
        if self._new_hosts:
            await self._feed_hosts()
        await self._refuse_closed()
        await self._feed_rows()

    def busy(self) -> bool:
        """Whether anything in hand may still be asked within the patience."""
        if self._new_hosts or self._strangers:
            return True
        horizon = self._clock.now() + self._spec.patience
        return any(
            host.resolving or self._hungry(host, horizon) or ((at := host.due_at()) is not None and at <= horizon)
            for host in self._bench.hosts.values()
        )

    def _hungry(self, host: Host, horizon: float) -> bool:
        """Whether the store should be asked for more of a host. At a full bench a window is used up first, so that the
        host makes room for others."""
        low = 0 if self._full() else self._window() // 2
        wanted = host.id > 0 and host.more and not host.barred and len(host.window) + len(host.later) <= low
        return wanted and host.blocked_until <= horizon

    async def rest(self) -> float | None:
        """Seconds until something stored falls due; None when that is beyond the patience, or nothing waits."""
        pending = await self._store.pending(now=self._clock.wall())
        if pending.next_at is None:
            return None
        wait = self._times.mono(pending.next_at) - self._clock.now()
        if wait > self._spec.patience or (wait <= 0 and self._fruitless > 3):
            return None  # the latter: due, and yet nobody may be asked, as when its robots.txt leads to a blocked host
        self._fruitless += 1
        self._parked.clear()
        self.look_everywhere()
        return max(wait, 0.05)

    async def revisits(self) -> bool:
        """No page may be added any more: whether something that was visited before is due within the patience. From then on
        nothing else is fed."""
        if not self.revisits_only:
            at = await self._store.revisit_at()
            if at is None or at > self._horizon():
                return False
            self.revisits_only = True
            for host in self._bench.hosts.values():
                self._bench.only_revisits(host)
            self._parked.clear()
            self.look_everywhere()
        return True

    async def sleep(self, seconds: float) -> None:
        """Until there is news, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            self._new_hosts = True
        await asyncio.sleep(GATHER + GATHER_HOST * len(self._bench.hosts))

    # --- how

    async def _rescope(self) -> None:
        """The scope has widened: what it refused is judged again."""
        self._widened = False
        await judge_again(self._store, self._scope, now=self._clock.wall())
        self.look_everywhere()

    def look_everywhere(self) -> None:
        self._new_hosts = True
        for host in self._bench.hosts.values():
            host.more = True

    def _let_go(self) -> None:
        """At a full bench, hosts whose window is used up, or who rest beyond the patience, make room for others."""
        if not self._full():
            return
        now = self._clock.now()
        # Until all the others have been looked at: a pass over so many takes longer than the patience.
        parked_until = now + self._spec.patience * (1 + len(self._parked) / HOSTS_IN_HAND)
        spent = [host for host in self._bench.hosts.values() if self._spent(host, now)]
        for host in spent:
            self._bench.remove(host)
            if host.due_at() is None and host.more:
                self._new_hosts = True
            else:
                self._parked[host.name] = host.id, parked_until
        if spent:
            self._bench.prune(now)

    def _spent(self, host: Host, now: float) -> bool:
        """Nothing of it is under way, or may be asked within the patience."""
        if host.out or host.resolving or host.errands or host.awaiting:
            return False
        at = host.due_at()
        return at is None or at > now + self._spec.patience

    def unseen(self) -> bool:
        """Whether the store has hosts for whom those in hand can make room now."""
        now = self._clock.now()
        return self._new_hosts and (not self._full() or any(self._spent(h, now) for h in self._bench.hosts.values()))

    async def _feed_hosts(self) -> None:
        """Bring hosts with something queued into hand, longest-waiting first, as long as there is room."""
        bench, now = self._bench, self._clock.now()
        room = HOSTS_IN_HAND - len(bench.hosts)
        if room <= 0:
            return
        self._new_hosts = False
        self._parked = {name: (id_, at) for name, (id_, at) in self._parked.items() if at > now}
        held = [host.id for host in bench.hosts.values() if host.id] + [id_ for id_, _ in self._parked.values()]
        rows = await self._store.hosts(room, horizon=self._horizon(), held=held)
        late: dict[int, int] = {}
        for row in rows:
            host = bench.hosts.get(row.name)
            if host is None and not row.next_fetch_at and (wait := self._newcomers.wait(row.name, now)):
                late[row.id] = self._times.wall(now + wait)
            elif host is None:
                await self._take(row)
            else:  # it was in hand for a robots.txt redirect only, before the store knew it
                host.id, host.more = row.id, True
        if late:
            await self._store.postpone(late, self._newcomers.why)
        self._new_hosts |= len(rows) == room

    async def _feed_strangers(self) -> None:
        """Hosts that a robots.txt redirect leads to: in hand for that errand, with their stored clocks."""
        wanted, self._strangers = self._strangers, {}
        known = {row.name: row for row in await self._store.hosts(0, horizon=0, names=list(wanted))}
        for name, errands in wanted.items():
            if name not in self._bench.hosts:
                newcomer = await self._take(known.get(name) or HostRow(0, name))
                newcomer.more = newcomer.id > 0
            for errand in errands:
                self._bench.send(errand, self._bench.hosts[name])
            if (host := self._bench.hosts[name]).barred:  # these wait in vain too
                self._bench.bar(host, host.barred, self._clock.now())

    async def _refuse_closed(self) -> None:
        """What is still queued on a host that is excluded, or has given all the pages it may give, is skipped, loudly."""
        for name in sorted(self._bench.barred):
            host = self._bench.hosts[name]
            if host.more:
                host.more = False
                self._fruitless = 0
                await self._store.refuse(host.id, "exclude", host.barred or "")
        if not self._specs.counted:
            return
        spent = [h for h in self._bench.hosts.values() if h.most is not None and h.pages >= h.most]
        for host in [h for h in spent if h.more or h.newcomers()]:
            self._bench.only_revisits(host)
            limit = self._specs.named(host.name, "max_pages").removeprefix("--")
            await self._store.refuse(host.id, "limit", f"{limit} {host.most}", revisits=False)

    async def _feed_rows(self) -> None:
        """Fill the windows of hosts that run low, in one read for all of them."""
        each, hosts = self._window(), self._bench.hosts
        horizon = self._clock.now() + self._spec.patience
        hungry = {h.id: h for h in hosts.values() if self._hungry(h, horizon)}
        if not hungry:
            return
        held = [id_ for host in hungry.values() for id_ in host.held()]
        held += [id_ for id_, host_id in self._out.items() if host_id in hungry]
        self._settling = set()
        for host in hungry.values():
            host.more = False  # from here on, only a commit makes it true again
        rows = await self._store.due(
            list(hungry), each, horizon=self._horizon(), held=held, revisits=self.revisits_only
        )
        settled, self._settling = self._settling, None
        found: dict[int, list[tuple[float, Queued]]] = {}
        for row in rows:
            if row.id not in settled:
                found.setdefault(row.host_id, []).append((self._times.mono(row.due_at), row))
        for host in hungry.values():
            mine = found.get(host.id, [])
            host.more |= len(mine) + len(settled) >= each
            if mine and hosts.get(host.name) is host and not host.barred:
                self._bench.feed(host, mine)
                self._fruitless = 0

    async def _take(self, row: HostRow) -> Host:
        """Bring a host into hand; one that is excluded only for its queue to be refused."""
        rules = await rules_of(row, self._spec.token)
        host = host_of(row, self._specs.at(row.name), self._times, rested_at=self._rested_at, rules=rules)
        self._bench.add(host)
        if why := self._scope.exclusions.host(host.name):
            self._bench.bar(host, why, self._clock.now())
        return host

    def _full(self) -> bool:
        return len(self._bench.hosts) >= HOSTS_IN_HAND

    def _window(self) -> int:
        """How many URLs a host may have in hand: many for a few hosts, a few for many."""
        return max(8, min(256, ROWS_IN_HAND // max(1, len(self._bench.hosts))))

    def _horizon(self) -> int:
        return self._clock.wall() + ms(self._spec.patience)
