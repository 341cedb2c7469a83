"""Real sites on loopback: Debian's python3-doc and postgresql-doc-15, crawled and mirrored."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.realsite import SITES, RealSite, compare, missing


@pytest.mark.slow
@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_real_site_is_found_as_wget_finds_it(site: RealSite, tmp_path: Path) -> None:
    """Same pages as wget, each difference explained; failures as in nginx's log; digests of the files; the truth."""
    if absent := missing(site):
        pytest.skip(f"not installed: {absent}")
    found = compare(site, tmp_path)
    assert found.faults == []
    assert len(found.ours) > 500
