"""What lies on the table: a scene is data, drawn and simulated by `smolkit.sim.world.World`.

    >>> scene = Scene(cubes=(Cube("red cube", "red", (0.24, 0.05, 0.0125)),),
    ...               boxes=(Box("blue box", "blue", (0.22, -0.15)),),
    ...               instruction="put the red cube in the blue box")
    >>> scene.cubes[0].edge_m
    0.025

Metres and radians in the arm's base frame: x forward, y left, z up, the table top at z = 0. A scene
is the outcome of the draw, not its seed; the world itself draws no random number, so that two worlds of
one scene are equal bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.83, 0.10, 0.09),
    "green": (0.16, 0.62, 0.22),
    "blue": (0.10, 0.30, 0.80),
    "yellow": (0.96, 0.80, 0.10),
    "orange": (0.95, 0.45, 0.05),
    "purple": (0.48, 0.20, 0.65),
    "pink": (0.95, 0.45, 0.65),
    "cyan": (0.10, 0.70, 0.75),
    "white": (0.92, 0.92, 0.90),
    "black": (0.09, 0.09, 0.10),
}
# Upright, the gripper 15 cm above the mat and pointing down at it: both cameras see the work.
START_DEG = (0.0, -45.0, 30.0, 75.0, 0.0, 30.0)          # deg, gripper %


@dataclass(frozen=True)
class Cube:
    """A wooden cube of 12 g; `xyz_m` is its centre."""

    name: str
    color: str
    xyz_m: tuple[float, float, float]
    yaw_rad: float = 0.0
    edge_m: float = 0.025


@dataclass(frozen=True)
class Box:
    """A box open at the top, fixed to the table; outer length, width and height."""

    name: str
    color: str
    xy_m: tuple[float, float]
    size_m: tuple[float, float, float] = (0.10, 0.10, 0.035)
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class Stand:
    """A round pedestal, fixed to the table, that things can fall from."""

    name: str
    xy_m: tuple[float, float]
    radius_m: float = 0.025
    height_m: float = 0.05


@dataclass(frozen=True)
class Zone:
    """A flat coloured disc on the mat, only paint: where something is to be pushed."""

    name: str
    color: str
    xy_m: tuple[float, float]
    radius_m: float = 0.035


@dataclass(frozen=True)
class Light:
    """The lamp: the direction its rays travel in, how bright, how warm (-1 cold .. 1 warm)."""

    direction: tuple[float, float, float] = (-0.35, 0.30, -1.0)
    intensity: float = 1.0
    warmth: float = 0.2


@dataclass(frozen=True)
class CameraShift:
    """How far a camera stands from its drawn place, in its own axes (right, up, back)."""

    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """One arrangement of the table, the light, the cameras and the arm, with its instruction."""

    cubes: tuple[Cube, ...] = ()
    boxes: tuple[Box, ...] = ()                               # at most 2
    stands: tuple[Stand, ...] = ()                            # at most 2
    zones: tuple[Zone, ...] = ()                              # at most 1
    target_m: tuple[float, float, float] | None = None        # where the `reach` marker floats
    start_deg: tuple[float, ...] = START_DEG                  # (6,) body deg, gripper %
    light: Light = Light()
    table_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # multiplies the wood's colours
    mat_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    front_shift: CameraShift = CameraShift()
    wrist_shift: CameraShift = CameraShift()
    instruction: str = ""

    def cube(self, name: str) -> Cube:
        """The cube of that name; KeyError when the scene has none."""
        return {cube.name: cube for cube in self.cubes}[name]

    def box(self, name: str) -> Box:
        """The box of that name; KeyError when the scene has none."""
        return {box.name: box for box in self.boxes}[name]
