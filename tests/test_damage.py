"""storage.verify: a damaged file is refused, or crawled as if it were whole; never silently crawled to an end (FAULTS D12)."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage import StoreUnreadable, open_reader, verify
from storage.sqlite import SqliteStore
from storage.store import StoreError
from tests.conftest import long
from tests.settlements import NOW, link, page, place, queue, start
from tests.test_docs import ROOT
from tests.test_sqlite_store import whole_crawl

FLIPS = long(200, 2000)
VIEWS = ("pages", "redirects", "failures", "skipped", "queue", "fetches", "links", "hosts")
SEEDS = tuple(place(f"/{n}") for n in range(60))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some hundred rows of every kind on some twenty pages of SQLite, folded into one."""
    file = tmp_path_factory.mktemp("whole") / "crawl.db"
    asyncio.run(_make(file))
    return file


async def _make(file: Path) -> None:
    async with SqliteStore(file) as store:
        await whole_crawl(store)
        await start(store, *SEEDS)
        rows = [row for row in await queue(store) if row.place.path[1:].isdigit()]
        found = [page(r, *(link(f"/x{r.id}-{n}") for n in range(5)), content=b"x" * 900) for r in rows[:30]]
        await store.commit(found, now=NOW)
        await store.end("interrupted", now=NOW)


def counts(file: Path) -> dict[str, int]:
    """Rows of each view, read one by one."""
    with open_reader(file) as reader:
        return {view: sum(1 for _ in reader.query(f"SELECT * FROM {view}")[1]) for view in VIEWS}


async def crawled(file: Path) -> dict[str, int]:
    """What the views hold after a run on this file that settles what is queued. Raises StoreError when it is refused."""
    async with SqliteStore(file) as store:
        await start(store, *SEEDS)
        await store.commit([page(row) for row in await queue(store)], now=NOW)
        await store.end("complete", now=NOW)
    return counts(file)


async def test_d12_no_flipped_byte_ends_in_silence(whole: Path, tmp_path: Path) -> None:
    """200 files with one byte changed (2,000 in the long form): each is refused with a StoreError that names it and how
    to recover it; or its run ends with as many rows in every view as that of the whole file, or says what is queued."""
    rng, content = random.Random(12), whole.read_bytes()
    shutil.copy(whole, tmp_path / "good.db")
    good, refused = await crawled(tmp_path / "good.db"), 0
    memory = Path("/dev/shm")  # a second of fsyncs is saved where it is there
    file = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path)) / "bad.db"
    for _ in range(FLIPS):
        at = rng.randrange(len(content))
        bad = bytearray(content)
        bad[at] ^= rng.randrange(1, 256)
        for path in file.parent.glob("bad.db*"):
            path.unlink()
        file.write_bytes(bad)
        try:
            found = await crawled(file)
        except (StoreError, sqlite3.Error) as error:
            refused += 1
            assert str(file) in str(error) or isinstance(error, sqlite3.Error), at  # noqa: PT017
        else:
            waiting = found["queue"]  # a flipped time: the row is still queued, which is exit code 3 and no silence
            late = {"queue": waiting, "pages": good["pages"] - waiting, "fetches": good["fetches"] - waiting}
            assert found == good | late, f"byte {at} of {len(content)}: {content[at]} became {bad[at]}"
    shutil.rmtree(file.parent)
    assert 0 < refused < FLIPS


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE url SET outcome = 'qage' WHERE id = (SELECT min(id) FROM url WHERE outcome = 'page')",
        "UPDATE host SET pages = pages + 1",
        "DELETE FROM url WHERE id = (SELECT max(id) FROM url)",
        "UPDATE fetch SET url = 99999 WHERE id = 1",
        "UPDATE link SET dst = 99999 WHERE (src, dst, kind) = (SELECT src, dst, kind FROM link LIMIT 1)",
    ],
)
async def test_d12_rows_that_contradict_each_other_are_refused(whole: Path, tmp_path: Path, sql: str) -> None:
    """What SQLite's own check cannot see: counters, views and tables that disagree. Refused, and the file left as it is."""
    file = tmp_path / "bad.db"
    shutil.copy(whole, file)
    with closing(sqlite3.connect(file)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(sql)
        for _, definition in triggers:
            db.execute(definition)
        db.commit()
    before = file.read_bytes()
    with pytest.raises(StoreUnreadable, match=r"damaged.*\.recover"):
        await crawled(file)
    assert file.read_bytes() == before


def test_d12_the_check_is_bounded(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 5 s at most: what it has not found when its time is over it does not find."""
    assert verify.SECONDS <= 5
    monkeypatch.setattr(verify, "OPS", 10)
    file = tmp_path / "bad.db"
    shutil.copy(whole, file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE host SET pages = pages + 1")
        db.commit()
    assert verify.Verification(file).run() is not None
    assert verify.Verification(file, 0.0).run() is None


def test_d12_a_file_that_is_moved_away_meanwhile_is_no_bug(whole: Path, tmp_path: Path) -> None:
    """The check finds nothing where nothing is; the run goes on with the file that it has open."""
    gone = verify.Verification(tmp_path / "gone.db")
    assert not gone.large
    assert gone.run() is None


@pytest.mark.parametrize(
    "sql", ["DROP INDEX url_queue", "DROP TRIGGER url_moved", "DROP VIEW links", "DROP VIEW links; CREATE VIEW links AS SELECT 1"]
)
async def test_d12_a_changed_definition_is_refused(whole: Path, tmp_path: Path, sql: str) -> None:
    """Views, triggers and indexes are those of this version, to the letter."""
    file = tmp_path / "bad.db"
    shutil.copy(whole, file)
    with closing(sqlite3.connect(file)) as db:
        db.executescript(sql)
    with pytest.raises(StoreUnreadable, match="definition"):
        await crawled(file)


async def test_d12_what_recovery_saves_can_be_crawled(whole: Path, tmp_path: Path) -> None:
    """Rows that `.recover` could not save: after the statements that docs/operations.md gives, the crawl goes on, and fetches
    again what has lost its answer."""
    file = tmp_path / "recovered.db"
    shutil.copy(whole, file)
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    with closing(sqlite3.connect(file)) as db:
        db.execute("DELETE FROM fetch WHERE id % 3 = 0")
        db.execute("DELETE FROM url WHERE id % 7 = 0 AND last IS NULL")
        db.execute("DELETE FROM link WHERE src % 5 = 0")
        db.commit()
    with pytest.raises(StoreUnreadable, match=r"\.recover"):
        await crawled(file)
    with closing(sqlite3.connect(file)) as db:
        db.executescript(text.split("```sql\n")[1].split("```")[0])
    assert (await crawled(file))["pages"] > 60


def test_d7_d12_a_large_file_is_not_checked_in_a_step_that_cannot_be_broken_off(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 256 MiB neither quick_check nor integrity_check is asked for: who wants to leave would wait for them (12 s for
    ten million URLs). What the file says twice is compared all the same, for 1 s."""
    file = tmp_path / "bad.db"
    shutil.copy(whole, file)
    asked: list[str] = []

    def connect(*arguments: Any, **more: Any) -> sqlite3.Connection:
        db = sqlite3.connect(*arguments, **more)
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr(verify, "sqlite3", SimpleNamespace(**vars(sqlite3) | {"connect": connect}))
    monkeypatch.setattr(verify, "LARGE", 1000)
    verify.definitions()
    assert verify.Verification(file).run() is None
    assert not [sql for sql in asked if "_check" in sql]
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE host SET pages = pages + 1")
        db.commit()
    assert verify.Verification(file).run() is not None
