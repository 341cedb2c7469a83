"""What we depend on is known to the byte, and nothing phones home or listens."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from crawler.versions import outdated, versions
from tests.commands import Hanging, running, sh, until
from tests.conftest import Serve
from tests.web import Site, page

ROOT = Path(__file__).resolve().parent.parent


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def test_v6_every_dependency_is_locked_with_hashes() -> None:
    """requirements.lock holds each dependency at its floor or above, each with the SHA-256 of its files."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    locked = {n: (v, rest) for n, v, rest in re.findall(r"^([\w.-]+)==([\w.]+)(.*\n(?: .*\n)*)", text, re.M)}
    assert all("--hash=sha256:" in rest for _, rest in locked.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    for requirement in wanted:
        name, floor = re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", requirement).groups()  # type: ignore[union-attr]
        name = name.replace(".", "-")
        assert name in locked, name
        assert numbers(locked[name][0]) >= numbers(floor), name


def test_v6_floors_stand_at_the_fixes() -> None:
    """pyproject.toml asks for aiohttp 3.14.5, brotli 1.2.0 and idna 3.15 or later."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    floors = dict(re.match(r"([\w.-]+)>=([\w.]+)", d).groups() for d in dependencies)  # type: ignore[union-attr]
    for name, floor in (("aiohttp", "3.14.5"), ("brotli", "1.2.0"), ("idna", "3.15")):
        assert numbers(floors[name]) >= numbers(floor)


def test_v6_the_machines_own_libraries_are_named_when_old() -> None:
    """`crawler --version` says what it runs on, and on stderr what is older than Python 3.11.12, expat 2.7.2, SQLite 3.51.3."""
    done = sh("--version")
    assert done.code == 0
    assert done.out.startswith("poolcrawl 0.1.0\n")
    assert set(done.err.splitlines()) == {f"note: {sentence}" for sentence in outdated(versions())}
    good = {"Python": "3.11.12", "expat": "2.7.2", "SQLite": "3.51.3", "aiohttp": "3.14.5"}
    assert list(outdated(good)) == []
    for name, old in (("Python", "3.11.7"), ("expat", "2.6.9"), ("SQLite", "3.51.2")):
        (said,) = outdated(good | {name: old})
        assert said.startswith(f"{name} {old} is older than {good[name]}")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
async def test_v6_a_crawl_listens_on_no_port_and_talks_to_nobody_else(serve: Serve, crawl_file: Path) -> None:
    """While it crawls, neither the crawler nor a parse worker has a listening or bound-for-all socket, and every connection
    goes to the web that is crawled: no telemetry."""
    hanging = Hanging()
    web = await serve(Site({"/": hanging, "/late": page()}))
    async with running("crawl", web.url(), "-o", crawl_file, "--parse-workers", "2", "--progress", "none") as process:
        await until(lambda: hanging.asked)
        ours = {inode for pid in family(process.pid) for inode in sockets(pid)}
        rows = [line.split() for kind in ("tcp", "tcp6", "udp", "udp6")
                for line in Path(f"/proc/{process.pid}/net/{kind}").read_text("ascii").splitlines()[1:]]
        found = [(row[2], row[3]) for row in rows if row[9] in ours]
        hanging.go.set()
        await asyncio.wait_for(process.wait(), 20)
    listening = [row for row in found if row[1] == "0A"]
    ports = {int(remote.rpartition(":")[2], 16) for remote, state in found if state != "0A"}
    assert (listening, ports) == ([], {web.port})


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *map(int, children)]


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found |= set(re.findall(r"^socket:\[(\d+)\]$", str(link.readlink())))
        except OSError:
            continue
    return found
