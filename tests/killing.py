"""The kill loop: a crawl of the generated web, killed again and again, against one that was left alone.

Everything is judged from outside: by the views of the file, and by the request log of the web, which is a process of
its own. `tests/test_resume.py` runs it small, `benchmarks/killloop.py` long.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import tree
from tests.oracle import Oracle
from tests.web import Expected, Generated, Request, read_log

ROOT = Path(__file__).resolve().parent.parent
VIEWS = {
    "pages": "SELECT url, status, digest, depth FROM pages",
    "redirects": "SELECT src, dst, status FROM redirects",
    "failures": "SELECT url, status, reason FROM failures",
    "skipped": "SELECT url, reason FROM skipped",
    "queue": "SELECT url FROM queue",
    "links": "SELECT src, dst, kind FROM links",
}
TRACED = 3.0  # s more for a crawl that strace slows down, so that the kernel's kill comes before ours
BATCH = 200  # pages in one commit, at most (DESIGN §4)
Snapshot = dict[str, list[tuple[object, ...]]]


def environment() -> dict[str, str]:
    """Ours, with the checkout importable, so that the crawler need not be installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


@dataclass(frozen=True)
class Server:
    """A generated web in its own process."""

    web: Generated
    port: int
    log: Path

    def requests(self) -> list[Request]:
        """All that was asked so far. A request of ours goes last, so that what was sent before it is on record."""
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.1.1:{self.port}/fence", timeout=30).close()
        return [r for r in read_log(self.log, self.port) if r.path != "/fence"]

    @property
    def seeds(self) -> list[str]:
        return self.web.seeds(self.port)


@contextlib.contextmanager
def served(web: Generated, log: Path, port: int = 0) -> Iterator[Server]:
    """Serve the web until the block ends."""
    options = {"hosts": web.hosts, "pages": web.pages, "seed": web.seed, "words": web.words, "port": port, "log": log}
    flags = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen([sys.executable, "-m", "tests.web", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        address = process.stdout.readline()
        yield Server(web, int(address.strip().rstrip("/").rpartition(":")[2]), log)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@dataclass
class Crawl:
    """The command that crawls, and the process that runs it now."""

    db: Path
    seeds: list[str]
    options: tuple[str, ...]
    output: Path
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0

    def start(self, write: int = 0) -> None:
        """Begin or go on; with ``write`` the kernel kills it at a thread's so-many-th write or sync of the file."""
        command = [sys.executable, "-m", "crawler", "crawl", *self.seeds, "-o", str(self.db), *self.options]
        if write:
            calls = "pwrite64,fdatasync"
            trace = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={write}"]
            command = ["strace", "-f", "-q", "-o", os.devnull, *trace, *command]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.pid = _only_child(self.process.pid) if write else self.process.pid

    def fill_disk(self, size: int) -> None:
        """From now on its files cannot grow beyond ``size`` bytes, as on a disk that is full."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def ended(self, within: float) -> int | None:
        """The exit code, if there is one within so many seconds."""
        assert self.process
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(within)
        return None

    def finish(self, within: float) -> None:
        """Run to the end, which must be exit code 0."""
        code = self.ended(within)
        if code is None:
            self.kill("main")
        if code != 0:
            tail = self.output.read_text("utf-8", "replace")[-3000:]
            raise AssertionError(f"the crawl ended with {code} (None: not at all), saying:\n{tail}")

    def kill(self, victim: str) -> str:
        """SIGKILL to the main process ('main'), one parse worker ('worker'), or 'both'; says who it was.

        That is the main process alone while no worker has been started yet.
        """
        assert self.process
        workers = workers_of(self.pid)[:1] if victim != "main" else []
        victim = victim if workers else "main"
        for pid in [*workers, *([self.pid] if victim != "worker" else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victim != "worker":
            self.process.wait()
        return victim


def children(pid: int = 0) -> list[int]:
    """Of a process's main thread; of this one's. Raises OSError when it has gone."""
    pid = pid or os.getpid()
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _only_child(pid: int) -> int:
    """The child of a process that is about to have one; 0 if it dies first."""
    for _ in range(2000):
        with contextlib.suppress(OSError):
            if found := children(pid):
                return found[0]
        time.sleep(0.001)
    return 0


def workers_of(pid: int) -> list[int]:
    """The parse workers of a crawler, by /proc, the process that forks them last."""
    return [child for child in reversed(tree(pid)) if b"crawler.parse.worker" in _command_of(child)]


def _command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


PIN = """import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM url").fetchone()
print("pinned", flush=True)
sys.stdin.readline()"""


@contextlib.contextmanager
def pinned(db: Path) -> Iterator[None]:
    """Another process holds a snapshot of the file, so that its write-ahead log cannot be folded in. It is no use to
    wait for it: a file that is no crawl yet cannot be pinned."""
    process = subprocess.Popen(
        [sys.executable, "-c", PIN, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.communicate()


@contextlib.contextmanager
def copy_of(db: Path) -> Iterator[sqlite3.Connection]:
    """The file as a crash left it, opened as a copy: looking at it must not repair it. Nobody may have it open."""
    folder = db.parent / "look"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{db}{suffix}", folder / f"copy.db{suffix}")
    connection = sqlite3.connect(folder / "copy.db")
    try:
        yield connection
    finally:
        connection.close()


def snapshot(connection: sqlite3.Connection) -> Snapshot:
    """What a crawl came to, in an order of its own; order of arrival, times and ids are left out."""
    return {view: sorted(connection.execute(sql).fetchall(), key=repr) for view, sql in VIEWS.items()}


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """Each row that only one of them has."""
    return [
        f"{view} {sign}{row}"
        for view in one
        for sign, a, b in (("-", one, other), ("+", other, one))
        for row in sorted(set(a[view]) - set(b[view]), key=repr)
    ]


def truth_as_snapshot(truth: dict[str, Expected]) -> Snapshot:
    """The generator's own answer in the shape of the views."""
    rows: Snapshot = {view: [] for view in VIEWS}
    for url, known in truth.items():
        rows["links"] += [(url, *link) for link in known.links]
        if known.kind == "page":
            rows["pages"].append((url, known.status, known.digest, known.depth))
        elif known.kind == "redirect":
            rows["redirects"] += [(url, goal, known.status) for goal, _ in known.links]
        elif known.kind == "failure":
            rows["failures"].append((url, known.status, known.reason))
        else:
            rows["skipped"].append((url, known.reason))
    return {view: sorted(found, key=repr) for view, found in rows.items()}


def torn(found: Snapshot, truth: dict[str, Expected]) -> list[str]:
    """Pages without all their links, and edges whose target the file does not know (D3, I1)."""
    links: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for src, dst, kind in found["links"]:
        links[str(src)].add((str(dst), str(kind)))
    known = {row[0] for view in VIEWS if view != "links" for row in found[view]}
    sources = [str(row[0]) for view in ("pages", "redirects") for row in found[view]]
    bad = [f"links of {url}" for url in sources if url not in truth or links[url] != truth[url].links]
    return bad + [f"unknown target {dst}" for edges in links.values() for dst, _ in edges if dst not in known]


@dataclass
class Report:
    """What a kill loop came to."""

    kills: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)  # how many of them with the disk full, with a pinned snapshot
    crawls: int = 0
    looks: int = 0
    torn: list[str] = field(default_factory=list)
    oracle: list[str] = field(default_factory=list)  # where the file is not the frontier recomputed from its bodies
    recomputed: int = 0  # how often
    quarantined: int = 0  # URLs that two kills met alone in safe mode; their crawls are not compared with the calm one
    damaged: list[str] = field(default_factory=list)  # what integrity_check said, where not 'ok'
    differences: list[str] = field(default_factory=list)  # from the uninterrupted crawl
    lost: list[int] = field(default_factory=list)  # requests without a trace in the file, at each look
    extra: int = 0  # requests beyond those of the uninterrupted crawl
    overdrawn: list[str] = field(default_factory=list)  # URLs asked for more often than their kills explain
    gap: float = float("inf")  # least time between two requests to a host, s
    urls: int = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def least_gap(requests: list[Request]) -> float:
    """The least time between the arrivals of two requests to one host, in seconds."""
    last: dict[str, float] = {}
    gap = float("inf")
    for request in sorted(requests, key=lambda request: request.at):
        gap = min(gap, request.at - last.get(request.host, float("-inf")))
        last[request.host] = request.at
    return gap


@dataclass
class KillLoop:
    """Kills crawls of ``web`` until ``kills`` are done; one that ends is compared, and the next begins anew."""

    folder: Path
    web: Generated
    kills: int
    delay: float = 0.0
    connections: int = 100
    seed: int = 1
    within: float = 2.0  # a kill falls within so many seconds of the start or the kill before
    patience: float = 600.0  # for a crawl to end by itself
    full: float = 0.0  # share of the kills that come while the disk is full
    pinned: float = 0.0  # share of the kills that come while another process holds a snapshot
    syscall: float = 0.0  # share of the kills that come at a write or sync of the file
    report: Report = field(default_factory=Report)
    oracle: Oracle = field(default_factory=Oracle)

    def run(self) -> Report:
        """The uninterrupted crawl, then the killed ones, on the same port: the URLs must be the same."""
        rng = random.Random(self.seed)
        with served(self.web, self.folder / "calm.log") as server:
            calm = self._crawl(server, "calm")
            calm.start()
            calm.finish(self.patience)
            self.usual = Counter(request.url for request in server.requests())
            self.truth = self.web.expected(server.port)
            self.report.urls = len(self.truth)
            self.port = server.port
        with copy_of(calm.db) as connection:
            self.reference = snapshot(connection)
        self.report.differences += differences(truth_as_snapshot(self.truth), self.reference)
        while self.report.total < self.kills:
            self.report.crawls += 1
            with served(self.web, self.folder / f"killed{self.report.crawls}.log", self.port) as server:
                self._one_crawl(server, rng)
        return self.report

    def _crawl(self, server: Server, name: str) -> Crawl:
        # --per-host lets a crawl without delay be a fast one; --ip-delay never binds, each host has its own address
        per_host = "1" if self.delay else "4"
        options = ("--delay", str(self.delay), "--per-host", per_host, "--connections", str(self.connections),
                   "--progress", "none")
        return Crawl(self.folder / f"{name}.db", server.seeds, options, self.folder / f"{name}.txt")

    def _one_crawl(self, server: Server, rng: random.Random) -> None:
        crawl = self._crawl(server, f"killed{self.report.crawls}")
        excuses: Counter[str] = Counter()
        before: Counter[str] = Counter()
        with contextlib.ExitStack() as pins:
            crawl.start()
            while self.report.total < self.kills and (victim := self._one_kill(crawl, rng)):
                self.report.kills[victim] += 1
                if victim == "worker":
                    continue
                lost = self._look(crawl.db, server) - before
                before += lost
                excuses.update(set(lost))
                self.report.lost.append(lost.total())
                pins.close()
                if rng.random() < self.pinned:
                    pins.enter_context(pinned(crawl.db))
                    self.report.kinds["pinned"] += 1
                crawl.start(int(10 ** rng.uniform(0, 2.3)) if rng.random() < self.syscall else 0)
        crawl.finish(self.patience)
        self._judge(crawl, server, excuses)

    def _one_kill(self, crawl: Crawl, rng: random.Random) -> str | None:
        """Who was killed, at a random moment; None: the crawl ended by itself before."""
        assert crawl.process
        victims = ["main", "worker", "both"]
        if rng.random() < self.full and crawl.ended(rng.uniform(0, self.within)) is None:
            crawl.fill_disk(rng.randrange(1, 4 + 2 * _size_of(crawl.db)))
            self.report.kinds["full"] += 1
            victims.remove("worker")  # the crawl would wait for room for ever
        slow = TRACED if crawl.pid != crawl.process.pid else 0
        code = crawl.ended(rng.uniform(0, self.within) + slow)
        if code is None:
            return crawl.kill(rng.choice(victims))
        if code == 74:
            return "no room"  # it was opening the file when the disk filled
        return "syscall" if code in (-9, 128 + 9) else None

    def _look(self, db: Path, server: Server) -> Counter[str]:
        """Judge the file as it was left; gives the requests so far that the file knows nothing of."""
        asked = Counter(request.url for request in server.requests())
        if not db.exists():
            return asked
        with copy_of(db) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pages'").fetchone():
                return asked
            self.report.looks += 1
            self._check(connection)
            self.report.torn += torn(snapshot(connection), self.truth)
            self._recompute(connection)
            return asked - Counter(url for (url,) in connection.execute("SELECT url FROM fetches"))

    def _check(self, connection: sqlite3.Connection) -> None:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        self.report.damaged += said if said != ["ok"] else []

    def _recompute(self, connection: sqlite3.Connection) -> None:
        self.report.recomputed += 1
        self.report.oracle += self.oracle.disagreements(connection)

    def _judge(self, crawl: Crawl, server: Server, excuses: Counter[str]) -> None:
        requests = server.requests()
        asked = Counter(request.url for request in requests)
        extra = asked - self.usual
        self.report.extra += extra.total()
        self.report.overdrawn += [f"{url}: {n} more" for url, n in extra.items() if n > excuses[url]]
        self.report.gap = min(self.report.gap, least_gap(requests))
        with copy_of(crawl.db) as connection:
            self._check(connection)
            self._recompute(connection)
            [(alone,)] = connection.execute("SELECT count(*) FROM url WHERE reason = 'quarantined'")
            self.report.quarantined += alone
            if not alone:
                self.report.differences += differences(self.reference, snapshot(connection))

    @property
    def allowance(self) -> int:
        """What one kill may cost: what was in flight and one uncommitted batch."""
        return self.connections + BATCH


def _size_of(db: Path) -> int:
    sizes = [path.stat().st_size for path in (db, db.with_name(db.name + "-wal")) if path.exists()]
    return max(sizes, default=0)


def timed_loop(loop: KillLoop) -> tuple[Report, float]:
    """The report and how long it took, in seconds."""
    began = time.monotonic()
    return loop.run(), time.monotonic() - began
