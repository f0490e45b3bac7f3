"""kill -9 at a hundred moments of a recording: what is lost, and does the recording go on?

    python -m benchmarks.kills                                   # 100 kills, 2 minutes
    python -m benchmarks.kills --kills 20 --lerobot /path/to/lerobot-venv/bin/python

A process records sessions without end: open or resume, episodes with pauses, discards and redos, save, close, again.
It is killed at a drawn moment of a drawn stage (open, add, save, redo, close). Then smolkit's reader opens what is
there and compares every row and every picture; the next process goes on in the same folder. Every tenth time LeRobot
itself reads it, too. Lost may be the running episode, and nothing else: exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import lerobot_reads_ours
from benchmarks.measured import Row, keep
from smolkit.cameras.camera import Observation
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder
from smolkit.report import SmolkitError
from smolkit.teleop.loop import Step
from tests.data.recording import FPS, ROLES, picture

STAGES = ("open", "add", "save", "redo", "close")
FRESH_EVERY, LEROBOT_EVERY = 20, 10               # kills


def step(serial: int, index: int) -> Step:
    """A step whose numbers and pictures tell the episode's serial number."""
    images = {role.name: picture(role, serial, index) for role in ROLES}
    seen = Observation(np.full(6, float(serial)), images, "push", index / FPS, {name: index / FPS for name in images})
    return Step(index, seen, np.full(6, serial + index / 1000))


def length(serial: int) -> int:
    return 4 + serial * 7 % 23


def record(root: Path, serial: int, seed: int, say: Callable[[str], None]) -> None:
    """Sessions without end, each stage announced before it begins, saves and redos when they are done."""
    random = np.random.default_rng(seed)
    while True:
        say("open")
        with Recorder(root, fps=FPS, cameras=ROLES, task="push") as recorder:
            undoable = False
            for _ in range(random.integers(1, 4)):
                if undoable and random.random() < 0.4:
                    say("redo")
                    recorder.redo()
                    say("redone")
                else:
                    recorder.begin()
                undoable, serial = False, serial + 1
                say("add")
                for index in range(length(serial)):
                    recorder.add(step(serial, index))
                    if random.random() < 0.05:
                        recorder.pause()
                        recorder.go_on()
                if random.random() < 0.1:
                    recorder.discard()
                    continue
                say(f"save {serial}")
                recorder.save()
                say("saved")
                undoable = True
            say("close")


def forked(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """(process id, file to read its lines from) of a child that works; whatever it raises is its last line."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read

    def say(line: str) -> None:
        os.write(write, line.replace("\n", " ").encode() + b"\n")

    try:
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: say(f"told {message}")
        work(say)
    except BaseException as error:
        say(f"error {type(error).__name__} {error}")
    finally:
        os._exit(0)


def lines(file: int, seconds: float) -> Iterator[str]:
    """What a child says, until it ends or the time is over."""
    text, end_s = b"", time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0 and select.select([file], [], [], left_s)[0]:
        more = os.read(file, 1 << 16)
        if not more:
            return
        *whole, text = (text + more).split(b"\n")
        yield from (line.decode() for line in whole)


class Ledger:
    """The serials that must be in the dataset; while a save or a redo runs, those that may be there instead."""

    def __init__(self, told: Counter[str]) -> None:
        self.told = told
        self.sure: list[int] = []
        self.maybe: list[int] | None = None
        self.serial = 0

    def hear(self, line: str) -> None:
        what, _, rest = line.partition(" ")
        if what == "error":
            raise SystemExit(f"the recording failed by itself: {rest}")
        if what == "told":
            self.told[next((word for word in ("completed", "removed", "was killed here") if word in rest), rest)] += 1
        if what in ("save", "redo"):
            self.maybe = [*self.sure, int(rest)] if what == "save" else self.sure[:-1]
            self.serial = max(self.serial, int(rest or 0))
        elif what in ("saved", "redone"):
            self.sure, self.maybe = self.maybe, None

    def settle(self, found: list[int]) -> bool:
        """What was found is what must be there; True where an unacknowledged change is in it."""
        if found not in (self.sure, self.maybe):
            raise SystemExit(f"LOST: {found} is there, {self.sure} was acknowledged, {self.maybe} was being made")
        changed, self.sure, self.maybe = found != self.sure, found, None
        return changed


def kill_once(root: Path, ledger: Ledger, seed: int, stage: str, longest_s: float) -> None:
    """A recording that is killed a random while after it began a stage."""
    random = np.random.default_rng(seed)
    nth, after_s = int(random.integers(1, 4)), random.uniform(0, longest_s)
    pid, file = forked(lambda say: record(root, ledger.serial, seed, say))
    try:
        for line in lines(file, 60):
            ledger.hear(line)
            nth -= line.split()[0] == stage
            if nth == 0:
                break
        else:
            raise SystemExit(f"no {stage} in a minute")
        time.sleep(after_s)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for line in lines(file, 5):
        ledger.hear(line)
    os.close(file)


def serials(root: Path) -> list[int]:
    """The episodes that are there, each compared whole."""
    try:
        dataset = Dataset(root)
    except SmolkitError as error:
        if error.code in ("SK401", "SK408"):      # killed before the first episode
            return []
        raise
    found = [int(dataset.columns["action"][start, 0]) for start in dataset.starts[:-1]]
    shown = {role: dataset.frames(role.feature, np.arange(len(dataset))) for role in ROLES}
    for episode, serial in zip(dataset.episodes, found, strict=True):
        rows = dataset.positions(episode.index)
        wanted = [step(serial, index) for index in range(length(serial))]
        assert np.allclose(dataset.columns["action"][rows.start:rows.stop], [one.action_deg for one in wanted]), serial
        for role in ROLES:
            drawn = np.stack([one.observation.images[role.name] for one in wanted]).astype(float)
            assert np.abs(shown[role][rows.start:rows.stop] - drawn).mean((1, 2, 3)).max() < 4, (serial, role.name)
    return found


def checked(root: Path, ledger: Ledger) -> bool:
    """Reads in a process of its own, so that this one never starts a library's threads before it forks."""
    pid, file = forked(lambda say: say(" ".join(["found", *map(str, serials(root))])))
    heard = list(lines(file, 60))
    os.waitpid(pid, 0)
    os.close(file)
    for line in heard[:-1]:
        ledger.hear(line)
    if not heard or not heard[-1].startswith("found"):
        raise SystemExit(f"the reader failed: {heard}")
    return ledger.settle([int(word) for word in heard[-1].split()[1:]])


def durations(root: Path) -> dict[str, float]:
    """How long each stage takes, from a recording that is left alone for a while; seconds."""
    pid, file = forked(lambda say: record(root, 0, 1, say))
    last, longest = ("open", time.monotonic()), dict.fromkeys(STAGES, 0.01)
    for line in lines(file, 6):
        what, now_s = line.split()[0], time.monotonic()
        if last[0] in STAGES:
            longest[last[0]] = max(longest[last[0]], now_s - last[1])
        last = what, now_s
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(file)
    return longest


def main() -> int:
    """Kills, and what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lerobot", help="LeRobot's Python")
    options = parser.parse_args()
    folder, random = Path(tempfile.mkdtemp(prefix="kills-")), np.random.default_rng(options.seed)
    longest_s, killed, told = durations(folder / "durations"), Counter(), Counter()
    kept_unasked = episodes = read = 0
    for number in range(options.kills):
        root = folder / str(number // FRESH_EVERY)
        if number % FRESH_EVERY == 0:
            ledger = Ledger(told)
        stage = STAGES[number % len(STAGES)]
        kill_once(root, ledger, int(random.integers(1 << 31)), stage, longest_s[stage])
        killed[stage] += 1
        kept_unasked += checked(root, ledger)
        if options.lerobot and number % LEROBOT_EVERY == LEROBOT_EVERY - 1 and ledger.sure:
            if lerobot_reads_ours.main(options.lerobot, [str(root)]):
                return 1
            read += 1
        if number % FRESH_EVERY == FRESH_EVERY - 1 or number == options.kills - 1:
            episodes += len(ledger.sure)
    sys.stdout.write(f"{options.kills} kills {dict(killed)}, within {longest_s} s: {episodes} episodes there, none "
                     f"lost; {kept_unasked} changes completed of which nobody had been told; said: {dict(told)}\n")
    rows = [Row("kill -9 at random moments: saved episodes lost", 0, "episodes", options.kills),
            Row("kill -9 at random moments: saved episodes there", episodes, "episodes", options.kills)]
    if read:
        rows.append(Row("after kills: datasets that LeRobot 0.4.4 reads as we do", read, "datasets", read))
    keep("kills", rows)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
