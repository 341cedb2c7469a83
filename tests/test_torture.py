"""Torture: calls that fail once (FAULTS X9). `make torture` fails every call; here some of each seam do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import LONG, long
from tests.torture import SEAMS, Torture, cases, torture

SOME = {"store": 4, "sql": 4, "file": 2}  # failures of a seam in the fast form, where one would not do


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Torture]:
    """Forty pages on two hosts; the long form has 120 on four."""
    async with torture(tmp_path, pages=long(40, 120), hosts=long(2, 4)) as found:
        yield found


@pytest.mark.slow
async def test_x9_every_seam_may_fail_once(rig: Torture) -> None:
    """A crawl in which one call fails leaves a file ⊆ the reference, and the crawl that goes on equals it; all seams."""
    for name in SEAMS:
        for k, error, after in cases(rig, name, None if LONG else SOME.get(name, 1)):
            await rig.fail(name, k, error, after=after)
    assert rig.faults == []
    assert rig.runs.keys() == SEAMS.keys()
