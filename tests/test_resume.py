"""A crawl killed at any moment ends as one that was left alone (FAULTS "Resume semantics": D1, D3, D21, L1, L10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.killing import KillLoop
from tests.web import Generated

DELAY = 0.1


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> KillLoop:
    """Six kills on 400 pages over 16 hosts, a request each 0.1 s to a host; benchmarks/killloop.py is the long one."""
    folder: Path = tmp_path_factory.mktemp("killed")
    kill_loop = KillLoop(folder, Generated(pages=400, hosts=16), kills=6, delay=DELAY, within=1.5, patience=60,
                         full=0.2, pinned=0.2)
    kill_loop.run()
    return kill_loop


def test_d1_a_killed_crawl_ends_as_an_uninterrupted_one(loop: KillLoop) -> None:
    """{url, status, digest, depth, links} of every view equal the uninterrupted crawl's, and both equal the truth."""
    assert loop.report.differences == []
    assert loop.report.total == 6


def test_d1_r7_a_kill_repeats_no_more_than_what_was_in_hand(loop: KillLoop) -> None:
    """No URL, robots.txt included, is asked for more often than its kills in flight explain; a kill loses
    ≤ connections + 200 requests."""
    assert loop.report.overdrawn == []
    assert max(loop.report.lost, default=0) <= loop.allowance
    assert loop.report.extra <= loop.report.total * loop.allowance


def test_d1_i1_the_frontier_recomputed_from_the_bodies_is_the_files(loop: KillLoop) -> None:
    """After every kill: table `url` equals what a pure function makes of the stored bodies alone; no link is lost."""
    assert loop.report.oracle == []
    assert loop.report.recomputed > 0


def test_d3_no_page_is_ever_without_its_links(loop: KillLoop) -> None:
    """At every kill each stored page has all of its links, and each link's target is known to the file."""
    assert loop.report.torn == []


def test_d3_the_file_is_whole_after_every_kill(loop: KillLoop) -> None:
    """PRAGMA integrity_check says ok on the file as each kill left it."""
    assert loop.report.damaged == []


def test_d21_no_kill_breaks_a_hosts_delay(loop: KillLoop) -> None:
    """Measured at the server, across kills too: two requests to a host are at least 0.99 × delay apart."""
    assert loop.report.gap >= 0.99 * DELAY
