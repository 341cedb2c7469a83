"""Makes the pictures of README.md from real runs: a terminal with tmux, a report with Chromium. Look at them afterwards.

    python docs/pictures.py         # needs tmux and chromium on the path, and port 8080
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": PATH, "PS1": "$ "}
CRAWL = "crawler crawl http://127.0.0.1:8080/ --delay 0.1"
ASK = 'crawler query crawl.db "SELECT dst, status, text FROM broken_links"'
WIDTH, HEIGHT = 100, 30  # of the terminal
PAGE = (1000, 1150)  # of the report, in pixels
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-scrollbars")


class Terminal:
    """A shell in tmux, typed into and looked at."""

    def __init__(self, folder: Path) -> None:
        self._tmux = ("tmux", "-L", f"pictures-{os.getpid()}")
        self._do("-f", "/dev/null", "new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(folder), "bash", "--norc")

    def type(self, line: str, until: str) -> str:
        """Type a line, wait until it has shown what the pattern says; the screen with its colours."""
        self._do("send-keys", line, "Enter")
        for _ in range(600):
            if re.search(until, self._do("capture-pane", "-p")):
                return self._do("capture-pane", "-p", "-e").rstrip()
            time.sleep(0.1)
        raise TimeoutError(f"{line!r} did not show {until!r}")

    def close(self) -> None:
        self._do("kill-server")

    def _do(self, *command: str) -> str:
        return subprocess.run([*self._tmux, *command], env=ENV, check=True, capture_output=True, text=True).stdout


def drawn(name: str, title: str, screen: str) -> None:
    """The screen as SVG; its fonts are the reader's, as nothing is loaded from elsewhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(f"{screen}\n"))
    svg = console.export_svg(title=title, unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.S).replace("Fira Code, monospace", "ui-monospace, monospace")
    (PICTURES / f"{name}.svg").write_text(re.sub(r" +$", "", svg, flags=re.M), "utf-8")


@contextmanager
def web() -> Iterator[None]:
    """The demo's, on port 8080."""
    served = subprocess.Popen([sys.executable, "-m", "crawler", "demo", "--serve"], env=ENV, stdout=subprocess.PIPE)
    try:
        assert served.stdout is not None
        if not served.stdout.readline():
            sys.exit("port 8080 is needed for the demo's web")
        yield
    finally:
        served.terminate()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, web():
        folder = Path(name)
        terminal = Terminal(folder)
        try:
            drawn("crawling", "while it crawls", terminal.type(CRAWL, r"pages +4\d "))
            terminal.type("", "ask it:")
            terminal.type("clear", r"\A\$\s*\Z")
            drawn("asked", "when it is done", terminal.type(ASK, "errata"))
            terminal.type("crawler report crawl.db", "open it in a browser")
        finally:
            terminal.close()
        shoot(folder / "report.html", PICTURES / "report.png")


def shoot(page: Path, picture: Path) -> None:
    """The upper part of a page, as Chromium shows it."""
    program = shutil.which(CHROMIUM[0]) or "chromium-browser"
    subprocess.run([program, *CHROMIUM[1:], f"--user-data-dir={page.parent}/chromium", f"--screenshot={picture}",
                    f"--window-size={PAGE[0]},{PAGE[1]}", page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
