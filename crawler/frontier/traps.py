"""Traps that a URL shows by itself: a path that repeats, or that is deeper than any site means it. Pure."""

from __future__ import annotations

REPEATS = 3  # times a run of segments may stand in a row (after Heritrix's PathologicalPath)
SEGMENTS = 20
SHALLOW = REPEATS + 1  # slashes below which no path can be one of these


def trapped(path: str) -> str | None:
    """Why a URL's path (its query apart) is taken for a trap, or None (FAULTS T2).

    A site that links ``b/`` from each of its pages has /a/b/, /a/b/b/, /a/b/b/b/ and so on without end.
    """
    parts = path.split("/")
    if len(parts) <= SEGMENTS and len(parts) - len(set(parts)) < REPEATS:
        return None  # quickly, nearly always: each repeat of a run names a segment again
    segments = path.partition("?")[0].split("/")[1:]
    if segments[-1] == "":
        segments.pop()
    if len(segments) > SEGMENTS:
        return f"the path has more than {SEGMENTS} segments"
    for period in range(1, len(segments) // (REPEATS + 1) + 1):
        same = 0
        for here, before in zip(segments[period:], segments, strict=False):
            same = same + 1 if here == before else 0
            if same == REPEATS * period:
                what = "segment" if period == 1 else f"run of {period} segments"
                return f"the path has the same {what} more than {REPEATS} times in a row"
    return None
