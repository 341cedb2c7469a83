"""What is installed, and what starting it costs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from crawler.spec import VERSION
from tests.conftest import Serve
from tests.web import Site, page

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("aiohttp", "selectolax", "rich", "sqlite3")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    apart = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []  # else pip fetches it for the build
    run(sys.executable, "-m", "build", *apart, "--outdir", str(out), str(ROOT))
    return out


def test_the_wheel_holds_the_two_packages_and_the_manual_page(built: Path) -> None:
    """crawler/ and storage/ as in the checkout, both py.typed and schema.sql among them; no tests, no benchmarks."""
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    beside = {name for name in names if name.partition("/")[0] not in ("crawler", "storage")}
    assert beside == {f"poolcrawl-{VERSION}.data/data/share/man/man1/crawler.1"}
    source = {str(path.relative_to(ROOT)) for top in ("crawler", "storage") for path in (ROOT / top).rglob("*")
              if path.is_file() and path.suffix != ".pyc"}
    assert names - beside == source
    assert {"crawler/py.typed", "storage/py.typed", "storage/schema.sql"} <= names


def test_the_sdist_is_the_checkout(built: Path) -> None:
    """Every file that git knows, but .gitignore and .gitattributes: tests and documentation can be run from it."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    known = set(run("git", "-C", str(ROOT), "ls-files").splitlines())
    assert known - names <= {".gitattributes"}


async def test_it_can_be_installed_and_run_where_nothing_else_is(serve: Serve, built: Path, tmp_path: Path) -> None:
    """From the wheel, in an environment of its own: it is that very package, and crawls, with its parse workers."""
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "clean"))
    python = tmp_path / "clean" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    there = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (there / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # what it depends on, as it is installed here
    command = str(tmp_path / "clean" / "bin" / "crawler")
    assert run(command, "--version").startswith(f"poolcrawl {VERSION}\n")
    assert str(there) in run(str(python), "-c", "import crawler; print(crawler.__file__)")
    web = await serve(Site({"/": page("/a"), "/a": page()}))
    summary = await asyncio.to_thread(run, command, "crawl", web.url(), "-o", str(tmp_path / "a.db"), "--delay", "0", "--json")
    assert json.loads(summary)["counts"]["pages"] == 2


def run(*command: str) -> str:
    """What it prints; it must succeed."""
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd="/", env=outside, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_is_not_root_and_stops_cleanly() -> None:
    """Dockerfile: the last stage names a user, a volume and the stop signal, and copies nothing but what was built."""
    last = (ROOT / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
    said = dict(re.findall(r"^([A-Z]+) (.*)$", last, re.M))
    assert said["USER"].split(":")[0] not in ("", "0", "root")
    assert (said["VOLUME"], said["WORKDIR"], said["STOPSIGNAL"], said["ENTRYPOINT"]) == (
        "/crawl", "/crawl", "SIGTERM", '["crawler"]')
    assert re.findall(r"^(?:COPY|ADD) (.*)$", last, re.M) == ["--from=build /opt/poolcrawl /opt/poolcrawl"]


def test_the_manual_page_is_in_order() -> None:
    """mandoc finds nothing to say of docs/crawler.1 but that it has no date: it is that of the command line."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", ROOT / "docs" / "crawler.1"], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_help_imports_nothing_heavy() -> None:
    """`crawler --help` does not pay for the fetch core, the parser, the terminal library or SQLite."""
    command = [sys.executable, "-X", "importtime", "-m", "crawler", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "crawler" in imported
    assert imported & set(HEAVY) == set()
