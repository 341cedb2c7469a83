"""What is installed, and what starting it costs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("aiohttp", "selectolax", "rich", "sqlite3")


def test_the_wheel_holds_the_two_packages_and_nothing_else(tmp_path: Path) -> None:
    """crawler/ and storage/ as in the checkout, both py.typed and schema.sql among them; no tests, no benchmarks."""
    apart = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []  # else pip fetches it for the build
    command = [sys.executable, "-m", "build", "--wheel", *apart, "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"crawler", "storage"}
    assert {"crawler/py.typed", "storage/py.typed", "storage/schema.sql"} <= names
    source = {str(p.relative_to(ROOT)) for top in ("crawler", "storage") for p in (ROOT / top).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == source


def test_help_imports_nothing_heavy() -> None:
    """`crawler --help` does not pay for the fetch core, the parser, the terminal library or SQLite."""
    command = [sys.executable, "-X", "importtime", "-m", "crawler", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "crawler" in imported
    assert imported & set(HEAVY) == set()
