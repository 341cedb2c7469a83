"""Shells complete commands, options, values, files and the names of questions (docs/cli.md, "Shell completion")."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.killing import environment

ASKED = [  # what is typed, what is offered
    ("crawler que", {"query"}),
    ("crawler crawl --sco", {"--scope"}),
    ("crawler crawl --scope d", {"domain"}),
    ("crawler query crawl.db missing", {"missing-titles"}),
    ("crawler status se", {"seeds.txt"}),
    ("crawler crawl se", {"seeds.txt"}),
    ("crawler crawl --exclude-file se", {"seeds.txt"}),
]
BASH = """source ./completion
COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); word=${{COMP_WORDS[COMP_CWORD]}}
compopt() {{ COMPREPLY=($(compgen -f -- "$word")); }}  # of a line that is edited; this one is not
_crawler_completion crawler; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """compdef() {{ : }}; source ./completion
words=({line}); CURRENT=${{#words}}
_describe() {{ print -rl -- ${{${{(P)3}}%%:*}} }}
compadd() {{ print -rl -- ${{(P)5}} }}
_path_files() {{ print -rl -- ${{words[CURRENT]}}*(N) }}
_crawler_completion
"""
FISH = "source ./completion; complete -C '{line}' | string replace -r '\\t.*' ''"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `crawler` on its own path, and one file to be completed."""
    (tmp_path / "seeds.txt").touch()
    program = tmp_path / "bin" / "crawler"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom crawler.__main__ import main\nmain()\n")
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("line", "offered"), ASKED, ids=[line for line, _ in ASKED])
@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)], ids=["bash", "zsh", "fish"])
def test_a_shell_completes(folder: Path, shell: str, script: str, line: str, offered: set[str]) -> None:
    """With the script that `crawler` prints for it, a shell offers exactly what can stand there."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    source = run(folder, ["crawler"], _CRAWLER_COMPLETE=f"{shell}_source")
    (folder / "completion").write_text(source)
    assert set(run(folder, [shell, "-c", script.format(line=line)]).split()) == offered


def run(folder: Path, command: list[str], **more: str) -> str:
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    done = subprocess.run(command, cwd=folder, env={**environment(), "PATH": path, "HOME": str(folder), **more},
                          capture_output=True, text=True, check=False, timeout=20)
    assert done.stderr == ""
    return done.stdout
