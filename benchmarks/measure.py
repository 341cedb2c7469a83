"""What the benchmarks share: process trees, nginx on loopback, a real disk, medians, and how a result is printed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
SILENCE = 3.0  # s
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h

NGINX_CONF = """
worker_processes 1; daemon off; pid @DIR@/nginx.pid; error_log @DIR@/error.log warn;
events { worker_connections 4096; }
http {
  types { text/html html htm; text/css css; text/javascript js; text/plain txt py; image/png png; image/svg+xml svg;
          image/gif gif; application/xml xml; application/json json; }
  charset utf-8; default_type application/octet-stream; sendfile on; keepalive_requests 1000000;
  log_format seen '$msec\\t$status\\t$request_method\\t$request_uri\\t$http_referer';
  access_log @DIR@/access.log seen;
  client_body_temp_path @DIR@/t1; proxy_temp_path @DIR@/t2; fastcgi_temp_path @DIR@/t3; uwsgi_temp_path @DIR@/t4;
  scgi_temp_path @DIR@/t5;
  server { listen 127.0.0.1:@PORT@ backlog=4096; root @ROOT@; index index.html; }
}
"""


# --- where things are --------------------------------------------------------------------------------------------


def sibling(variable: str, *parts: str) -> Path | None:
    """A folder that is not part of the checkout: where ``variable`` points, or `../shared/...`; None if absent."""
    default = ROOT.parent.joinpath("shared", *parts)
    path = Path(os.environ.get(variable, default))
    return path if path.is_dir() else None


def bench_kit() -> Path | None:
    """The kit that makes the small web and holds the peers' programs."""
    return sibling("BENCH_KIT", "bench")


def conformance() -> Path | None:
    """The folder with the recorded truth about the real sites."""
    return sibling("CONFORMANCE", "conformance")


@contextlib.contextmanager
def real_disk() -> Iterator[Path]:
    """A fresh folder on a disk, not in memory: on tmpfs a commit costs nothing. Removed afterwards."""
    temporary = Path(tempfile.gettempdir())
    base = temporary if _kind_of(temporary) not in ("tmpfs", "ramfs") else Path("/var/tmp")
    folder = Path(tempfile.mkdtemp(prefix="poolcrawl-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kind_of(path: Path) -> str:
    """The type of the file system that holds a path, by the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(above)[1] if above else ""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# --- processes ---------------------------------------------------------------------------------------------------


def crawler(*arguments: str | Path) -> list[str]:
    """The command line of this checkout's crawler, under the interpreter that runs the benchmark."""
    return [sys.executable, "-m", "crawler", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Ours, with the checkout importable, and compiled once, as an installed package is (100 ms of each start)."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def resident(pid: int) -> int:
    """Bytes of a process that are in memory; 0 when it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far (10 ms steps); 0 when it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found


@dataclass
class Sampler:
    """Watches a process tree until it ends: memory of the main process and of all, CPU of each child."""

    pid: int
    every: float = 0.05
    began: float = field(default_factory=time.monotonic)
    main: list[tuple[float, int]] = field(default_factory=list)  # (s since the start, bytes)
    peak_tree: int = 0
    children: dict[int, float] = field(default_factory=dict)  # pid → the most CPU seconds seen
    _done: threading.Event = field(default_factory=threading.Event)

    @property
    def peak(self) -> int:
        """The most bytes the main process held."""
        return max((size for _, size in self.main), default=0)

    def __enter__(self) -> Sampler:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.every):
            family = tree(self.pid)
            sizes = [resident(pid) for pid in family]
            if sizes[0]:
                self.main.append((time.monotonic() - self.began, sizes[0]))
            self.peak_tree = max(self.peak_tree, sum(sizes))
            for pid in family[1:]:
                self.children[pid] = max(self.children.get(pid, 0.0), cpu_of(pid))


@dataclass(frozen=True, slots=True)
class Run:
    """A command that ended: wall and CPU seconds of its whole process tree, peak memory, exit code, what it said."""

    wall: float
    cpu: float
    code: int
    said: str
    watched: Sampler


def run(
    command: Sequence[str], *, cwd: Path = ROOT, timeout: float = 900, every: float = 0.05, quiet: Path | None = None
) -> Run:
    """Run a command to its end. CPU counts orphans too, for this process becomes their reaper (Linux).

    With ``quiet`` it is ended once that file has not grown for some seconds: for programs that do not end by themselves.
    """
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    known, before, began = _own_children(), _children_cpu(), time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with Sampler(process.pid, every) as watched:
            try:
                code = _until_quiet(process, quiet, timeout) if quiet else process.wait(timeout)
            except subprocess.TimeoutExpired:
                for pid in tree(process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                code = process.wait()
        wall = time.monotonic() - began
        _reap_orphans(known)
        output.seek(0)
        return Run(wall, _children_cpu() - before, code, output.read().decode("utf-8", "replace"), watched)


def _until_quiet(process: subprocess.Popen[bytes], file: Path, timeout: float) -> int:
    """The exit code; TimeoutExpired when the file, once there is something in it, has not grown for `SILENCE`."""
    size, grown, end = 0, time.monotonic(), time.monotonic() + timeout
    while process.poll() is None:
        time.sleep(0.1)
        now, before, size = time.monotonic(), size, file.stat().st_size if file.exists() else 0
        grown = now if size > before or not size else grown
        if now - grown > SILENCE or now > end:
            raise subprocess.TimeoutExpired(process.args, timeout)
    return process.returncode


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap_orphans(known: set[int], within: float = 3.0) -> None:
    """Wait for what the command left behind: our children that are not among those we knew before."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and (orphans := _own_children() - known):
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


def _own_children() -> set[int]:
    files = Path("/proc/self/task").glob("*/children")
    return {int(child) for children in files for child in children.read_text().split()}


# --- servers -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Seen:
    """A line of nginx's log: Unix s, status, method, request target, Referer ('-' without)."""

    at: float
    status: int
    method: str
    target: str
    referer: str


@dataclass(frozen=True)
class Nginx:
    """A running nginx; ``folder`` holds its configuration and logs."""

    folder: Path
    port: int

    def log(self) -> list[Seen]:
        """All requests so far, in order."""
        rows = (line.split("\t") for line in (self.folder / "access.log").read_text().splitlines())
        return [Seen(float(at), int(status), method, target, referer) for at, status, method, target, referer in rows]


def nginx_program() -> str | None:
    """Where nginx is; Debian keeps it out of a user's PATH."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(root: Path, folder: Path, port: int = 0) -> Iterator[Nginx]:
    """Serve a folder on 127.0.0.1 by an nginx of our own (own prefix, own logs), on the same port if one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    conf = NGINX_CONF
    for name, value in {"DIR": folder, "PORT": port, "ROOT": root}.items():
        conf = conf.replace(f"@{name}@", str(value))
    if os.geteuid() == 0:
        conf = "user root;" + conf
    (folder / "nginx.conf").write_text(conf)
    with running_nginx(folder / "nginx.conf", ("127.0.0.1", port)):
        yield Nginx(folder, port)


@contextlib.contextmanager
def running_nginx(conf: Path, address: tuple[str, int], *globals_: str) -> Iterator[int]:
    """nginx in the foreground with this configuration, answering at ``address``; gives its pid, ends it afterwards."""
    program = nginx_program()
    if program is None:
        raise SystemExit("nginx is not installed (Debian: apt-get install nginx-light)")
    more = [part for directive in globals_ for part in ("-g", directive)]
    command = [program, "-e", str(conf.parent / "start.log"), "-p", str(conf.parent), "-c", str(conf), *more]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_answering(process, address, conf.parent)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _until_answering(process: subprocess.Popen[bytes], address: tuple[str, int], folder: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            logs = [path.read_text() for path in (folder / "start.log", folder / "error.log") if path.exists()]
            raise SystemExit(f"nginx did not start: {' '.join(logs)}")
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return
        time.sleep(0.01)
    raise SystemExit(f"nginx does not answer at {address}")


# --- results -----------------------------------------------------------------------------------------------------


def median(values: Sequence[float], digits: int = 2) -> float:
    """The median, rounded."""
    return round(statistics.median(values), digits)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of y over x; 0 for fewer than two points."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def commit() -> str | None:
    """The checkout's commit, if it is one; with a plus sign if the program has been changed since."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "crawler", "storage"], cwd=ROOT, check=False)
    return found.stdout.strip() + "+" * bool(changed.returncode) or None


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with which libraries."""
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    names = ("aiohttp", "selectolax", "ada-url", "uvloop")
    libraries = {name: version(name) for name in names if find_spec(name.replace("-", "_"))}
    return {"cores": os.cpu_count(), "model": model, "kernel": platform.release(), "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version, **libraries}


def report(name: str, sentence: str, figures: dict[str, Any], ok: bool = True) -> int:
    """Print the figures as one line of JSON and say them in a sentence; gives the exit code.

    In the folder that BENCH_RESULTS names they are kept as NAME.json, for docs/generate.py.
    """
    found = {"benchmark": name, "ok": ok, **figures, "commit": commit(), "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    print(json.dumps(found | {"machine": machine()}), flush=True)
    print(("" if ok else "NOT AS PROMISED: ") + sentence, flush=True)
    if folder := os.environ.get("BENCH_RESULTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(found | {"said": sentence, "machine": machine()}, indent=1)
        (Path(folder) / f"{name}.json").write_text(text + "\n")
    return 0 if ok else 1
