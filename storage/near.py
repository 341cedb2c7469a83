"""Near duplicates: pages whose SimHashes differ in three bits or fewer (Manku, Jain, Das Sarma, "Detecting near-duplicates
for web crawling", 2007)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

BITS = 3
_BLOCKS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # of three differing bits, two of five blocks hold none
_MASKS = [((1 << n) - 1) << at for at, n in _BLOCKS]
_KEYS = [a | b for a, b in combinations(_MASKS, 2)]
_ALL = (1 << 64) - 1


def near(hashes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(id, first, distance) of each (id, hash) that is near to one that came before and is itself near to none.

    So each is within three bits of its group's first, and a chain of small changes is not one group.
    """
    firsts: dict[int, int] = {}
    tables: list[defaultdict[int, list[int]]] = [defaultdict(list) for _ in _KEYS]
    for number, signed in hashes:
        value = signed & _ALL
        if value in firsts:
            yield number, firsts[value], 0
            continue
        known = {h for mask, table in zip(_KEYS, tables, strict=True) for h in table.get(value & mask, ())}
        distance, first = min((((value ^ h).bit_count(), firsts[h]) for h in known), default=(64, 0))
        if distance <= BITS:
            yield number, first, distance
            continue
        firsts[value] = number
        for mask, table in zip(_KEYS, tables, strict=True):
            table[value & mask].append(value)
