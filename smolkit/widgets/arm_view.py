"""The arm as a drawing: from the side and from above, each link in its joint's colour, with its six numbers.

    >>> view = ArmView(lambda: np.array([30, -45, 30, 75, 0, 30.0]))     # deg, gripper %; or `view.show(pose)`
    >>> _ = view.refresh()
    >>> print(tip_words(view.pose_deg))
    tip 18.8 cm ahead, 8.6 cm right, 11.4 cm high

Drawn from `smolkit.arm.kinematics`, so what it shows is where the arm would be if its calibration is right: a
drawing that differs from the arm beside it is how one sees that a calibration is wrong. `ghost` draws a second
pose behind the first: the goal, or the leader. `ArmView3D` is MuJoCo's picture of the same pose.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES, LOWER_DEG, UPPER_DEG, servo_name, to_radians
from smolkit.arm.kinematics import link_frames, tool_frame
from smolkit.plotting import JOINT_COLORS
from smolkit.widgets.panel import RED, Panel, img_html

if TYPE_CHECKING:
    from smolkit.sim.world import World

Look = Callable[[], np.ndarray]                    # -> pose (6,): deg, gripper %
AXIS_M = np.array([0.0388353, 0.0])                # where the pan axis stands, x and y
# What is drawn of each link: points in its own frame, m. The forks' middles are 18.3 mm beside the URDF's origins.
BEAMS = (
    ("shoulder", (("shoulder", (0, 0, 0)), ("upper_arm", (0, 0, 0.0183))), 17),
    ("upper_arm", (("upper_arm", (0, 0, 0.0183)), ("lower_arm", (0, 0, 0.0183))), 15),
    ("lower_arm", (("lower_arm", (0, 0, 0.0183)), ("wrist", (0, 0, 0.0181))), 13),
    ("wrist", (("wrist", (0, 0, 0.0181)), ("gripper", (0, 0, 0.005))), 13),
    ("gripper", (("gripper", (0.016, 0, -0.020)), ("gripper", (-0.0165, 0, -0.020)), ("gripper", (-0.0165, 0, -0.062)),
                 ("gripper", (-0.0125, 0, -0.102))), 7),
    ("jaw", (("jaw", (0, 0, 0.0185)), ("jaw", (0, -0.04, 0.0185)), ("jaw", (-0.0075, -0.083, 0.0185))), 7),
)
SCALE = 380                                        # px per m
SIDE, TOP = np.array([112, 232]), np.array([424, 152])     # px: where the base's origin stands in the two views
WIDTH, HEIGHT, TABLE_X = 745, 268, 585
# A photographer's place: half from the left, half from the front, as high as the raised arm,
EYE_M, LOOK_M = (0.78, 0.64, 0.48), (0.10, 0.0, 0.19)       # so far away that no pose leaves the picture
PHOTO_PX = (360, 480)


def arm_svg(pose_deg: np.ndarray, ghost_deg: np.ndarray | None = None, alt: str = "", numbers: bool = True,
            servo: int | None = None) -> str:
    """The drawing of a pose (6,), and of `ghost_deg` pale behind it; deg, gripper %.

    numbers: the six beside it. servo: an id, to be pointed at.
    """
    width = WIDTH if numbers else TABLE_X
    ghosts = "" if ghost_deg is None else f'<g class="smolkit-ghost" opacity=".28">{_arms(ghost_deg)}</g>'
    return (f'<svg class="smolkit-arm" viewBox="0 0 {width} {HEIGHT}" width="{width}" role="img" '
            f'aria-label="{escape(alt or describe(pose_deg))}" fill="currentColor" font-size="11" '
            f'stroke-linecap="round" stroke-linejoin="round">{_STAGE}{ghosts}{_arms(pose_deg)}'
            f"{_pointer(pose_deg, servo) if servo else ''}"
            f"{_numbers(pose_deg, ghost_deg) if numbers else ''}</svg>")


def describe(pose_deg: np.ndarray) -> str:
    """The pose in words: six joints, and where the tip is."""
    joints = ", ".join(f"{name} {_number(i, pose_deg[i])}" for i, name in enumerate(JOINT_NAMES))
    return f"{joints}\n{tip_words(pose_deg)}"


def tip_words(pose_deg: np.ndarray) -> str:
    """Where the gripper's tip is, in centimetres from the base's origin."""
    x, y, z = 100 * tool_frame(to_radians(pose_deg))[:3, 3]
    return (f"tip {abs(x):.1f} cm {'ahead' if x >= 0 else 'behind'}, {abs(y):.1f} cm {'left' if y >= 0 else 'right'}, "
            f"{abs(z):.1f} cm {'high' if z >= 0 else 'below the table'}")


def _number(joint: int, value: float) -> str:
    return f"{value:.0f} %" if joint == GRIPPER else f"{value:+.1f} deg"


def _flat(pose_deg: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The beams' points in px: from the arm's right side, in the plane that its links move in, and from above."""
    frames = link_frames(to_radians(pose_deg))
    ahead = -frames["shoulder"][:2, 0]             # (2,) where the pan joint points
    beams = [np.array([(frames[link] @ (*point, 1))[:3] for link, point in points]) for _, points, _ in BEAMS]
    side = [np.column_stack([AXIS_M[0] + (at[:, :2] - AXIS_M) @ ahead, at[:, 2]]) for at in beams]      # (n, 2) m
    return ([SIDE + SCALE * at * (1, -1) for at in side], [TOP + SCALE * at[:, :2] * (1, -1) for at in beams])


def _arms(pose_deg: np.ndarray) -> str:
    return "".join(_view(px) for px in _flat(pose_deg))


def _view(px: list[np.ndarray]) -> str:
    """The gripper last, so that it is never hidden; then the joints' axes as dots."""
    lines = "".join(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}" fill="none" '
                    f'stroke="{colour}" stroke-width="{width}"/>'
                    for at, (_, _, width), colour in zip(px, BEAMS, JOINT_COLORS, strict=True))
    dots = "".join(f'<circle cx="{at[0, 0]:.1f}" cy="{at[0, 1]:.1f}" r="{width / 4 + 1:.1f}" fill="white" '
                   f'stroke="{colour}" stroke-width="2"/>'
                   for at, (_, _, width), colour in zip(px[:4], BEAMS, JOINT_COLORS, strict=False))
    return lines + dots


def _pointer(pose_deg: np.ndarray, servo: int) -> str:
    """A ring around the servo, from the side, and its name where no link is drawn."""
    side, _ = _flat(pose_deg)
    x, y = side[3][1] if servo == 5 else side[servo - 1][0]        # the roll servo sits at the wrist's end
    line, at, anchor = (("h-16", (x - 38, y + 4), "end") if servo <= 3 else ("v-16", (x, y - 38), "middle"))
    start = (x - 17, y) if servo <= 3 else (x, y - 17)
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="15" fill="none" stroke="{JOINT_COLORS[servo - 1]}" '
            f'stroke-width="4"/><path d="M{start[0]:.1f} {start[1]:.1f}{line}" stroke="currentColor"/>'
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" font-size="13" font-weight="bold">'
            f"{servo_name(servo)}</text>")


def _stage() -> str:
    """What stands still: the table with its centimetres, rings around the base, the base itself."""
    x, y = SIDE
    ticks = "".join(f'<path d="M{x + SCALE * cm / 100:.0f} {y}v5" stroke="currentColor"/>'
                    f'<text x="{x + SCALE * cm / 100:.0f}" y="{y + 17}" text-anchor="middle" opacity=".65">{cm}</text>'
                    for cm in (-20, -10, 0, 10, 20, 30, 40))
    foot = f'<path d="M{x - 9} {y}v-10h6v-13h24v13h4v10z" opacity=".35"/>'
    side = (f'<text x="8" y="14" font-weight="bold">from its side</text>{foot}'
            f'<rect x="8" y="{y}" width="285" height="4" opacity=".3"/>{ticks}'
            f'<text x="293" y="{y + 31}" text-anchor="end" opacity=".65">cm along the table</text>')
    a, b = TOP
    axis = a + SCALE * AXIS_M[0]
    rings = "".join(f'<circle cx="{axis:.0f}" cy="{b}" r="{SCALE * cm / 100:.0f}" fill="none" stroke="currentColor" '
                    f'stroke-dasharray="2 4" opacity=".4"/><text x="{axis:.0f}" y="{b + SCALE * cm / 100 - 3:.0f}" '
                    f'text-anchor="middle" opacity=".65">{cm} cm</text>' for cm in (10, 20, 30))
    top = (f'<text x="312" y="14" font-weight="bold">from above</text>{rings}'
           f'<rect x="{a - 9}" y="{b - 21}" width="34" height="42" rx="4" opacity=".35"/>')
    return side + top


_STAGE = _stage()


def _numbers(pose_deg: np.ndarray, ghost_deg: np.ndarray | None) -> str:
    """The six joints: name, value, and a small scale from stop to stop with the value on it."""
    rows = []
    for i, (name, colour) in enumerate(zip(JOINT_NAMES, JOINT_COLORS, strict=True)):
        y = 22 + 35 * i
        at, behind = (TABLE_X + 155 * float(np.clip((value - LOWER_DEG[i]) / (UPPER_DEG[i] - LOWER_DEG[i]), 0, 1))
                      for value in (pose_deg[i], pose_deg[i] if ghost_deg is None else ghost_deg[i]))
        ghost = ("" if ghost_deg is None else
                 f'<circle cx="{behind:.1f}" cy="{y + 7}" r="5" fill="{colour}" opacity=".4"/>')
        rows.append(f'<text x="{TABLE_X}" y="{y}">{name}</text><text x="{TABLE_X + 155}" y="{y}" text-anchor="end" '
                    f'font-weight="bold" style="font-variant-numeric: tabular-nums">'
                    f'{_number(i, pose_deg[i]).replace(" deg", "°")}</text>'
                    f'<path d="M{TABLE_X} {y + 7}h155" stroke="currentColor" stroke-width="3" opacity=".2"/>{ghost}'
                    f'<circle cx="{at:.1f}" cy="{y + 7}" r="5" fill="{colour}"/>')
    words = tip_words(pose_deg)
    alarm = f' fill="{RED}" font-weight="bold"' if "below" in words else ""
    lines = "".join(f'<text x="{TABLE_X}" y="{232 + 14 * i}"{alarm}>{part}</text>'
                    for i, part in enumerate(words.split(", ")))
    return "".join(rows) + lines


class ArmView(Panel):
    """The drawing, kept up to date: `look` gives the pose (6,), or `show` is told it."""

    def __init__(self, look: Look | None = None):
        super().__init__()
        self._look, self.rate_hz = look, self.rate_hz if look else 0.0
        self.pose_deg, self.ghost_deg = np.zeros(6), None

    def show(self, pose_deg: np.ndarray, ghost_deg: np.ndarray | None = None) -> None:
        """Draws a pose (6,), deg and gripper %, now."""
        with self.lock:
            self.pose_deg, self.ghost_deg = np.asarray(pose_deg, float), ghost_deg
            self._paint()

    @property
    def alt(self) -> str:
        return "The arm from its side and from above: " + describe(self.pose_deg)

    def sample(self) -> None:
        if self._look is not None:
            self.pose_deg = np.asarray(self._look(), float)

    def picture(self) -> str:
        return arm_svg(self.pose_deg, self.ghost_deg, self.alt)

    def text(self) -> str:
        return describe(self.pose_deg)


class ArmView3D(ArmView):
    """MuJoCo's picture of the pose, at most five a second; it opens a renderer of its own at the first."""

    rate_hz = 5.0
    _world: World | None = None

    @property
    def alt(self) -> str:
        return "The arm on its table, half from the left: " + describe(self.pose_deg)

    def picture(self) -> str:
        if self._world is None:
            self._world = _studio()
        self._world.place(to_radians(self.pose_deg))
        return img_html(self._world.render("front", *PHOTO_PX), self.alt, PHOTO_PX[1])

    def close(self) -> None:
        """Ends the looks, and frees the renderer."""
        super().close()
        with self.lock:
            if self._world is not None:
                self._world.close()
                self._world = None


def _studio() -> World:
    """An empty table, and the front camera at the photographer's place."""
    from smolkit.sim.room_model import look_at
    from smolkit.sim.world import World
    world = World()
    camera = world.model.camera("front")
    camera.pos[:], camera.quat[:] = EYE_M, look_at(EYE_M, LOOK_M, (0, 0, 1))
    return world
