"""A fuzzer for the readers of what the web sends. No promise of `tests/fuzz_targets.py` may break, none may take long.

    python -m tests.fuzz --seconds 120                     # each target in turn
    python -m tests.fuzz --seconds 600 --keep url html     # inputs that reached new lines join tests/corpus/

Inputs are mutations of tests/corpus/TARGET/*; some runs are traced, and what reaches a line of ours not seen before
is mutated further. Each target runs in a child under the kernel's limits, so a hang or a crash in native code is found
as well. What broke a promise is saved in the corpus, which `tests/test_fuzz.py` replays.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz_targets import CORPUS, TARGETS, Target

LONGEST = 64 << 10  # bytes of an input
USUAL = 1024  # of most: short ones reach as much code, and many more are tried
MEMORY = 1 << 30  # bytes of address space, as a parse worker has
HANG = 2.0  # s of CPU beyond a target's own, then the kernel ends it
TRACED = 8  # one run in so many is traced: it takes ten times as long
ENOUGH = 20  # faults of one target: more say nothing new
OURS = (str(Path(__file__).parent.parent / "crawler"), str(Path(__file__).parent.parent / "storage"))
_STATE = struct.Struct("=QdI")  # executions, worst seconds, length of the input in hand


@dataclass
class Found:
    """What fuzzing one target came to. ``worst``: CPU seconds of the slowest input that ended."""

    target: str
    executions: int = 0
    worst: float = 0.0
    faults: list[str] = field(default_factory=list)
    survived: int = 0  # hangs and deaths of native code, which the parse workers' limits hold

    def line(self) -> str:
        return json.dumps({"fuzz": self.target, "executions": self.executions, "worst_ms": round(self.worst * 1000, 1),
                           "survived": self.survived, "faults": self.faults})


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.joinpath(name).glob("*"))]


def save(folder: Path, kind: str, data: bytes) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path.name


class Mutator:
    """Makes new inputs of old ones: bits, words, repeats, cuts and splices, several at once."""

    def __init__(self, words: tuple[bytes, ...], seed: int) -> None:
        self._words = words
        self._dice = random.Random(seed)

    def mutate(self, population: list[bytes]) -> bytes:
        dice = self._dice
        data = bytearray(dice.choice(population))
        for _ in range(dice.choice((1, 1, 2, 4, 8))):
            at = dice.randrange(len(data) + 1)
            end = min(len(data), at + dice.choice((1, 2, 8, 64, 1024)))
            match dice.randrange(7):
                case 0 if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
                case 1:
                    data[at:end] = dice.randbytes(dice.choice((0, 1, 2, 8)))
                case 2 | 3:
                    data[at:at] = dice.choice(self._words)
                case 4:
                    data[at:at] = bytes(data[at:end]) * dice.choice((1, 2, 30, 1000))
                case 5:
                    data[at:end] = b""
                case _:
                    other = dice.choice(population)
                    data[at:] = other[dice.randrange(len(other) + 1) :]
        return bytes(data[: LONGEST if dice.randrange(16) == 0 else USUAL])


class Lines:
    """The lines of our own code that have been reached."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()

    def new(self, check: Any, data: bytes) -> bool:
        """Run the check traced; whether it reached what none before did."""
        before = len(self._seen)
        sys.settrace(self._call)
        try:
            check(data)
        finally:
            sys.settrace(None)
        return len(self._seen) > before

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(OURS) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


@dataclass
class Child:
    """The process that runs one target's inputs; what it has in hand is in memory its parent sees too."""

    name: str
    target: Target
    shared: mmap.mmap
    report: int  # a pipe
    keep: bool
    _faults: set[str] = field(default_factory=set)

    def run(self, seconds: float, seed: int) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        executions, worst, _ = _STATE.unpack_from(self.shared)
        mutator, lines, end = Mutator(self.target.words, seed), Lines(), time.monotonic() + seconds
        population = [b"", *corpus(self.name)]
        waiting = list(population)
        while time.monotonic() < end and len(self._faults) < ENOUGH:
            data = waiting.pop() if waiting else mutator.mutate(population)
            self.shared[_STATE.size : _STATE.size + len(data)] = data
            _STATE.pack_into(self.shared, 0, executions := executions + 1, worst, len(data))
            worst = max(worst, self._once(data))
            if executions % TRACED == 0 and self._reaches(lines, data):
                population.append(data)

    def _once(self, data: bytes) -> float:
        """One run of the check; the CPU seconds it took."""
        took = self._timed(data)
        if took > self.target.seconds and not self.target.native:
            took = min(took, self._timed(data), self._timed(data))  # a busy machine slows a run, not three
            if took > self.target.seconds:
                self._fault("slow", f"more than {self.target.seconds} s of CPU", data)
        return took

    def _timed(self, data: bytes) -> float:
        signal.setitimer(signal.ITIMER_PROF, self.target.seconds + HANG)
        start = time.thread_time()
        try:
            self.target.check(data)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            self._fault("fault", f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", data)
        return time.thread_time() - start

    def _reaches(self, lines: Lines, data: bytes) -> bool:
        signal.setitimer(signal.ITIMER_PROF, 10 * (self.target.seconds + HANG))
        with contextlib.suppress(Exception):
            if lines.new(self.target.check, data):
                if self.keep and len(data) <= USUAL:
                    save(CORPUS / self.name, "line", data)
                return len(data) <= 4 * USUAL
        return False

    def _fault(self, kind: str, what: str, data: bytes) -> None:
        if what not in self._faults:
            self._faults.add(what)
            os.write(self.report, f"{what} ({save(CORPUS / self.name, kind, data)})\n".encode())


def fuzz(name: str, seconds: float, *, seed: int = 0, keep: bool = False, target: Target | None = None) -> Found:
    """Fuzz one target for so long, in as many children as it takes."""
    found, end = Found(name), time.monotonic() + seconds
    target = target or TARGETS[name]
    shared = mmap.mmap(-1, _STATE.size + LONGEST)
    ours, theirs = os.pipe()
    while (left := end - time.monotonic()) > 0 and len(found.faults) < ENOUGH:
        status = _child(Child(name, target, shared, theirs, keep), left, seed + found.survived + len(found.faults))
        if status == 0:
            break
        _, _, size = _STATE.unpack_from(shared)
        data = shared[_STATE.size : _STATE.size + size]
        what = signal.Signals(-status).name if status < 0 else f"exit {status}"
        if target.native:
            found.survived += 1
        else:
            found.faults.append(f"{what} ({save(CORPUS / name, what.lower().replace(' ', '-'), data)})")
    os.close(theirs)
    with open(ours) as pipe:
        found.faults += pipe.read().splitlines()
    found.executions, found.worst, _ = _STATE.unpack_from(shared)
    return found


def _child(child: Child, seconds: float, seed: int) -> int:
    """Run it in a process of its own; 0, an exit code, or minus the signal that ended it."""
    pid = os.fork()
    if not pid:
        code = 1
        faulthandler.disable()  # pytest's would explain each planted death
        try:
            child.run(seconds, seed)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="save inputs that reach new lines in tests/corpus/")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all of them if none is named")
    wanted = parser.parse_args()
    bad = 0
    for name in wanted.targets or TARGETS:
        found = fuzz(name, wanted.seconds, seed=wanted.seed, keep=wanted.keep)
        print(found.line(), flush=True)
        bad += len(found.faults)
    print(f"{'NOT AS PROMISED: ' if bad else ''}{bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
