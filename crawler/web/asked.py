"""What a page is asked for, and what it answers: a view is a plain function from `Asked` to `Shown`, run in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from crawler.report.markup import Safe

if TYPE_CHECKING:
    from crawler.web.sheet import Sheet
    from storage.reader import Reader

STEPS = 10_000  # of SQLite's machine between two looks at the clock: well below a millisecond


class BadRequest(Exception):
    """What was asked cannot be answered; the sentence says why. ``status``: of HTTP."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Elsewhere(Exception):
    """What was asked is at another address of ours."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


@dataclass(frozen=True, slots=True)
class Shown:
    """A page without its frame. ``live``: it is worth looking again while the crawl runs; ``status``: of HTTP."""

    title: str
    body: Safe
    live: bool = False
    status: int = 200


class Asked:
    """One request: its parameters, a reader of its own, and the time it may take in all (s).

    ``indexing``: what is said of the index that is being made; ``stopped``: the server ends, and so shall this.
    """

    def __init__(
        self,
        path: str,
        values: Mapping[str, str],
        reader: Reader,
        sheet: Sheet,
        seconds: float,
        *,
        indexing: str = "",
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.values, self.reader, self.sheet, self.indexing = path, values, reader, sheet, indexing
        self._ends, self._stopped = [time.monotonic() + seconds], stopped
        reader.db.set_progress_handler(self.over, STEPS)

    def over(self) -> bool:
        """Whether the time is."""
        return time.monotonic() > self._ends[-1] or self._stopped()

    def __getitem__(self, name: str) -> str:
        """A parameter without the white space around it; "" when it was not given."""
        return self.values.get(name, "").strip()

    def rows(self, sql: str, parameters: Mapping[str, Any] | tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question to the crawl file; the SQL limits them."""
        return self.reader.db.execute(sql, parameters).fetchall()

    def at(self, **changes: str | None) -> str:
        """The address of this page with some parameters changed; None and "" leave one out."""
        return address(self.path, **{**self.values, **changes})

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What SQLite does inside ends after so long, with an OperationalError."""
        self._ends.append(min(self._ends[-1], time.monotonic() + seconds))
        try:
            yield
        finally:
            self._ends.pop()


View = Callable[[Asked], Shown]


def address(path: str, **values: str | None) -> str:
    """A path of ours with parameters."""
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
