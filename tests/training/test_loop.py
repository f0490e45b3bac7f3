"""The loop: it learns, it resumes to the last bit, it keeps to its budget, it never loses a run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from smolkit.clock import SteppedClock
from smolkit.machine import free_cores
from smolkit.report import SmolkitError
from smolkit.training.bar import progress_bar
from smolkit.training.checkpoint import list_checkpoints
from smolkit.training.curve import read_curve
from smolkit.training.loop import LATE, WORTH_TRYING_STEPS, fastest_threads, train
from tests.training.tiny import CONFIG, TinyLearner, run


class StopAfter:
    """A stop that is set when asked for the n-th time."""

    def __init__(self, steps: int):
        self.left = steps

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    newest = list_checkpoints(folder)[-1]
    return {f"{file.name}:{key}": value for file in sorted(newest.glob("*.safetensors"))
            for key, value in load_file(file).items()}


def assert_same_run(one: Path, other: Path) -> None:
    first, second = all_tensors(one), all_tensors(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    losses = [[row["loss"] for row in read_curve(folder / "loss.csv")] for folder in (one, other)]
    assert losses[0] == losses[1]


def test_it_learns_and_says_how_far_it_is(tmp_path):
    seen = []
    config = CONFIG.with_changes(steps=200, checkpoint_every_s=1e9)
    result = train(TinyLearner(), config, tmp_path, progress=seen.append)
    assert result.finished and result.steps == 200
    assert result.loss < 0.2 * seen[0].losses["loss"]
    assert [p.step for p in seen] == list(range(1, 201))
    assert seen[-1].left_s == 0
    assert len(read_curve(result.curve_path)) == 200


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_last_bit(tmp_path):
    run(tmp_path / "whole")
    halted = run(tmp_path / "halved", stop=StopAfter(23))
    assert not halted.finished and halted.steps == 23
    assert run(tmp_path / "halved").finished
    assert_same_run(tmp_path / "whole", tmp_path / "halved")


@pytest.mark.slow
def test_kill_9_loses_nothing_but_time(tmp_path):
    command = [sys.executable, "-m", "tests.training.tiny", str(tmp_path / "killed"), "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as victim:
        for line in victim.stdout:
            if int(line) == 25:
                victim.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
                break
    assert 0 < int(list_checkpoints(tmp_path / "killed")[-1].name[5:]) < 120
    run(tmp_path / "whole", steps=120)
    run(tmp_path / "killed", steps=120)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_the_curve_is_never_behind_its_checkpoint(tmp_path):
    def check(progress) -> None:
        assert len(read_curve(tmp_path / "loss.csv")) == progress.step

    class Watched(TinyLearner):
        def export(self, folder: Path) -> None:
            newest = int(list_checkpoints(tmp_path)[-1].name[5:])
            assert len(read_curve(tmp_path / "loss.csv")) >= newest
            super().export(folder)

    class Killed(Exception):
        """Stands for a kill while the checkpoint is written."""

    class KilledInCheckpoint(nn.Sequential):
        armed = False

        def state_dict(self, *args, **kwargs):
            if self.armed:
                raise Killed
            return super().state_dict(*args, **kwargs)

    train(Watched(), CONFIG.with_changes(steps=60), tmp_path, progress=check, stop=StopAfter(3))
    victim = TinyLearner()
    victim.module = KilledInCheckpoint(*victim.module)
    stop = StopAfter(2)
    with pytest.raises(Killed):
        train(victim, CONFIG, tmp_path, stop=stop, progress=lambda p: setattr(victim.module, "armed", True))
    assert list_checkpoints(tmp_path)[-1].name == "step_0000004"
    assert run(tmp_path).finished
    assert [row["step"] for row in read_curve(tmp_path / "loss.csv")] == list(range(60))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to its own process")
def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    result = run(tmp_path, progress=lambda p: os.kill(os.getpid(), signal.SIGINT) if p.step == 9 else None)
    assert not result.finished and result.steps == 9
    assert list_checkpoints(tmp_path)[-1].name == "step_0000009"
    assert (result.policy_dir / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_checkpoints_come_by_time(tmp_path):
    clock, kept = SteppedClock(), []

    def tick(progress) -> None:
        kept.append(len(list_checkpoints(tmp_path)))
        clock.sleep_until(clock.now_s() + 10)              # every step takes 10 s

    config = CONFIG.with_changes(checkpoint_every_s=60.0, steps=30)
    train(TinyLearner(), config, tmp_path, clock=clock, progress=tick)
    assert kept.index(1) == 6 and kept.index(2) == 12
    assert max(kept) == config.keep_checkpoints


def test_a_slow_machine_gets_a_shorter_schedule_that_ends_in_time(tmp_path):
    clock = SteppedClock()
    config = CONFIG.with_changes(steps=1000, max_minutes=10.0, checkpoint_every_s=1e9)
    result = train(TinyLearner(), config, tmp_path, clock=clock,
                   progress=lambda p: clock.sleep_until(clock.now_s() + (4 if p.step < 50 else 6)))
    assert result.finished and 100 < result.steps < 150
    assert result.elapsed_s <= 600 * LATE


def test_a_fast_machine_does_the_steps_asked_for(tmp_path):
    result = train(TinyLearner(), CONFIG.with_changes(max_minutes=10.0), tmp_path, clock=SteppedClock())
    assert result.steps == CONFIG.steps


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    with pytest.raises(SmolkitError, match="SK605"):
        train(TinyLearner(broken_after=4), CONFIG, tmp_path)
    assert np.isfinite(load_file(list_checkpoints(tmp_path)[-1] / "model.safetensors")["0.weight"]).all()


def test_a_gradient_that_is_not_a_number_leaves_the_weights_alone(tmp_path):
    class Steep(TinyLearner):
        def losses(self, indices, rng):
            losses = super().losses(indices, rng)
            if self.calls == 4:            # the root's slope at 0 is infinite, and infinity times 0 is no number
                losses["loss"] = losses["loss"] + (losses["loss"] * 0).sqrt()
            return losses

    learner = Steep()
    with pytest.raises(SmolkitError, match="SK605") as caught:
        train(learner, CONFIG, tmp_path)
    assert "gradient" in caught.value.expected and "step 3" in caught.value.found
    saved = load_file(list_checkpoints(tmp_path)[-1] / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in learner.module.state_dict().items())


def test_other_settings_do_not_mix_into_a_run(tmp_path):
    run(tmp_path, steps=5)
    with pytest.raises(SmolkitError, match="SK606"):
        run(tmp_path, steps=6)


def test_checkpoints_without_their_settings_do_not_resume(tmp_path):
    run(tmp_path, steps=5)
    (tmp_path / "train_config.json").unlink()
    with pytest.raises(SmolkitError, match="SK606"):
        run(tmp_path, steps=5)


def test_another_dataset_or_another_model_does_not_resume(tmp_path):
    learner = TinyLearner()
    learner.fingerprint = "fifty points"
    train(learner, CONFIG, tmp_path, stop=StopAfter(3))
    before = {name: value.clone() for name, value in learner.module.state_dict().items()}
    learner.fingerprint = "fifty-one points"
    with pytest.raises(SmolkitError, match="SK606"):
        train(learner, CONFIG, tmp_path)
    assert all(torch.equal(before[name], value) for name, value in learner.module.state_dict().items())
    learner.module = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    with pytest.raises(SmolkitError, match="SK603"):
        train(learner, CONFIG, tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"step": 5}', '{"bytes": 3}', "null", '{"bytes": {}, "step": []}'])
def test_a_state_of_another_form_is_named(tmp_path, content):
    run(tmp_path, steps=5)
    (list_checkpoints(tmp_path)[-1] / "state.json").write_text(content)
    with pytest.raises(SmolkitError, match="SK602"):
        run(tmp_path, steps=5)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_truncated_checkpoint_is_named(tmp_path, name):
    run(tmp_path, steps=5)
    file = list_checkpoints(tmp_path)[-1] / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SmolkitError, match="SK602"):
        run(tmp_path, steps=5)


def test_the_bar_follows_the_run(tmp_path):
    text = io.StringIO()
    with progress_bar(file=text) as progress:
        run(tmp_path, steps=30, progress=progress)
    assert "30/30" in text.getvalue() and "loss" in text.getvalue()


def test_a_run_that_says_no_threads_tries_them_and_remembers(tmp_path):
    train(TinyLearner(), CONFIG.with_changes(steps=WORTH_TRYING_STEPS, threads=None, checkpoint_every_s=1e9), tmp_path)
    assert 1 <= json.loads((list_checkpoints(tmp_path)[-1] / "state.json").read_text())["threads"] <= free_cores()


def test_trying_thread_counts_learns_nothing():
    learner, threads = TinyLearner(), torch.get_num_threads()
    before, state = {k: v.clone() for k, v in learner.module.state_dict().items()}, torch.get_rng_state()
    assert 1 <= fastest_threads(learner, CONFIG) <= (os.cpu_count() or 1)
    assert all(torch.equal(before[name], value) for name, value in learner.module.state_dict().items())
    assert all(p.grad is None for p in learner.module.parameters())
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_slow_start_does_not_shorten_the_run(tmp_path):
    clock = SteppedClock()
    config = CONFIG.with_changes(steps=100, max_minutes=10.0, checkpoint_every_s=1e9)

    def tick(progress) -> None:          # a cold start, then a program that was busy for a while
        clock.sleep_until(clock.now_s() + (30 if progress.step < 4 else 12 if 10 < progress.step < 30 else 1))

    assert train(TinyLearner(), config, tmp_path, clock=clock, progress=tick).steps == 100


def test_a_step_that_has_its_checkpoint_keeps_it(tmp_path):
    config = CONFIG.with_changes(steps=5, keep_checkpoints=1)
    train(TinyLearner(), config, tmp_path)
    [folder] = list_checkpoints(tmp_path)
    inode, unfinished = (folder / "state.json").stat().st_ino, folder.with_name(".step_0000004.writing")
    unfinished.mkdir()
    assert train(TinyLearner(), config, tmp_path).finished
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "state.json").stat().st_ino == inode


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_full_disk_is_told_and_the_run_goes_on_later(tmp_path):
    import resource

    run(tmp_path, stop=StopAfter(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, hard))
    try:
        with pytest.raises(SmolkitError, match="SK609") as caught:
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "disk is full" in caught.value.cause
    assert list_checkpoints(tmp_path)[-1].name == "step_0000003" and run(tmp_path).finished
    assert not list((tmp_path / "checkpoints").glob(".step_*"))
