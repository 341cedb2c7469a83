"""Pages may kill their worker, never the crawl (FAULTS P1-P6, X2)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import cpu_of
from crawler.api import run_async
from crawler.parse import BadExtractor
from crawler.parse.pool import ParsePool, WorkerBroken
from crawler.parse.worker import zstd
from crawler.spec import CrawlSpec
from crawler.visit import Extract, Page
from storage import open_reader
from tests.bombs import BOMBS
from tests.conftest import Serve, long
from tests.killing import ROOT, children
from tests.web import Site, page

MISBEHAVE = "tests.bombs:misbehave"
HTML = "text/html; charset=utf-8"
PAGE = b"<title>t</title><a href=x rel=nofollow>text</a><a href='mailto:a@b'>m</a>" + b"<p>words</p>" * 50


@pytest.fixture
async def pool() -> AsyncIterator[ParsePool]:
    async with ParsePool(2, MISBEHAVE) as pool:
        yield pool
        assert pool.queued == 0


def kept(extract: Extract, body: bytes) -> bool:
    """The raw body is there, under its digest, whatever became of the parsing."""
    plain = zstd.decompress(extract.packed) if extract.codec == "zstd" else extract.packed
    return plain == body and extract.digest == hashlib.sha256(body).digest() and extract.size == len(body)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("workers", [0, 1])
async def test_what_comes_back(workers: int) -> None:
    """Inline and through a worker alike: links, metadata, the user's data, and the body digested and packed."""
    async with ParsePool(workers, MISBEHAVE) as pool:
        page = await pool.parse(PAGE, "http://h.test/a/nested", HTML, [("X-Robots-Tag", "noindex")])
    assert [(e.url, e.kind, e.rel, e.text) for e in page.links] == [
        ("http://h.test/a/x", "a", "nofollow", "text"),
        ("mailto:a@b", "a", None, "m"),
    ]
    assert (page.title, page.charset, page.mime, page.parse, page.codec) == ("t", "utf-8", "text/html", None, "zstd")
    assert (page.robots, page.data) == ({"noindex"}, {"tree": {"a": [1, "é", None]}})
    assert kept(page, PAGE)


@pytest.mark.parametrize("body", [b"", b"%PDF-1.7 " + os.urandom(300_000), os.urandom(5_000_000)])
async def test_bodies_of_every_size_and_kind(pool: ParsePool, body: bytes) -> None:
    """What is no HTML is digested and packed all the same; what does not shrink is kept as it is."""
    page = await pool.parse(body, "http://h.test/", "application/pdf")
    assert (page.codec, page.links, page.parse) == ("raw", (), None)
    assert kept(page, body)


async def test_answers_go_to_those_who_asked(pool: ParsePool) -> None:
    """Many pages at once, some of them cancelled on the way, some deadly: every other caller gets its own page."""

    async def one(n: int) -> None:
        deed = "segv" if n % 40 == 7 else "fine"
        page = await pool.parse(b"<a href=/%d>" % n, f"http://h.test/{deed}?{n}", HTML)
        assert page.digest == hashlib.sha256(b"<a href=/%d>" % n).digest()
        assert page.parse == ("crash" if deed == "segv" else None)
        assert [e.url for e in page.links] == [f"http://h.test/{n}"]

    tasks = [asyncio.create_task(one(n)) for n in range(200)]
    await asyncio.sleep(0)  # all are handed in, some are in the pipes
    for task in tasks[::3]:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [e for e in ended if e is not None and not isinstance(e, asyncio.CancelledError)] == []
    assert 0 < pool.deaths <= 5


# --- P1-P6: the twelve shapes ---


@pytest.mark.slow
async def test_p1_p2_p3_p4_p6_p7_bombs_end_and_their_pages_are_kept() -> None:
    """Each of the twelve shapes costs a worker at most 2.2 s of CPU, and its page is kept raw, with the reason."""
    names = iter(BOMBS)

    async def drop(pool: ParsePool) -> None:
        assert (await pool.parse(PAGE, "http://h.test/", HTML)).parse is None  # its start is not the page's cost
        for name in names:
            body, pid = BOMBS[name](), pool.pids[0]
            page, spent = await measured(pid, pool.parse(body, "http://h.test/", HTML))
            assert page.parse in (None, "timeout", "memory", "crash"), name
            assert kept(page, body), name
            assert spent <= 2.2, (name, spent)
            assert (await pool.parse(PAGE, "http://h.test/", HTML)).parse is None  # the worker is there again

    async with ParsePool(1) as one, ParsePool(1) as other:
        await asyncio.gather(drop(one), drop(other))


async def measured(pid: int, work: Coroutine[Any, Any, Extract]) -> tuple[Extract, float]:
    """What the work gives, and the CPU seconds a process has spent on it (10 ms steps)."""
    before, most, task = cpu_of(pid), 0.0, asyncio.create_task(work)
    while not task.done():
        await asyncio.wait({task}, timeout=0.01)
        most = max(most, cpu_of(pid) - before)
    return task.result(), most


async def test_p1_the_next_page_is_stored_a_second_after_a_deadline(serve: Serve, crawl_file: Path) -> None:
    """With one worker, the page behind a bomb is stored at most 3 s after it: 2 s of CPU, then ≤ 1 s."""
    at: dict[str, float] = {}

    async def note(pages: list[Page]) -> None:
        at.update((page.url.rpartition("/")[2], time.monotonic()) for page in pages)

    web = await serve(Site({"/": page("/spin", "/next"), "/spin": page(), "/next": page()}))
    options = {"delay": 0.0, "per_host": 4, "parse_workers": 1, "extractor": MISBEHAVE}
    await run_async(CrawlSpec(seeds=(web.url(),), **options), crawl_file, on_pages=note)
    assert at["next"] - at["spin"] <= 1.0
    with open_reader(crawl_file) as reader:
        assert list(reader.query("SELECT url, parse FROM pages WHERE parse NOT NULL")[1]) == [(web.url("/spin"), "timeout")]


async def test_p2_the_crawler_itself_does_not_grow(pool: ParsePool) -> None:
    """Formatting that would take gigabytes, eight times over: workers are held to 1 GiB, the main process grows ≤ 20 MiB."""
    for pid in pool.pids:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max address space +1073741824 +1073741824", limits)
    body = BOMBS["formatting"]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    bad = await asyncio.gather(*(pool.parse(body, "http://h.test/", HTML) for _ in range(long(2, 8))))
    assert all(kept(page, body) for page in bad)
    assert memory("VmHWM") - before <= 20 << 20


def memory(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_worker_keeps_its_memory_from_page_to_page() -> None:
    """After its first pages a worker faults in at most five pages of memory for each page of 25 to 200 kB it parses."""
    pages = [b"<p>words <a href=/x>and a link</a></p>" * count for count in (650, 1300, 2600, 5200)] * 5
    async with ParsePool(1) as pool:
        after = list[int]()
        for _ in range(2):
            for body in pages:
                await pool.parse(body, "http://h.test/", HTML)
            after.append(faults(pool.pids[0]))
    assert (after[1] - after[0]) / len(pages) <= 5


def faults(pid: int) -> int:
    """Minor page faults of a process so far (proc(5), the tenth field)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


async def test_p1_deadline_is_two_seconds_of_cpu(pool: ParsePool) -> None:
    """A page that spins is over after 2 s of its worker's CPU; the page behind it in the pipe does not suffer."""
    before = workers_cpu()
    bad, good = await asyncio.gather(
        pool.parse(PAGE, "http://h.test/spin", HTML), pool.parse(PAGE, "http://h.test/fine", HTML)
    )
    spent = workers_cpu() - before
    assert (bad.parse, good.parse) == ("timeout", None)
    assert kept(bad, PAGE)
    assert 1.5 < spent < 2.0 + 1.0


async def test_p1_nothing_waits_behind_a_large_page() -> None:
    """A page of 300 kB spins in one worker's pipe: the eight that follow go to the other."""
    async with ParsePool(2, MISBEHAVE) as pool:
        large = asyncio.create_task(pool.parse(PAGE + b" " * 300_000, "http://h.test/spin", HTML))
        await asyncio.sleep(0)
        await asyncio.gather(*(pool.parse(PAGE, f"http://h.test/fine?{n}", HTML) for n in range(8)))
        assert not large.done()
        large.cancel()


async def test_p1_an_extractor_that_only_waits_meets_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping burns no CPU: the wall clock ends it (10 s; here the parent's backstop, made short)."""
    monkeypatch.setattr("crawler.parse.process.BACKSTOP", 0.5)
    async with ParsePool(1, MISBEHAVE) as pool:
        page = await pool.parse(PAGE, "http://h.test/sleep", HTML)
    assert page.parse == "timeout"
    assert kept(page, PAGE)


async def test_p2_memory_is_capped(pool: ParsePool) -> None:
    """More than 1 GiB of address space is refused to a worker, and the reason is known."""
    page = await pool.parse(PAGE, "http://h.test/eat", HTML)
    assert page.parse == "memory"
    assert kept(page, PAGE)


@pytest.mark.parametrize("deed", ["segv", "abort"])
async def test_p5_native_crash(pool: ParsePool, deed: str) -> None:
    """The death of a worker is one page's 'crash'."""
    page = await pool.parse(PAGE, f"http://h.test/{deed}", HTML)
    assert page.parse == "crash"
    assert kept(page, PAGE)
    assert pool.deaths == 1


async def test_p5_death_is_ordinary(pool: ParsePool) -> None:
    """1,000 deaths in the long form (30 here): each costs its own page only, and the next worker ≤ 100 ms of CPU; as many
    workers as before, no zombie, no descriptor left."""
    deaths, before = long(30, 1000), workers_cpu()
    descriptors = len(os.listdir("/proc/self/fd"))
    pages = await asyncio.gather(*(pool.parse(b"x", f"http://h.test/segv?{n}", HTML) for n in range(deaths)))
    assert {page.parse for page in pages} == {"crash"}
    assert pool.deaths == deaths
    assert (await pool.parse(PAGE, "http://h.test/fine", HTML)).parse is None
    assert (workers_cpu() - before) / deaths <= 0.1
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
    (server,) = children()
    assert [pid for pid in children(server) if pid not in pool.pids] == []


def workers_cpu() -> float:
    """CPU seconds that all workers have spent so far, those that have ended and their server included."""
    (server,) = children()
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15]))  # proc(5): of its own and of children it has waited for
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(cpu_of, children(server)))


async def test_p5_killed_from_outside_is_tried_once_more(pool: ParsePool) -> None:
    """A SIGKILL may come from anyone: the page has a second try, and is blamed when it happens again."""
    page = await pool.parse(PAGE, "http://h.test/kill", HTML)
    assert (page.parse, pool.deaths) == ("crash", 2)
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    pages = await asyncio.gather(*(pool.parse(PAGE, f"http://h.test/fine?{n}", HTML) for n in range(20)))
    assert {page.parse for page in pages} == {None}


async def test_p6_answers_are_trimmed_to_4_mib(pool: ParsePool) -> None:
    """10,000 links of 4 kB each would be 40 MB: the answer keeps what fits and says so."""
    body = b"".join(b"<a href=/%d/%s>" % (n, b"x" * 2000) for n in range(2_600))
    page = await pool.parse(body, "http://h.test/", HTML)
    assert page.parse is None
    assert page.truncated == "html,links" if len(body) > 5 << 20 else "links"
    assert 1_000 < len(page.links) < 2_600


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b"<a rel='%d %s' href=/%d>t</a>" % (n, b"r" * 430, n) for n in range(9_900)),
        b"<a href=/a>t</a><a rel='" + b"\x01" * 3_000_000 + b"' href=/z>t</a>",
    ],
    ids=["each its own", "one of 3 MB"],
)
async def test_p6_a_long_rel_is_cut(pool: ParsePool, body: bytes) -> None:
    """No rel makes an answer too long for its frame, which would be taken for a broken worker: what fits is kept."""
    page = await pool.parse(body, "http://h.test/", HTML)
    assert (page.parse, pool.deaths) == (None, 0)
    assert len(page.links) == 2 or 5_000 < len(page.links) < 9_900
    assert max(len(link.rel or "") for link in page.links) <= 500


# --- The user's extractor ---


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("raise", "error: ValueError: no such price"),
        ("exit", "error: SystemExit: 3"),
        ("nan", "error: ValueError: Out of range"),
        ("bytes", "error: TypeError"),
        ("none", "error: TypeError"),
        ("huge", "error: the extractor returned"),
        ("deep", "error: TypeError: Recursion"),
    ],
)
async def test_an_extractor_that_fails_costs_its_data_only(pool: ParsePool, deed: str, reason: str) -> None:
    """The page is kept with its links and one line that says what was wrong."""
    page = await pool.parse(PAGE, f"http://h.test/{deed}", HTML)
    assert page.parse is not None
    assert page.parse.startswith(reason)
    assert "\n" not in page.parse
    assert (len(page.links), page.data, pool.deaths) == (2, {}, 0)


@pytest.mark.parametrize(("deed", "reason"), [("segv", "crash"), ("abort", "crash")])
async def test_an_extractor_that_ends_its_worker_costs_its_data_only(pool: ParsePool, deed: str, reason: str) -> None:
    """The page is parsed once more without it: its links, its title and its language are not lost to a slow selector."""
    page = await pool.parse(PAGE, f"http://h.test/{deed}", HTML)
    assert (page.parse, len(page.links), page.title, page.data) == (reason, 2, "t", {})
    assert (kept(page, PAGE), pool.deaths) == (True, 1)


async def test_an_extractor_cannot_touch_the_pipe(pool: ParsePool) -> None:
    """What it prints goes to stderr, its stdin is empty."""
    page = await pool.parse(PAGE, "http://h.test/print", HTML)
    assert (page.parse, page.data) == (None, {"stdin": ""})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["tests.no_such_module:f", "tests.bombs:no_such", "tests.bombs", "tests.bombs:BOMBS"])
async def test_an_extractor_that_cannot_be_loaded_is_refused_at_once(workers: int, name: str) -> None:
    """Before anything is fetched, with a sentence that names it."""
    with pytest.raises(BadExtractor, match=r"bombs|no_such_module"):
        async with ParsePool(workers, name):
            pass


# --- Living and ending ---


async def test_entering_waits_for_no_worker() -> None:
    """A crawl's first request need not wait 0.2 s for the workers: pages that come before they are ready wait for them."""
    async with ParsePool(1) as pool:
        assert not any(worker.said_hello for worker in pool._workers)
        assert (await pool.parse(PAGE, "http://h.test/", HTML)).parse is None


async def test_workers_that_never_start_are_said_by_the_first_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """WorkerBroken comes out of `parse`, also for pages handed in before; no future is left with it unread."""
    monkeypatch.setattr("crawler.parse.pool.MAX_STARTS", 1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with ParsePool(1) as pool:
        for _ in range(2):
            with pytest.raises(WorkerBroken, match="ended at start with status 1"):
                await pool.parse(PAGE, "http://h.test/", HTML)
        assert not pool._ready._log_traceback  # or the loop would speak of it at some later time, and end the run


async def test_workers_leave_with_the_pool() -> None:
    """No orphan, no zombie, and whoever still waits is told; closing twice does nothing."""
    pool = ParsePool(2, MISBEHAVE)
    async with pool:
        pids = pool.pids
        waiting = [asyncio.create_task(pool.parse(PAGE, "http://h.test/spin", HTML)) for _ in range(9)]
        await asyncio.sleep(0)
    assert not any(map(alive, pids))
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*waiting, return_exceptions=True))
    await pool.aclose()
    with pytest.raises(RuntimeError):
        await pool.parse(PAGE, "http://h.test/", HTML)


async def test_closing_while_workers_start() -> None:
    """Entering may be cancelled at any moment and leaves nothing behind."""
    for ticks in range(8):
        task = asyncio.create_task(ParsePool(2, MISBEHAVE).__aenter__())
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children() == []


def test_x2_workers_die_with_their_parent_and_before_it_when_memory_ends() -> None:
    """The kernel ends them when the crawl is killed, and prefers them when memory runs out."""
    program = (
        "import asyncio, os, sys\n"
        "from crawler.parse.pool import ParsePool\n"
        "async def main():\n"
        f"    async with ParsePool(2, {MISBEHAVE!r}) as pool:\n"
        "        print(*pool.pids, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        for pid in pids:
            assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)  # neither is theirs to obey
        gone = [os.pidfd_open(pid) for pid in pids]
        assert all(map(alive, pids))
        parent.kill()
        for descriptor in gone:
            _wait_readable(descriptor)
            os.close(descriptor)


def test_uvloop_does_as_well() -> None:
    """The pool uses nothing that only asyncio's own loop has: answers, deaths and the end are the same."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with ParsePool(2, MISBEHAVE) as pool:
            deeds = ["fine", "segv", "fine", "exit", "fine"] * 4
            pages = await asyncio.gather(*(pool.parse(PAGE, f"http://h.test/{deed}", HTML) for deed in deeds))
            assert [p.parse for p in pages] == [None, "crash", None, "error: SystemExit: 3", None] * 4
            big = await pool.parse(PAGE * 5_000, "http://h.test/fine", HTML)
            assert kept(big, PAGE * 5_000)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert children() == []


def test_workers_start_without_the_event_loop() -> None:
    """A worker that imports asyncio or aiohttp would take three times as long to come back."""
    program = "import sys, crawler.parse.worker; print(*{'asyncio', 'aiohttp', 'sqlite3'} & sys.modules.keys())"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""


def _wait_readable(descriptor: int) -> None:
    import select

    assert select.select([descriptor], [], [], 10.0)[0], "still alive 10 s after its parent"


async def test_a_module_in_the_current_folder_is_not_ours(serve: Serve, tmp_path: Path) -> None:
    """A `storage.py` where somebody happens to stand is run by no process of a crawl."""
    (tmp_path / "storage.py").write_text("import os\nos.mkdir('run')\nraise SystemExit\n")
    web = await serve(Site({"/": page()}))
    code = "import sys; sys.argv[0] = 'crawler'; from crawler.__main__ import main; main()"
    command = [sys.executable, "-P", "-c", code, "crawl", web.url(), "-o", "crawl.db", "--parse-workers", "1"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, check=False,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, (tmp_path / "run").exists()) == (0, False), done.stderr
