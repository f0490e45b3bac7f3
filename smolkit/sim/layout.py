"""Where things lie: every task's table, drawn at random inside what the arm reaches.

    >>> import numpy as np
    >>> scene = place_scene(np.random.default_rng(0), Variant(cube_colors=("red",), box_sides=("left",)))
    >>> scene.cubes[0].color, scene.boxes[0].xy_m[1] > 0.1
    ('red', True)

The patch where cubes start is 14 x 16 cm: everywhere in it the gripper points down. A cube's yaw is
drawn within 40 degrees of facing the arm: since a quarter turn changes nothing, that is nearly every
yaw, and it leaves out the few where two opposite wrist turns are equally right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from smolkit.arm.inverse import reach
from smolkit.arm.joints import GRIPPER, from_radians
from smolkit.report import SmolkitError
from smolkit.sim.motion import azimuth
from smolkit.sim.scene import Box, CameraShift, Cube, Light, Scene, Stand, Zone

PATCH_M = ((0.16, 0.30), (-0.08, 0.08))           # x and y range of cubes
YAW_RAD = np.deg2rad(40.0)
BETWEEN_M = 0.075                                 # cubes' centres: room for an open jaw
FROM_BOX_M = 0.105
CUBE_Z_M = 0.0125
TRIES = 2000
START_TIP_M = (0.20, 0.0, 0.105)
COLORS = ("red", "green", "blue", "yellow", "orange", "purple")


@dataclass(frozen=True)
class Variant:
    """What a task may draw from: colours, the box's side, how many distractors and boxes."""

    cube_colors: tuple[str, ...] = COLORS
    box_colors: tuple[str, ...] = COLORS
    box_sides: tuple[str, ...] = ("left", "right")
    distractors: tuple[int, int] = (0, 0)         # fewest and most other cubes
    boxes: tuple[int, int] = (1, 1)
    sentence: str = ""                            # "" for one that names the colours


def reach_scene(rng: np.random.Generator, variant: Variant) -> Scene:
    """A ball floating over the table, at least 8 cm from where the tip starts."""
    for _ in range(TRIES):
        turn, far = rng.uniform(-0.6, 0.6), rng.uniform(0.14, 0.24)
        marker = np.array([0.04 + far * np.cos(turn), far * np.sin(turn), rng.uniform(0.03, 0.11)])
        if np.linalg.norm(marker - START_TIP_M) > 0.08:
            break
    else:
        raise _no_room()
    return Scene(target_m=tuple(map(float, marker)), instruction=variant.sentence or "touch the pink ball")


def push_scene(rng: np.random.Generator, variant: Variant) -> Scene:
    """A cube and a round zone 8 to 12 cm from it."""
    for _ in range(TRIES):
        cubes = _cubes(rng, variant, ())
        here = np.array(cubes[0].xyz_m[:2])
        heading, far = rng.uniform(-np.pi, np.pi), rng.uniform(0.08, 0.12)
        ahead = np.array([np.cos(heading), np.sin(heading)])
        if _can_push(here, ahead, far) and _clear(here + far * ahead, [c.xyz_m for c in cubes[1:]], 0.07):
            break
    else:
        raise _no_room()
    color = _other(rng, variant.box_colors, {cubes[0].color})
    zone = Zone(f"{color} circle", color, tuple(map(float, here + far * ahead)))
    sentence = variant.sentence or f"push the {cubes[0].color} cube onto the {color} circle"
    return Scene(cubes=cubes, zones=(zone,), instruction=sentence)


def _can_push(here: np.ndarray, ahead: np.ndarray, far_m: float) -> bool:
    """The zone lies in reach, and so does the place behind the cube from which to push."""
    zone, start = here + far_m * ahead, here - 0.06 * ahead
    return bool(0.15 < zone[0] < 0.30 and abs(zone[1]) < 0.13
                and start[0] > 0.12 and 0.13 < np.hypot(start[0] - 0.04, start[1]) < 0.27)


def pick_scene(rng: np.random.Generator, variant: Variant) -> Scene:
    """Cubes of different colours, one of them named."""
    cubes = _cubes(rng, variant, ())
    return Scene(cubes=cubes, instruction=variant.sentence or f"pick up the {cubes[0].color} cube")


def place_scene(rng: np.random.Generator, variant: Variant) -> Scene:
    """Cubes in the patch, a box to its left or right, perhaps a second box on the other side."""
    boxes = _boxes(rng, variant)
    cubes = _cubes(rng, variant, tuple(box.xy_m for box in boxes))
    sentence = variant.sentence or f"put the {cubes[0].color} cube in the {boxes[0].color} box"
    return Scene(cubes=cubes, boxes=boxes, instruction=sentence)


def fallen_scene(rng: np.random.Generator, variant: Variant) -> Scene:
    """Two stands; a cube still stands on one, the other's lies on the table."""
    sides = rng.permutation([-1.0, 1.0])
    spots = [(float(rng.uniform(0.27, 0.30)), float(side * rng.uniform(0.09, 0.12))) for side in sides]
    stands = tuple(Stand(f"stand {i}", spot) for i, spot in enumerate(spots))
    fallen = _cubes(rng, variant, tuple(stand.xy_m for stand in stands), narrower=0.06)[0]
    color = _other(rng, variant.cube_colors, {fallen.color})
    upright = Cube(f"{color} cube", color, (*stands[1].xy_m, stands[1].height_m + CUBE_Z_M),
                   float(rng.uniform(-YAW_RAD, YAW_RAD)))
    sentence = variant.sentence or "pick up what fell off its stand"
    return Scene(cubes=(fallen, upright), stands=stands, instruction=sentence)


def furnish(rng: np.random.Generator, scene: Scene) -> Scene:
    """The room around a scene: lamp, tints, cameras a little off their places, the arm's start pose."""
    light = Light((float(rng.uniform(-0.5, 0.1)), float(rng.uniform(-0.4, 0.4)), -1.0),
                  float(rng.uniform(0.8, 1.15)), float(rng.uniform(-0.5, 0.8)))
    tints = [tuple(float(v) for v in rng.uniform(0.85, 1.1) * rng.uniform(0.95, 1.05, 3)) for _ in range(2)]
    front, wrist = _shift(rng, 4.0, 0.8), _shift(rng, 1.0, 0.5)
    return replace(scene, light=light, table_tint=tints[0], mat_tint=tints[1], front_shift=front,
                   wrist_shift=wrist, start_deg=_start_pose(rng))


def _start_pose(rng: np.random.Generator) -> tuple[float, ...]:
    """Above the middle of the patch, the jaw half open."""
    tip_m = np.array(START_TIP_M) + rng.uniform(-1, 1, 3) * (0.02, 0.025, 0.01)
    angle_rad = reach(tip_m, np.deg2rad(75.0), float(rng.uniform(-0.12, 0.12))).angle_rad
    angle_rad[GRIPPER] = rng.uniform(0.30, 0.45)
    return tuple(float(v) for v in from_radians(angle_rad))


def _shift(rng: np.random.Generator, offset_mm: float, turn_deg: float) -> CameraShift:
    return CameraShift(tuple(map(float, rng.normal(0, offset_mm / 2, 3).clip(-offset_mm, offset_mm))),
                       tuple(map(float, rng.normal(0, turn_deg / 2, 3).clip(-turn_deg, turn_deg))))


def _boxes(rng: np.random.Generator, variant: Variant) -> tuple[Box, ...]:
    count = int(rng.integers(variant.boxes[0], variant.boxes[1] + 1))
    first = 1.0 if rng.choice(variant.box_sides) == "left" else -1.0
    boxes: list[Box] = []
    for side in (first, -first)[:count]:
        color = _other(rng, variant.box_colors, {box.color for box in boxes})
        spot = (float(rng.uniform(0.16, 0.21)), float(side * rng.uniform(0.16, 0.175)))
        boxes.append(Box(f"{color} box", color, spot))
    return tuple(boxes)


def _cubes(rng: np.random.Generator, variant: Variant, obstacles: tuple[tuple[float, float], ...],
           narrower: float = 0.0) -> tuple[Cube, ...]:
    count = 1 + int(rng.integers(variant.distractors[0], variant.distractors[1] + 1))
    cubes: list[Cube] = []
    for _ in range(count):
        color = _other(rng, variant.cube_colors if not cubes else COLORS, {cube.color for cube in cubes})
        x, y = _free_spot(rng, obstacles, [cube.xyz_m for cube in cubes], PATCH_M[0][1] - narrower)
        yaw = azimuth(np.array([x, y, 0.0])) + rng.uniform(-YAW_RAD, YAW_RAD)
        cubes.append(Cube(f"{color} cube", color, (x, y, CUBE_Z_M), float(yaw)))
    return tuple(cubes)


def _other(rng: np.random.Generator, colors: tuple[str, ...], taken: set[str]) -> str:
    free = [color for color in colors if color not in taken]
    if not free:
        raise SmolkitError("SK231", f"a colour besides {', '.join(taken)}", f"only {', '.join(colors)}",
                           "the variant has fewer colours than things", "give the variant more colours")
    return str(free[int(rng.integers(len(free)))])


def _clear(xy: np.ndarray, others, apart_m: float) -> bool:
    return all(np.hypot(xy[0] - other[0], xy[1] - other[1]) > apart_m for other in others)


def _free_spot(rng: np.random.Generator, obstacles, cubes, farthest_m: float) -> tuple[float, float]:
    for _ in range(TRIES):
        xy = float(rng.uniform(PATCH_M[0][0], farthest_m)), float(rng.uniform(*PATCH_M[1]))
        if _clear(xy, obstacles, FROM_BOX_M) and _clear(xy, cubes, BETWEEN_M):
            return xy
    raise _no_room()


def _no_room() -> SmolkitError:
    return SmolkitError("SK232", "room for every thing on the table", f"none after {TRIES} draws",
                        "too many things for the patch", "ask for fewer distractors")
