"""Two measures of a graph of pages: PageRank and click depth. Plain functions on plain lists; nodes are numbers from 0."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

DAMPING = 0.85
TOLERANCE = 1e-10  # sum of all changes of a round that ends it
ROUNDS = 300  # 0.85 ** 300 is far below the tolerance


def pagerank(targets: Sequence[Sequence[int]]) -> list[float]:
    """How likely a random reader is on each node, summing to 1. ``targets``: by node, where it links to, each once.

    Page and Brin 1998 with damping 0.85; who links nowhere passes to all alike (without that the ranks would be the same, but
    for a common factor, after twice as many rounds). 0.1 µs a round and edge, 40 rounds or so.
    """
    count = len(targets)
    if not count:
        return []
    sources: list[list[int]] = [[] for _ in range(count)]
    for node, linked in enumerate(targets):
        for target in linked:
            sources[target].append(node)
    shares = [DAMPING / len(linked) if linked else 0.0 for linked in targets]
    ends = [node for node, linked in enumerate(targets) if not linked]
    rank = [1.0 / count] * count
    for _ in range(ROUNDS):
        gives = [value * share for value, share in zip(rank, shares, strict=True)].__getitem__
        base = (1.0 - DAMPING + DAMPING * sum(map(rank.__getitem__, ends))) / count
        new = [base + sum(map(gives, linked)) for linked in sources]
        change = sum(abs(a - b) for a, b in zip(new, rank, strict=True))
        rank = new
        if change < TOLERANCE:
            break
    total = sum(rank)
    return [value / total for value in rank]


def click_depth(targets: Sequence[Sequence[int]], free: frozenset[int], seeds: Iterable[int]) -> list[int | None]:
    """Least number of clicks from a seed to each node; None: there is no way. Leaving a node of ``free`` (a redirect)
    is no click."""
    depth: list[int | None] = [None] * len(targets)
    queue = deque((seed, 0) for seed in seeds)
    while queue:
        node, at = queue.popleft()
        if depth[node] is not None:
            continue
        depth[node] = at
        if node in free:
            queue.extendleft((target, at) for target in targets[node] if depth[target] is None)
        else:
            queue.extend((target, at + 1) for target in targets[node] if depth[target] is None)
    return depth
