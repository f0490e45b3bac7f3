"""How often do the camera checks cry wolf, and how often do they miss a wrong camera?

    python -m benchmarks.cameras

For every seed: passports of front and wrist camera, taken while the arm moves; then another bench (lamp, tints,
things, arm pose, camera jitter of `smolkit.sim.layout`) before the same two cameras, once as it is and once for every
thing that can be wrong. Pictures get the noise of a cheap sensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from benchmarks.measured import Row, keep
from smolkit.cameras.camera import CameraRole, Frame
from smolkit.cameras.checks import check_cameras
from smolkit.cameras.passport import Passport, take_passport
from smolkit.sim.layout import Variant, furnish, place_scene
from smolkit.sim.scene import START_DEG, CameraShift, Scene
from smolkit.sim.world import World

SEEDS, HEIGHT_PX, WIDTH_PX, NOISE = range(120), 240, 320, 2.0
ROLES = ("front", "wrist")
STRAY_DEG = np.array([35.0, 20.0, 20.0, 15.0, 40.0])       # of the arm while the passport is taken
Pictures = dict[str, np.ndarray]


def draw_bench(seed: int) -> Scene:
    """A bench with a cube, a box and up to two other cubes."""
    rng = np.random.default_rng(seed)
    return furnish(rng, place_scene(rng, Variant(distractors=(0, 2))))


def photograph(world: World, scene: Scene, rng: np.random.Generator) -> Pictures:
    """One noisy picture per role."""
    world.reset(scene)
    clean = {role: world.render(role, HEIGHT_PX, WIDTH_PX) for role in ROLES}
    return {role: image_of(image + rng.normal(0, NOISE, image.shape)) for role, image in clean.items()}


def image_of(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def passports(world: World, seed: int, frames: int = 8) -> dict[str, Passport]:
    """Taken with both cameras at their drawn places and the arm in various poses."""
    rng = np.random.default_rng([seed, 1])
    scene = replace(draw_bench(seed + 100_000), front_shift=CameraShift(), wrist_shift=CameraShift())
    poses = [(*(START_DEG[:5] + STRAY_DEG * rng.uniform(-1, 1, 5)), rng.uniform(5, 80)) for _ in range(frames)]
    shots = [photograph(world, replace(scene, start_deg=tuple(map(float, pose))), rng) for pose in poses]
    return {role: take_passport(CameraRole(role, HEIGHT_PX, WIDTH_PX, fps=10),
                                [Frame(shot[role], k / 10, k + 1) for k, shot in enumerate(shots)]) for role in ROLES}


def moved(offset_mm: float = 0.0, turn_deg: float = 0.0,
          roll_deg: float = 0.0) -> Callable[[Scene, np.random.Generator], Scene]:
    """Both cameras off their places by that much, in random directions."""
    def apply(scene: Scene, rng: np.random.Generator) -> Scene:
        offset, (pitch, yaw) = rng.normal(size=3), rng.normal(size=2)
        turn = (*(turn_deg * np.array([pitch, yaw]) / np.hypot(pitch, yaw)), roll_deg * rng.choice([-1, 1]))
        shift = CameraShift(tuple(offset_mm * offset / np.linalg.norm(offset)), turn)
        return replace(scene, front_shift=shift, wrist_shift=shift)
    return apply


def all_of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Pictures], Pictures]:
    return lambda shot: {role: change(image) for role, image in shot.items()}


# What is wrong -> the check that must find it, and what it does to the scene or to the pictures.
SCENES = {"turned 3 deg": ("SK248", moved(turn_deg=3.0)), "turned 4 deg": ("SK248", moved(turn_deg=4.0)),
          "rolled 6 deg": ("SK248", moved(roll_deg=6.0)), "shifted 30 mm": ("SK248", moved(offset_mm=30.0))}
PICTURES = {"swapped": ("SK246", lambda shot: dict(zip(ROLES, [shot[role] for role in reversed(ROLES)], strict=True))),
            "blurred by 1 px": ("SK245", all_of(lambda image: cv2.GaussianBlur(image, (0, 0), 1.0))),
            "a quarter of the light": ("SK243", all_of(lambda image: image // 4)),
            "2.5 times the light": ("SK244", all_of(lambda image: image_of(2.5 * image)))}


def alarms(shot: Mapping[str, np.ndarray], known: Mapping[str, Passport]) -> set[tuple[str, str]]:
    """(code, role) of every red check."""
    report = check_cameras({role: [Frame(image, 0.0, 1)] for role, image in shot.items()}, known)
    return {(check.code, check.name.split()[0]) for check in report.red()}


def trial(world: World, seed: int) -> Counter[str]:
    """One seed: how many false alarms of each kind, and which wrongs were missed."""
    rng, known, scene, counts = np.random.default_rng([seed, 2]), passports(world, seed), draw_bench(seed), Counter()
    right = photograph(world, scene, rng)
    counts.update(f"false alarm {code}, {role}" for code, role in alarms(right, known))
    shots = [(name, code, photograph(world, change(scene, rng), rng)) for name, (code, change) in SCENES.items()]
    shots += [(name, code, change(right)) for name, (code, change) in PICTURES.items()]
    for name, code, shot in shots:
        found = alarms(shot, known)
        counts.update(f"missed {name}, {role}" for role in ROLES if (code, role) not in found)
    return counts


def main() -> None:
    with World() as world:
        counts = sum((trial(world, seed) for seed in SEEDS), Counter())
    names = [f"false alarm {code}, {role}" for code in ("SK243", "SK244", "SK245", "SK246", "SK248") for role in ROLES]
    names += [f"missed {name}, {role}" for name in {**SCENES, **PICTURES} for role in ROLES]
    rows = [Row(name, counts[name] / len(SEEDS), "share", len(SEEDS)) for name in names]
    for row in rows:
        print(f"{row.value:8.1%} {row.what}")
    keep("cameras", rows)


if __name__ == "__main__":
    main()
