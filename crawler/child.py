"""Processes of our own: how one is started, and that it ends with whoever started it."""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in this interpreter, with `environment`. Without ``-P`` it would look for modules in the
    current folder first, whose `queue.py` may be anybody's."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Ours, with our import path: the process finds what we find."""
    path = [os.path.abspath(p) for p in sys.path]  # '' is the current folder
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def die_with(parent: int) -> None:
    """From now on the kernel kills this process when the thread ends that started it (Linux; elsewhere nothing)."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)
