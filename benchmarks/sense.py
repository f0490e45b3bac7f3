"""How often do the sense checks cry over a healthy recording, and how often do they miss a planted fault?

    python -m benchmarks.sense               # some minutes; the recordings stay in outputs/benchmarks/sense

Twenty recordings of the scripted demonstrator (tasks tour, pick, reach and place; steady and stumbling hands; pictures
of 64 and 128 px), eight episodes each. Each is read as it is, and once for every thing that can be wrong with it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.cameras.camera import CameraRole
from smolkit.data.checks.sense import sense_checks
from smolkit.data.reader import Dataset
from smolkit.data.recorder import open_writer
from smolkit.kit import Kit
from smolkit.report import Check
from smolkit.sim.bench import measured_calibration
from smolkit.sim.world import shared_renderer
from smolkit.teleop.loop import Pace, run_episode
from smolkit.teleop.scripted import ScriptedActor
from smolkit.tour.demos import until_stopped

KINDS = [(task, noisy, px) for task in ("tour", "pick", "reach", "place", "push") for noisy in (False, True)
         for px in (64, 128)]
EPISODES, FPS, LONGEST_S = 8, 10, 14.0
HERE = Path("outputs/benchmarks/sense")
Episode = dict[str, np.ndarray]                    # state, action (T, 6); front, wrist (T, H, W, 3); moments (T,); task


def show(task: str, seed: int, noisy: bool, px: int) -> Episode | None:
    """One demonstration; None where it fails."""
    with Kit.sim(task, seed, image_px=px, renderer=shared_renderer(), parks=False) as kit:
        kit.arm.energize()
        expert = ScriptedActor(kit.bench, noisy=noisy)
        steps = until_stopped(kit, run_episode(kit, expert, LONGEST_S, Pace(FPS, 3 * FPS), kit.bench.success))
        if not kit.bench.success() or len(steps) < 8:
            return None
        seen = [step.observation for step in steps]
        return {"state": np.array([one.state_deg for one in seen]), "task": np.array(kit.task),
                "action": np.array([step.action_deg for step in steps]),
                "moments": np.array([one.captured_s for one in seen]),
                **{role: np.array([one.images[role] for one in seen]) for role in ("front", "wrist")}}


def healthy(number: int) -> list[Episode]:
    """Recording `number`, made once."""
    task, noisy, px = KINDS[number]
    file = HERE / f"{number:02d}-{task}-{'noisy' if noisy else 'steady'}-{px}.npz"
    if not file.exists():
        attempts = (show(task, seed, noisy, px) for seed in count(1000 * number))
        shown = list(islice((one for one in attempts if one is not None), EPISODES))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **{f"{k}/{key}": value for k, one in enumerate(shown) for key, value in one.items()})
    with np.load(file) as stored:
        return [{key: stored[f"{k}/{key}"] for key in ("state", "action", "moments", "task", "front", "wrist")}
                for k in range(EPISODES)]


def asked(episodes: list[Episode]) -> tuple[Check, ...]:
    """The sense checks of a dataset of these episodes."""
    root = Path(tempfile.mkdtemp())
    try:
        cameras = [CameraRole(role, *episodes[0][role].shape[1:3], FPS) for role in ("front", "wrist")]
        with open_writer(root / "set", fps=FPS, cameras=cameras, calibration=measured_calibration()) as writer:
            for one in episodes:
                for row in range(len(one["state"])):
                    writer.add_frame({"observation.state": one["state"][row], "action": one["action"][row],
                                      "captured_s": float(one["moments"][row]),
                                      **{f"observation.images.{role}": one[role][row] for role in ("front", "wrist")}},
                                     str(one["task"]))
                writer.save_episode()
        with closing(Dataset(root / "set")) as dataset:
            return sense_checks(dataset)
    finally:
        shutil.rmtree(root, ignore_errors=True)


# -- the faults: each is given one episode, and returns what it looks like then ----------------------------------


def _joint(one: Episode, key: str, joint: int, values: object) -> Episode:
    changed = one[key].copy()
    changed[:, joint] = values
    return {**one, key: changed}


def _hold(values: np.ndarray, first: int, rows: int) -> np.ndarray:
    """The row `first` again and again for `rows` rows."""
    return np.concatenate([values[:first], np.repeat(values[first:first + 1], rows, axis=0), values[first:]])


def pause(one: Episode) -> Episode:
    rows, middle = 25, len(one["state"]) // 2
    held = {key: _hold(one[key], middle, rows) for key in ("state", "action", "front", "wrist")}
    return {**one, **held, "moments": one["moments"][0] + np.arange(len(held["state"])) / FPS}


def moved(image: np.ndarray) -> np.ndarray:
    """By a twelfth of the picture: 27 px of 320."""
    return np.roll(image, image.shape[2] // 12, axis=2)


FAULTS: dict[str, tuple[str, Callable[[Episode], Episode]]] = {
    "elbow read 17 deg off": ("SK475", lambda one: _joint(one, "state", 2, one["state"][:, 2] + 17)),
    "a pause of 2.5 s": ("SK426", pause),
    "action is the state": ("SK427", lambda one: {**one, "action": one["state"]}),
    "the state is 0.5 s late": ("SK427", lambda one: {**one, "state": _hold(one["state"], 0, 5)[:-5]}),
    "one row jumps by 90 deg": ("SK485", lambda one: _joint(one, "state", 0, one["state"][:, 0] + 90.0 * (
        np.arange(len(one["state"])) == len(one["state"]) // 2))),
    "a trembling hand, 4 deg": ("SK484", lambda one: {**one, "action": one["action"] + np.random.default_rng(0).normal(
        0, 4, one["action"].shape)}),
    "radians": ("SK478", lambda one: {**one, "state": np.deg2rad(one["state"]), "action": np.deg2rad(one["action"])}),
    "the bus is silent for 1 s": ("SK488", lambda one: {**one, "state": np.concatenate([one["state"][:4], np.repeat(
        one["state"][4:5], 11, axis=0), one["state"][15:]])[:len(one["state"])]}),
    "front frozen from a third on": ("SK424", lambda one: {**one, "front": _hold(
        one["front"], len(one["front"]) // 3, len(one["front"]))[:len(one["front"])]}),
    "wrist covered": ("SK470", lambda one: {**one, "wrist": one["wrist"] // 12}),
    "front overexposed": ("SK471", lambda one: {**one, "front": (one["front"] * 2.5).clip(0, 255).astype(np.uint8)}),
    "front moved by a twelfth": ("SK472", lambda one: {**one, "front": moved(one["front"])}),
    "cameras swapped": ("SK473", lambda one: {**one, "front": one["wrist"], "wrist": one["front"]}),
    "one camera under two names": ("SK474", lambda one: {**one, "wrist": one["front"]}),
    "broken off after a fifth": ("SK482", lambda one: {key: value[:max(3, len(value) // 5)] if value.ndim else value
                                                       for key, value in one.items()}),
    "the task misspelled": ("SK480", lambda one: {**one, "task": np.array(str(one["task"]).upper())}),
    "rows late by 60 ms": ("SK423", lambda one: {**one, "moments": one["moments"] + 0.06 * (
        np.arange(len(one["moments"])) % 7 == 3)}),
    "gripper stays open": ("SK476", lambda one: _joint(_joint(one, "state", 5, 40.0), "action", 5, 40.0)),
}


def spoiled(episodes: list[Episode], name: str, which: int = 5) -> list[Episode]:
    """One episode has the fault; all have the same task."""
    episodes = [{**one, "task": episodes[0]["task"]} for one in episodes]
    return [FAULTS[name][1](one) if k == which else one for k, one in enumerate(episodes)]


def main() -> None:
    cries, misses = Counter[str](), Counter[str]()
    for number, kind in enumerate(KINDS):
        episodes = healthy(number)
        for check in asked(episodes):
            if not check.ok:
                cries[check.code] += 1
                print(kind, check.line(), flush=True)
        for name, (code, _) in FAULTS.items() if number % 4 == 3 else ():
            if code == "SK476" and kind[0] in ("reach", "push"):
                continue                            # a task that needs no gripper
            if not any(check.code == code and not check.ok for check in asked(spoiled(episodes, name))):
                misses[name] += 1
                print(kind, "missed:", name, flush=True)
    tried = len(KINDS) // 4
    keep("sense", [Row("recordings cried over, of 20 healthy ones", sum(cries.values()), "checks", len(KINDS)),
                   Row(f"planted faults missed, of {len(FAULTS)} kinds in {tried} recordings", sum(misses.values()),
                       "faults", tried * len(FAULTS))])
    print(dict(cries), dict(misses))


if __name__ == "__main__":
    main()
