"""What an export writes: whole or not at all, by one process at a time, and never in the place of what was not to be replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
import pytest

from crawler.cli.newfile import new_bytes, new_folder
from crawler.spec import BadSpec

KNOWN = "pages.jsonl"
New = Callable[..., AbstractContextManager[Any]]


def folder(target: Path, *, force: bool) -> AbstractContextManager[Path]:
    return new_folder(target, KNOWN, force=force)


def fill(made: Any, text: str) -> None:
    if isinstance(made, Path):
        (made / KNOWN).write_text(text)
    else:
        made.write(text.encode())


def content(target: Path) -> str:
    return (target / KNOWN if target.is_dir() else target).read_text()


@pytest.mark.parametrize("new", [new_bytes, folder])
def test_one_process_writes_a_target_at_a_time(new: New, tmp_path: Path) -> None:
    """A second export to the same place is refused while the first one writes, which then ends as if alone."""
    target = tmp_path / "out"
    with new(target, force=False) as made:
        fill(made, "first")
        with pytest.raises(click.UsageError, match="being written"), new(target, force=True):
            pass
    assert (content(target), os.listdir(tmp_path)) == ("first", ["out"])


@pytest.mark.parametrize("new", [new_bytes, folder])
def test_what_was_made_meanwhile_stays(new: New, tmp_path: Path) -> None:
    """Without --force nothing is replaced that came while the export was written."""
    target = tmp_path / "out"
    with pytest.raises(click.UsageError, match="exists"), new(target, force=False) as made:
        fill(made, "late")
        if new is folder:
            target.mkdir()
            (target / KNOWN).write_text("early")
        else:
            target.write_text("early")
    assert (content(target), os.listdir(tmp_path)) == ("early", ["out"])


def test_a_folder_that_cannot_be_exchanged_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second rename fails, or the process was killed before it, what was there before is there again."""
    target, replace = tmp_path / "out", Path.replace
    with folder(target, force=False) as made:
        fill(made, "before")

    def failing(self: Path, to: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(5, "broken")
        return replace(self, to)

    with monkeypatch.context() as patch, pytest.raises(BadSpec, match="broken"):
        patch.setattr(Path, "replace", failing)
        with folder(target, force=True) as made:
            fill(made, "after")
    assert content(target) == "before"
    target.replace(tmp_path / "out.old")
    with pytest.raises(click.UsageError, match="exists"), folder(target, force=False):
        pass
    assert (content(target), os.listdir(tmp_path)) == ("before", ["out"])


def test_a_folder_in_the_place_of_a_part_is_not_touched(tmp_path: Path) -> None:
    """It may be anybody's."""
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "mine").touch()
    with pytest.raises(click.UsageError, match="is a folder"), new_bytes(tmp_path / "out", force=True):
        pass
    assert (tmp_path / "out.part" / "mine").exists()
