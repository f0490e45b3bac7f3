"""Gymnasium environments: the checker's verdict, seeds, ends of episodes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from smolkit.report import SmolkitError
from smolkit.sim.demonstrator import Demonstrator
from smolkit.sim.envs import ENV_IDS, SO101Env, register
from smolkit.sim.tasks import TASKS
from smolkit.sim.truth import truth_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.filterwarnings("error::UserWarning", "ignore:.*symmetric and normalized.*:UserWarning")
def test_gymnasiums_own_checker_passes(env_id):
    env = gymnasium.make(env_id, image_px=32, render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.unwrapped.task.name == ENV_IDS[env_id]
    env.close()


def test_make_finds_every_environment_in_a_fresh_interpreter():
    """`make` alone has to import and register; nothing that this process imported may help."""
    code = ("import gymnasium; gymnasium.make('smolkit.sim.envs:smolkit/SO101Place-v0', image_px=16).close();"
            "print(*[name for name in gymnasium.registry if name.startswith('smolkit/')])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(ENV_IDS)


def test_registering_twice_keeps_what_is_registered():
    before = {env_id: gymnasium.spec(env_id) for env_id in ENV_IDS}
    assert register() == register() == tuple(ENV_IDS)
    assert all(gymnasium.spec(env_id) is spec for env_id, spec in before.items())


def play(env: SO101Env, seed: int, steps: int) -> list[dict]:
    seen, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    return [seen, *(env.step(env.action_space.sample())[0] for _ in range(steps))]


def test_a_seed_repeats_states_and_pictures_exactly():
    first, second = SO101Env("place", image_px=48), SO101Env("place", image_px=48)
    run, again, other = play(first, 7, 6), play(second, 7, 6), play(first, 8, 6)
    for a, b in zip(run, again, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in ("state", "front", "wrist"))
    assert not np.array_equal(run[0]["front"], other[0]["front"])
    first.close()
    second.close()


def test_success_terminates_and_pays():
    env = SO101Env("tour", image_px=16)
    _, info = env.reset(seed=1)
    expert, ended = Demonstrator("tour"), False
    assert info["instruction"] == "put the cube in the box" and not info["success"]
    while not ended:
        _, reward, terminated, truncated, info = env.step(expert.act(truth_of(env.world)).astype(np.float32))
        ended = terminated or truncated
        assert reward == float(terminated)
    assert terminated and not truncated and info["success"] and info["time_s"] < 8.0
    env.close()


def test_time_runs_out():
    env = SO101Env(replace(TASKS["reach"], timeout_s=1.0), image_px=16)
    seen, _ = env.reset(seed=0)
    ends = [env.step(seen["state"])[2:4] for _ in range(10)]         # a second of holding still
    assert ends[-1] == (False, True) and not any(any(end) for end in ends[:-1])
    env.close()


def test_a_scene_can_be_given():
    env = SO101Env("pick", image_px=16)
    scene = env.task.sample(np.random.default_rng(0))
    env.reset(options={"scene": scene})
    assert env.world.scene == scene
    env.close()


@pytest.mark.parametrize("action", [np.full(6, np.nan), np.zeros(5)])
def test_an_action_that_is_no_pose_is_refused(action):
    env = SO101Env("reach", image_px=16)
    env.reset(seed=0)
    with pytest.raises(SmolkitError, match="SK234"):
        env.step(action)
    env.close()
