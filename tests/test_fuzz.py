"""The fuzzer's corpus again, and the fuzzer itself (FAULTS P8, P9, H12, U8). `make fuzz` runs it for minutes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests import fuzz
from tests.conftest import long
from tests.fuzz_targets import CORPUS, TARGETS, Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits are Linux's")


@pytest.mark.parametrize("name", TARGETS)
def test_p9_u8_h12_no_input_of_the_corpus_breaks_a_promise(name: str) -> None:
    """What fuzzing has found once is tried for ever: nothing is raised, and 64 kB take at most the target's CPU time."""
    target = TARGETS[name]
    found = sorted(CORPUS.joinpath(name).iterdir())
    assert found
    for path in found:
        start = time.thread_time()
        target.check(path.read_bytes())
        assert time.thread_time() - start <= target.seconds, path


@pytest.mark.parametrize("name", TARGETS)
def test_p9_u8_h12_mutations_break_no_promise(name: str) -> None:
    """Half a second of fuzzing each (120 s in the long form): 0 inputs that raise, hang or end the process."""
    found = fuzz.fuzz(name, long(1, 240) / 2, seed=long(0, os.getpid()))
    assert found.faults == []
    assert found.executions > 20


def planted(deed: bytes) -> Target:
    """A target that breaks its promise in one of four ways, at inputs the mutations must find."""

    def check(data: bytes) -> None:
        if deed not in data:
            return
        if deed == b"die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if deed == b"raise":
            raise KeyError("planted")
        end = time.thread_time() + (60.0 if deed == b"hang" else 0.15)
        while time.thread_time() < end:
            pass

    return Target(check, (b"di", b"e", b"rai", b"se", b"sl", b"ow", b"han", b"g"), seconds=0.1)


@pytest.mark.parametrize(
    ("deed", "word"), [("raise", "KeyError at test_fuzz.py"), ("die", "SIGSEGV"), ("hang", "SIGPROF"), ("slow", "CPU")]
)
def test_the_fuzzer_finds_what_is_planted(
    deed: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception, a death, a hang and a slow answer are each found within 3 s, and the input that did it is kept."""
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path)
    monkeypatch.setattr(fuzz, "HANG", 0.1)
    monkeypatch.setattr(fuzz, "ENOUGH", 1)
    found = fuzz.fuzz("planted", 3.0, target=planted(deed.encode()))
    assert word in found.faults[0]
    assert deed.encode() in next((tmp_path / "planted").iterdir()).read_bytes()
