"""The training loop: batches in, a policy out, and no way to lose more than a minute of it.

    result = train(learner, config, Path("outputs/run"), progress=print)

A `Learner` knows data and model, the loop knows neither: it owns the optimizer, the average, the schedule,
the checkpoints and the clock. Everything random in step k is drawn from a generator made of (seed, k), so a
run that was killed and resumed equals one that never was, bit for bit, on the same machine with the same
number of threads.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from smolkit.clock import Clock, WallClock
from smolkit.machine import free_cores
from smolkit.report import SmolkitError
from smolkit.training.checkpoint import (
    TrainState,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    sweep_unfinished,
    write_atomically,
    writing,
)
from smolkit.training.config import TrainConfig
from smolkit.training.curve import LossCurve
from smolkit.training.ema import Ema
from smolkit.training.optimizer import Optimizer
from smolkit.training.sampler import Sampler, generator
from smolkit.training.schedule import learning_rate, steps_that_fit

SETTLE_STEPS = 5                   # the first steps are slow (memory, caches): they say nothing of the pace
REHEARSAL_STEPS = 20               # timed before the number of steps is planned, and between two looks at it
WORTH = 1.1                        # fewer threads win if they cost less than 10 %: the core is free for others
WORTH_TRYING_STEPS = 100           # trying out threads costs a dozen steps: a shorter run has one thread
LATE = 1.05                        # a plan that is off by less than 5 % stands


class Learner(Protocol):
    """What the loop needs: a module, its losses on some frames, and a way to hand the result over.

    A learner may have a text `fingerprint` of its data and model: a run then resumes only where it is equal. It may
    have a `note` for the progress line, `look_ahead(steps)` for work before the first of so many steps, and `finish()`
    for work after the last.
    """

    module: nn.Module
    count: int                     # frames in the training set

    def losses(self, indices: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Named scalars; "loss" is the one that is descended."""

    def export(self, folder: Path) -> None:
        """Saves the policy (called with the averaged weights in `module`)."""


class Stop(Protocol):
    """Anything like `threading.Event`."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows after a step."""

    step: int
    total_steps: int
    losses: dict[str, float]       # none before the first step
    learning_rate: float
    elapsed_s: float
    left_s: float
    note: str = ""                 # what the learner says of itself, for example of its cache


@dataclass(frozen=True)
class TrainResult:
    """`finished` is false after Ctrl-C or a stop: call `train` again with the same folder to go on."""

    policy_dir: Path
    curve_path: Path
    steps: int
    total_steps: int
    elapsed_s: float
    loss: float
    finished: bool


def train(learner: Learner, config: TrainConfig, out_dir: Path, *, clock: Clock | None = None,
          progress: Callable[[Progress], None] = lambda _: None, stop: Stop | None = None) -> TrainResult:
    """Trains until the planned step, a stop or Ctrl-C; resumes if `out_dir` holds checkpoints.

    The policy in `out_dir/policy` is written at every checkpoint, so an interrupted run has one, too.
    Errors: SK605 when loss or gradient stop being numbers, SK606 when `out_dir` belongs to another config or dataset,
    SK603 when it belongs to another model, SK602 when its newest checkpoint is damaged, SK609 when the disk is full.
    """
    result = _go(_Run(learner, config, Path(out_dir), clock or WallClock()), progress, stop)
    getattr(learner, "finish", lambda: None)()               # AdamW's moments are gone by now: there is room
    return result


def _go(run: _Run, progress: Callable[[Progress], None], stop: Stop | None) -> TrainResult:
    run.resume()
    with _interrupts() as interrupted, _threads(run.threads):
        def goes_on() -> bool:
            return run.step < run.total_steps and not interrupted.is_set() and not (stop and stop.is_set())

        for note in run.look_ahead():
            progress(replace(run.progress(), note=note))
            if not goes_on():
                break
        while goes_on():
            run.advance()
            if run.checkpoint_due():
                run.save()
            progress(run.progress())
        run.save()
    return run.result()


class _Run:
    """The mutable middle of one training run."""

    def __init__(self, learner: Learner, config: TrainConfig, out_dir: Path, clock: Clock):
        self.learner, self.config, self.out_dir, self.clock = learner, config, out_dir, clock
        self.model = learner.module
        self.optimizer = Optimizer(self.model, config)
        self.ema = Ema(self.model, config.ema) if config.ema else None
        self.sampler = Sampler(learner.count, config.batch_size, config.seed)
        self.curve = LossCurve(self.out_dir / "loss.csv")
        self.step, self.total_steps, self.threads = 0, config.steps, config.threads or 1
        self.start_s = self.saved_s = self.clock.now_s()
        self.first_step, self.paced_from = 0, (self.start_s, 0)
        self.latest: dict[str, float] = {}

    def resume(self) -> None:
        """Takes up the newest checkpoint, if there is one; otherwise notes the config of the new run."""
        with writing(self.out_dir):
            self.out_dir.mkdir(parents=True, exist_ok=True)
        sweep_unfinished(self.out_dir)
        note, found = self.out_dir / "train_config.json", list_checkpoints(self.out_dir)
        if not found:
            write_atomically(note, self.config.to_json())
            if self.config.threads is None and self.config.steps >= WORTH_TRYING_STEPS:
                self.threads = fastest_threads(self.learner, self.config)
            self.start_s = self.saved_s = self.clock.now_s()
            return
        _check_same_config(note, self.config)
        state = load_checkpoint(found[-1], self.model, self.ema, self.optimizer, fingerprint_of(self.learner))
        self.step, self.total_steps, self.threads = state.step, state.total_steps, state.threads
        self.start_s = self.clock.now_s() - state.elapsed_s
        self.first_step, self.paced_from = self.step, (self.clock.now_s(), self.step)
        self.curve.cut(self.step)

    def look_ahead(self) -> Iterator[str]:
        """The learner's work before the first step, if it has some; tells how far it is."""
        return getattr(self.learner, "look_ahead", lambda steps: iter(()))(self.total_steps - self.step)

    def advance(self) -> None:
        """One step of the optimizer."""
        self.model.train()
        rng = generator(self.config.seed, self.step)
        self.optimizer.forget_gradients()
        losses = self.learner.losses(self.sampler.indices(self.step), rng)
        losses["loss"].backward()
        norm = self.optimizer.clip(self.config.grad_clip)
        if not torch.isfinite(norm):       # before the step: the weights of the last good one stay
            raise _diverged("a finite gradient", f"norm {norm.item()}, losses "
                            f"{ {name: value.item() for name, value in losses.items()} }", self.step)
        self.optimizer.step(learning_rate(self.step, self.total_steps, self.config))
        if self.ema:
            self.ema.update(self.model, self.step)
        self._note({name: value.item() for name, value in losses.items()})

    def _note(self, losses: dict[str, float]) -> None:
        if not all(value == value and abs(value) < 1e12 for value in losses.values()):
            raise _diverged("a finite loss", str(losses), self.step)
        self.latest = losses
        self.curve.add(self.step, losses, self.clock.now_s() - self.start_s)
        self.step += 1
        self._plan()

    def _plan(self) -> None:
        """Fits the number of steps to the time budget, where there is one, whenever the pace has changed."""
        done = self.step - self.first_step
        if done <= SETTLE_STEPS:
            self.paced_from = self.clock.now_s(), self.step
        if self.config.max_minutes is None or done == 0 or done % REHEARSAL_STEPS:
            return
        fitting = steps_that_fit(self.step, self.clock.now_s() - self.start_s, self._step_s(), self.config.steps,
                                 self.config.max_minutes)
        left, left_fitting = self.total_steps - self.step, fitting - self.step
        if left > LATE * left_fitting + 1 or left_fitting > LATE * left + 1:
            self.total_steps = fitting

    def _step_s(self) -> float:
        """Seconds a step takes in this sitting, without the first few."""
        since_s, since_step = self.paced_from
        if self.step == since_step:
            return (self.clock.now_s() - self.start_s) / max(1, self.step)
        return (self.clock.now_s() - since_s) / (self.step - since_step)

    def checkpoint_due(self) -> bool:
        return self.clock.now_s() - self.saved_s >= self.config.checkpoint_every_s

    def save(self) -> None:
        """Loss curve, checkpoint and policy, each written atomically.

        The curve comes first: rows beyond the newest checkpoint are cut on resume, missing ones stay missing.
        """
        elapsed_s = self.clock.now_s() - self.start_s
        self.optimizer.forget_gradients()                    # room for what is written
        state = TrainState(self.step, self.total_steps, elapsed_s, self.threads, fingerprint_of(self.learner))
        self.curve.write()
        save_checkpoint(self.out_dir, state, self.model, self.ema, self.optimizer,
                        self.config.keep_checkpoints)
        with averaged(self.model, self.ema), writing(self.out_dir / "policy"):
            self.learner.export(self.out_dir / "policy")
        self.saved_s = self.clock.now_s()

    def progress(self) -> Progress:
        elapsed_s = self.clock.now_s() - self.start_s
        left_s = self._step_s() * (self.total_steps - self.step)
        rate = learning_rate(self.step, self.total_steps, self.config)
        note = str(getattr(self.learner, "note", ""))
        return Progress(self.step, self.total_steps, self.latest, rate, elapsed_s, left_s, note)

    def result(self) -> TrainResult:
        return TrainResult(self.out_dir / "policy", self.curve.path, self.step, self.total_steps,
                           self.clock.now_s() - self.start_s, self.curve.mean_of_last(50),
                           self.step >= self.total_steps)


@contextmanager
def averaged(model: nn.Module, ema: Ema | None) -> Iterator[None]:
    """Inside, the model holds the averaged weights; afterwards its own again."""
    if ema is None:
        yield
        return
    own = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    ema.copy_to(model)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in own:
                    parameter.copy_(own[name])


def fastest_threads(learner: Learner, config: TrainConfig) -> int:
    """How many threads make a step fastest here and now, by trying: on a busy core more of them are slower.

    Nothing is learned by these steps: gradients are thrown away, random states restored.
    """
    cores = free_cores()
    indices = Sampler(learner.count, config.batch_size, config.seed).indices(0)
    with torch.random.fork_rng(devices=[]):
        seconds = {count: _seconds_a_step(learner, indices, count)
                   for count in sorted({1, max(1, cores // 2), cores})}
    return min(count for count, s in seconds.items() if s < WORTH * min(seconds.values()))


def _seconds_a_step(learner: Learner, indices: Tensor, threads: int, tries: int = 3) -> float:
    with _threads(threads):
        learner.losses(indices, generator(0, 0))["loss"].backward()      # the first use of a pool is slow
        begin_s = time.perf_counter()
        for _ in range(tries):
            learner.losses(indices, generator(0, 0))["loss"].backward()
        learner.module.zero_grad(set_to_none=True)
        return (time.perf_counter() - begin_s) / tries


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Ctrl-C sets an event: the step under way is finished and saved. A second Ctrl-C breaks off at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(_signal: int, _frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _diverged(expected: str, found: str, step: int) -> SmolkitError:
    return SmolkitError("SK605", expected, f"{found} at step {step}",
                        "a learning rate too large, or broken numbers in the dataset",
                        "look for nan in smolkit.data.reader.Dataset(folder).columns, then lower learning_rate")


def fingerprint_of(learner: Learner) -> str:
    """The learner's own, or "" where it has none."""
    return str(getattr(learner, "fingerprint", ""))


def _check_same_config(note: Path, config: TrainConfig) -> None:
    if not note.exists():
        raise SmolkitError("SK606", f"the settings of this run in {note}", "checkpoints without it",
                           "the file was deleted, or the checkpoints were copied alone",
                           f"put {note.name} back, or choose another output folder")
    if note.read_text() != config.to_json():
        raise SmolkitError("SK606", f"the settings in {note}", "other settings",
                           "the folder holds a run with other settings: resuming would mix the two",
                           "choose another output folder, or delete this one")
