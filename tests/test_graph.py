"""PageRank and click depth, held against networkx."""

from __future__ import annotations

import random

import pytest

from storage.graph import click_depth, pagerank
from tests.conftest import long


def web(nodes: int, seed: int = 7) -> tuple[list[list[int]], frozenset[int]]:
    """A generated web: popular pages, dead ends, islands, circles, and redirects (by node, its targets; the redirects)."""
    rng = random.Random(seed)
    free = frozenset(n for n in range(nodes) if n % 17 == 5)
    targets = []
    for node in range(nodes):
        if node in free:
            targets.append([rng.randrange(nodes)])
        elif node % 11 == 3:
            targets.append([])  # a dead end
        else:
            popular = {int(nodes * rng.random() ** 3) for _ in range(rng.randrange(30))}
            near = {node // 2, (node * 31 + 1) % nodes}
            targets.append(sorted((near | popular) - {node}) if node % 13 else [(node + 13) % nodes])
    return targets, free


def test_equal_to_networkx() -> None:
    """PageRank of every node to 1e-6 of the mean, click depth exactly; 20,000 nodes in the long form."""
    networkx = pytest.importorskip("networkx")
    from networkx.algorithms.link_analysis.pagerank_alg import _pagerank_python  # the other one needs SciPy

    count = long(1_500, 20_000)
    targets, free = web(count)
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((a, b, {"clicks": int(a not in free)}) for a, linked in enumerate(targets) for b in linked)
    truth = _pagerank_python(graph, alpha=0.85, tol=1e-13, max_iter=1_000)
    assert max(abs(got - truth[node]) * count for node, got in enumerate(pagerank(targets))) < 1e-6
    ways = networkx.multi_source_dijkstra_path_length(graph, {0, 1}, weight="clicks")
    assert click_depth(targets, free, [0, 1]) == [ways.get(node) for node in range(count)]
    assert None in click_depth(targets, free, [0, 1])


@pytest.mark.parametrize(("targets", "ranks"), [
    ([], []),
    ([[]], [1.0]),
    ([[1], [0]], [0.5, 0.5]),
    ([[1], []], [0.350877, 0.649123]),  # a dead end passes to all alike
    ([[2], [2], [0]], [0.463514, 0.05, 0.486486]),
])
def test_pagerank_of_small_webs(targets: list[list[int]], ranks: list[float]) -> None:
    """Known by hand."""
    assert pagerank(targets) == pytest.approx(ranks, abs=1e-6)


def test_a_redirect_is_no_click() -> None:
    """A way through redirects is as long as its clicks; the shorter of two ways counts, whichever comes first."""
    targets = [[1, 4], [2], [3], [], [5], [3]]  # 0 → 1 → 2 → 3, and 0 → 4 ⇒ 5 ⇒ 3 by redirects
    assert click_depth(targets, frozenset({4, 5}), [0]) == [0, 1, 2, 1, 1, 1]
    assert click_depth([[1], [0], [0]], frozenset(), [0]) == [0, 1, None]
