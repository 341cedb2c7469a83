"""The live view: what matters fits any terminal, also one that changes its size, and nothing of the web's draws on it."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from crawler.cli.frame import frame, size
from crawler.cli.live import Picture, lines
from crawler.fetch import Stats
from crawler.frontier.load import Load, Slow
from crawler.progress import Seen, Snapshot, classes
from crawler.visit import Kind, Outcome, Visit
from storage.model import Counts, Place
from tests.conftest import Serve
from tests.killing import environment
from tests.test_output import HOSTILE, OURS, RAW, terminal
from tests.web import Site, page

SNAPSHOT = Snapshot(
    counts=Counts(pages=12_345, redirects=77, failures=12, skipped=345, queued=98_765),
    stats=Stats(requests=1000, opened=90, reused=910, bytes=56_700_000),
    rate=34.5,
    byte_rate=1_200_000.0,
    bound_by="politeness: 3 hosts × 1 s; more workers will not help",
    eta=7500.0,
    eta_reason="what is queued at the present rate; new links add to it",
    load=Load(fetching=30, ready=12, waiting=230, busy=30, slowest=(Slow("www.example.org", 10.0, 1.2, 0.0),
                                                                    Slow("a" * 200 + ".test", 1.0, 0.5, 30.0))),
    answers={"2xx": 900, "4xx": 90, "none": 10},
    errors=(("http_404", "http://h.test/" + "x" * 300), ("connect_refused: nobody listens there", "http://g.test/?token=abc")),
    visits=950,
    seconds=200.0,
    parsing=0,
    backlog=0,
)  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (40, 10), (20, 5), (1, 1), (300, 100)])
def test_the_picture_fits(width: int, height: int) -> None:
    """No line is wider, and no picture higher, than the terminal; at 40 x 10 what bounds the crawl is said."""
    drawn = frame(SNAPSHOT, width, height)
    assert len(drawn) <= height
    assert max(line.cell_len for line in drawn) <= width
    shown = "\n".join(line.plain for line in drawn)
    assert ("bound by" in shown) == (height >= 5 and width >= 20)
    assert ("slowest hosts" in shown) == ("last errors" in shown) == (height >= 24)


def test_the_picture_says_what_people_ask() -> None:
    """Rates, queue, hosts by state, connections and reuse, classes of answers, slow hosts, errors, bound, ETA and its reason."""
    shown = "\n".join(line.plain for line in frame(SNAPSHOT, 120, 40))
    for words in ("12,345  34.5/s  1.2 MB/s, 56.7 MB", "98,765  failed 12  skipped 345  redirects 77",
                  "12 ready  230 waiting  30 busy", "30 in use  91% reused  90 opened", "2xx 900  4xx 90  none 10",
                  "politeness: 3 hosts × 1 s; more workers will not help", "2 h 05 min to go: what is queued",
                  "a request each 10 s, answers in 1,200 ms", "left alone for 30 s", "http_404  http://h.test/",
                  "http://g.test/?token=…"):
        assert words in shown
    assert "34.5/s" in " ".join(lines(SNAPSHOT))


@pytest.mark.parametrize(("n", "words"), [(0, "0 B"), (999.4, "999 B"), (1500, "1.5 kB"), (56.7e6, "56.7 MB"),
                                          (2e15, "2,000 TB")])
def test_sizes_have_three_figures(n: float, words: str) -> None:
    """As people read them, in powers of a thousand."""
    assert size(n).replace("2e+03", "2,000") == words


@pytest.mark.parametrize("width", [120, 40])
def test_o1_hosts_errors_and_reasons_cannot_draw(width: int) -> None:
    """Whatever stands in a host's name, a reason, a URL or a pause: on the terminal there are our own sequences only."""
    evil = replace(
        SNAPSHOT,
        bound_by=f"a pause: {HOSTILE}",
        load=replace(SNAPSHOT.load, paused=HOSTILE, slowest=(Slow(HOSTILE, 1.0, 1.0, 1.0),)),
        errors=((HOSTILE, f"http://h.test/{HOSTILE}"),),
    )
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=30, legacy_windows=False)
    Picture(console, console.print)(evil)
    drawn = out.getvalue().replace("\n", "")
    assert "\\x1b" in drawn
    assert not RAW & {*OURS.sub("", drawn)}


def test_what_was_answered_is_counted_by_class() -> None:
    """Each outcome once; errors are kept, the last 20; a site without robots.txt is none."""
    seen, place = Seen(), Place("http://h.test", "h.test", "/")
    for status, reason in ((200, ""), (404, "http_404"), (None, "reset"), (301, ""), (200, "")):
        seen.add(Visit(place.url, place, Kind.PAGE), Outcome(place.url, status, reason))
    seen.add(Visit(place.url, place, Kind.ROBOTS), Outcome(place.url, 404, "http_404"))
    assert classes(seen.answers) == {"2xx": 2, "3xx": 1, "4xx": 2, "none": 1}
    assert list(classes(seen.answers))[-1] == "none"
    assert list(seen.errors) == [("http_404", place.url), ("reset", place.url)]
    for _ in range(1000):
        seen.add(Visit(place.url, place, Kind.PAGE), Outcome(place.url, None, "reset"))
    assert len(seen.errors) == 20


@pytest.mark.parametrize(("env", "colour", "drawn"), [
    ({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False), ({"TERM": ""}, False, False)],
    ids=["colour", "NO_COLOR", "dumb", "no TERM"])
async def test_terminals(serve: Serve, crawl_file: Path, env: dict[str, str], colour: bool, drawn: bool) -> None:
    """The picture is drawn on a terminal; without colours if NO_COLOR is set; where TERM is dumb there is no escape sequence."""
    web = await serve(Site({"/": page("/gone", "/never", "/lost"), "/lost": page()}))
    shown = await asyncio.to_thread(terminal, "crawl", web.url(), "-o", crawl_file, "--delay", "0.4", "--max-time", "1.3",
                                    "--parse-workers", "0", env=env)
    assert ("\x1b[?25l" in shown) == drawn
    assert ("connections  " in shown) == drawn
    assert bool(re.search(r"\x1b\[(?:[0-9]+;)*3[0-7]m", shown)) == colour
    if not drawn:
        assert "\x1b" not in shown


DRAWS = """
import os, time
from dataclasses import replace
from crawler.cli.live import view
from tests.test_live import SNAPSHOT
with view("auto") as show:
    while True:
        show(replace(SNAPSHOT, bound_by="{0.columns} x {0.lines}".format(os.get_terminal_size(2))))
        time.sleep(0.03)
"""


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_a_real_terminal_that_changes_its_size(tmp_path: Path) -> None:
    """In tmux, whose program learns of a new size late: each time there is one picture, and nothing left of another."""
    (tmp_path / "draws.py").write_text(DRAWS)
    base = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]

    def tmux(*arguments: str) -> str:
        return subprocess.run([*base, *arguments], check=True, capture_output=True, text=True, env=environment()).stdout

    def drawn_for(width: int, height: int) -> str:
        for _ in range(1000):
            screen = tmux("capture-pane", "-p")
            if re.search(rf"bound by +{width} x {height}\n", screen):
                return screen
        raise AssertionError(screen)

    tmux("new-session", "-d", "-x", "80", "-y", "24", shlex.join([sys.executable, str(tmp_path / "draws.py")]))
    try:
        drawn_for(80, 24)
        for width, height, last in ((40, 10, "answers"), (120, 40, "token"), (60, 40, "http://g"), (40, 40, "connect_r")):
            tmux("resize-window", "-x", str(width), "-y", str(height))
            screen = drawn_for(width, height)
            assert screen.count("pages  ") == screen.count("queued  ") == 1, screen
            assert last in screen
    finally:
        tmux("kill-server")
