"""Known targets, in memory: most links lead where links have led before, and need no SQL but their own row.

What is kept of a target may be behind the file (deeper than it is by now, refused though admitted since): then an edge
that changes nothing is taken for one that may, which costs time, and never the other way round. Where targets get
worse, they have to be forgotten: a rollback, a rescope, a refused host, a page that is named as a sitemap.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.links import Verdict

MOST = 60_000  # targets in each of two generations: about 200 bytes each
LONGEST = 256  # characters of a path that is remembered: with all of 4,096 a hostile site would have 500 MB of it
NEVER = 1 << 30  # a depth beyond all others

Key = tuple[int, str]  # origin's id, path
SETTLED = 1
State = int | str | None
"""What the crawl thinks of a URL. `SETTLED`: no edge changes that any more, for it is queued, visited, or refused for good. A
reason: of that refusal. None: edges to it were only recorded."""

# A target is one number, no object that the garbage collector would have to look at: from the lowest bit its id, its depth,
# and the number of its state, 0 if it is settled.
_DEPTH, _STATE = 48, 80
ID = (1 << _DEPTH) - 1
FAR = 1 << 1000  # more than any target
_NONE: Mapping[str, int] = {}


def within(depth: int) -> int:
    """Less than this are the targets that are settled and no deeper."""
    return (depth + 1) << _DEPTH


class Known:
    """Id, depth and state of targets, in two generations: what is asked for moves to the younger; when that is full,
    the older one goes."""

    def __init__(self) -> None:
        self._young: dict[int, dict[str, int]] = {}  # by origin and path
        self._old: dict[int, dict[str, int]] = {}
        self._size = 0  # of the younger
        self._states: list[State] = [SETTLED]
        self._numbers: dict[State, int] = {SETTLED: 0}

    def at(self, origin: int) -> Mapping[str, int]:
        """The targets of an origin in the younger generation, by path. Asking leaves no trace: pages name origins without end."""
        return self._young.get(origin, _NONE)

    def get(self, key: Key) -> tuple[int, int, State] | None:
        origin, path = key
        found = self._young[origin].get(path) if origin in self._young else None
        if found is None:
            if origin not in self._old or (found := self._old[origin].pop(path, None)) is None:
                return None
            self._put(origin, path, found)
        return found & ID, found >> _DEPTH & (1 << _STATE - _DEPTH) - 1, self._states[found >> _STATE]

    def learn(self, key: Key, id_: int, depth: int | None, state: State) -> None:
        origin, path = key
        if len(path) > LONGEST:
            return
        if (number := self._numbers.get(state)) is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
        self._put(origin, path, number << _STATE | (NEVER if depth is None else depth) << _DEPTH | id_)

    def _put(self, origin: int, path: str, target: int) -> None:
        if self._size >= MOST:
            self._young, self._old, self._size = {}, self._young, 0
        young = self._young.setdefault(origin, {})
        self._size += path not in young
        young[path] = target

    def drop(self, key: Key) -> None:
        origin, path = key
        if origin in self._young and self._young[origin].pop(path, None) is not None:
            self._size -= 1
        if origin in self._old:
            self._old[origin].pop(path, None)

    def forget(self) -> None:
        self._young, self._old, self._size = {}, {}, 0


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
