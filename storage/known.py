"""Known targets, in memory: most links lead where links have led before, and need no SQL but their own row.

What is kept of a target may be behind the file (deeper than it is by now, refused though admitted since): then an edge
that changes nothing is taken for one that may, which costs time, and never the other way round. Where targets get
worse, they have to be forgotten: a rollback, a rescope, a refused host, a page that is named as a sitemap.
"""

from __future__ import annotations

from storage.links import Verdict

MOST = 60_000  # targets in each of two generations: about 300 bytes each
LONGEST = 256  # characters of a path that is remembered: with all of 4,096 a hostile site would have 500 MB of it
NEVER = 1 << 30  # a depth beyond all others

Key = tuple[int, str]  # origin's id, path
SETTLED = 1
State = int | str | None
"""What the crawl thinks of a URL. `SETTLED`: no edge changes that any more, for it is queued, visited, or refused for good. A
reason: of that refusal. None: edges to it were only recorded."""


class Known:
    """Id, depth and state of targets, in two generations: what is asked for moves to the younger; when that is full,
    the older one goes."""

    def __init__(self) -> None:
        self.young: dict[Key, tuple[int, int, State]] = {}
        self._old: dict[Key, tuple[int, int, State]] = {}

    def get(self, key: Key) -> tuple[int, int, State] | None:
        found = self.young.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self.young[key] = found
        return found

    def learn(self, key: Key, id_: int, depth: int | None, state: State) -> None:
        if len(key[1]) > LONGEST:
            return
        if len(self.young) >= MOST:
            self.young, self._old = {}, self.young
        self.young[key] = id_, NEVER if depth is None else depth, state

    def drop(self, key: Key) -> None:
        self.young.pop(key, None)
        self._old.pop(key, None)

    def forget(self) -> None:
        self.young.clear()
        self._old.clear()


def moved(known: int, state: State, depth: int | None, verdict: Verdict) -> bool:
    """Whether an edge may change something about a target of this depth and state: bring it nearer (``depth``; None: the
    edge is not followed), admit it, or refuse it for another reason."""
    if depth is not None and depth < known:
        return True
    if state == SETTLED:
        return False
    if verdict.admit:
        return state != "depth"
    return verdict.reason is not None and verdict.reason != state
