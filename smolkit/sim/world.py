"""The simulated bench: an SO-101, a table and a scene, as a plant, as pictures and as the truth.

    >>> from smolkit.sim.scene import Cube, Scene
    >>> world = World(Scene(cubes=(Cube("red cube", "red", (0.25, 0.05, 0.0125)),)))
    >>> world.drive(world.state().angle_rad, np.ones(6, bool), np.ones(6))
    >>> world.advance_to(0.1)
    >>> world.time_s, world.cube_position("red cube").round(3)
    (0.1, array([0.25 , 0.05 , 0.012]))
    >>> world.touching("red cube", "table"), world.touching("red cube", "jaw")
    (True, False)

It implements `smolkit.arm.plant.Plant`. Until somebody drives it, the arm holds its start pose. Physics
runs in steps of 4 ms. The world draws no random numbers: the same scene and commands give the same bits.
Metres, radians and seconds in the arm's base frame.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np

from smolkit.arm.joints import GRIPPER, to_radians
from smolkit.arm.kinematics import LINKS
from smolkit.arm.plant import PlantState
from smolkit.report import SmolkitError
from smolkit.sim.arm_model import KP, STALL_NM
from smolkit.sim.furnish import furnish
from smolkit.sim.render import Renderer, open_renderer
from smolkit.sim.room_model import STEP_S, compile_model
from smolkit.sim.scene import Scene

ARM = slice(0, 6)                                            # the arm's joints come first in qpos and qvel
GRIPPER_LIMIT = 0.5                                          # of stall, as LeRobot sets it: 0.8 N m
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
CAMERAS = ("front", "wrist")


@dataclass(frozen=True)
class Snapshot:
    """All that is needed to be in this moment again, in a world of the same scene."""

    scene: Scene
    state: np.ndarray                                        # mujoco's integration state
    force_range: np.ndarray                                  # (6, 2) N m
    gain: np.ndarray                                         # (6,) the servos' P as multiples of 16
    steps: int


class World:
    """One bench. `reset` lays out another scene in under a millisecond; share a `renderer` among worlds."""

    def __init__(self, scene: Scene | None = None, *, renderer: Renderer | None = None, start_s: float = 0.0):
        self._lock = threading.RLock()                       # of the physics: held for some microseconds
        self._drawing = threading.RLock()                    # of what is drawn: held for a whole picture, taken first
        self._renderer, self._owns_renderer = renderer, renderer is None
        self._start_s = start_s
        self._cubes = -1
        self._gain = np.ones(6)                              # P as multiples of 16
        self.reset(Scene() if scene is None else scene)

    # --- the scene ---------------------------------------------------------------------------------------

    def reset(self, scene: Scene | None = None) -> None:
        """Lays out `scene` (the same one when None): arm at its start pose, everything at rest, time zero.

        The servos keep the P gain that `tune` gave them, as real ones do when the table is laid anew.
        """
        with self._drawing, self._lock:
            self.scene = self.scene if scene is None else scene
            if len(self.scene.cubes) != self._cubes:
                self._cubes = len(self.scene.cubes)
                self.model = copy.copy(compile_model(self._cubes))
                self.data, self._posed = mujoco.MjData(self.model), mujoco.MjData(self.model)
                self._stiffen()
            mujoco.mj_resetData(self.model, self.data)
            self._ids = {"table": 0, **{link: self.model.body(link).id for link in LINKS},
                         **furnish(self.model, self.data, self.scene)}
            self._steps = 0
            self.place(to_radians(np.array(self.scene.start_deg)))
            limit = np.ones(6)
            limit[GRIPPER] = GRIPPER_LIMIT
            self.drive(self.state().angle_rad, np.ones(6, bool), limit)

    def lay(self, scene: Scene) -> None:
        """Lays out `scene` around the arm, as a person does between two trials: time, pose and servos go on."""
        with self._drawing, self._lock:
            pose_rad, goal_rad, steps = self.data.qpos[ARM].copy(), self.data.ctrl.copy(), self._steps
            force_range = self.model.actuator_forcerange.copy()
            self.reset(scene)
            self.place(pose_rad)
            self.data.ctrl[:], self.model.actuator_forcerange[:], self._steps = goal_rad, force_range, steps

    def place(self, angle_rad: np.ndarray) -> None:
        """Puts the arm into a pose (6,) rad as by hand: at rest, and the goal there too."""
        with self._lock:
            self.data.qpos[ARM], self.data.qvel[ARM], self.data.ctrl[:] = angle_rad, 0.0, angle_rad
            mujoco.mj_forward(self.model, self.data)

    def snapshot(self) -> Snapshot:
        """This moment, to come back to with `restore`."""
        with self._lock:
            state = np.empty(mujoco.mj_stateSize(self.model, STATE))
            mujoco.mj_getState(self.model, self.data, state, STATE)
            return Snapshot(self.scene, state, self.model.actuator_forcerange.copy(), self._gain, self._steps)

    def restore(self, moment: Snapshot) -> None:
        """Back to a snapshot, of this world or of another one."""
        with self._drawing, self._lock:
            if moment.scene != self.scene:
                self.reset(moment.scene)
            mujoco.mj_setState(self.model, self.data, moment.state, STATE)
            self.model.actuator_forcerange[:] = moment.force_range
            self.tune(moment.gain)
            self._steps = moment.steps
            mujoco.mj_forward(self.model, self.data)

    # --- the plant ---------------------------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        return self._start_s + round(self._steps * STEP_S, 9)

    def state(self) -> PlantState:
        """The six shafts now."""
        with self._lock:
            return PlantState(self.data.qpos[ARM].copy(), self.data.qvel[ARM].copy(),
                              self.data.actuator_force / STALL_NM)

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        """Position goals (6,) rad, torque switches (6,) bool, torque caps (6,) 0..1 of stall."""
        goal_rad = np.asarray(goal_rad, dtype=float)
        if goal_rad.shape != (6,) or not np.isfinite(goal_rad).all():
            raise SmolkitError("SK210", "six finite goals in rad", repr(goal_rad),
                               "a policy or converter produced NaN, or another number of joints",
                               "look at what is handed to drive()")
        cap = STALL_NM * np.clip(torque_limit, 0.0, 1.0) * np.asarray(torque_on, dtype=bool)   # (6,) N m
        with self._lock:
            self.data.ctrl[:] = goal_rad
            self.model.actuator_forcerange[:] = np.stack([-cap, cap], axis=1)

    def tune(self, gain: np.ndarray) -> None:
        """The servos' P gain (6,), as multiples of LeRobot's 16: 2 is the factory's 32, twice as stiff."""
        gain = np.array(gain, dtype=float)
        if gain.shape != (6,) or not np.isfinite(gain).all() or (gain < 0).any():
            raise SmolkitError("SK215", "six finite gains, none negative", repr(gain),
                               "another number of servos, or a gain that would push away from the goal",
                               "hand tune() P_Coefficient / 16 of each servo")
        with self._lock:
            self._gain = gain
            self._stiffen()

    def _stiffen(self) -> None:
        """The gains into this world's own copy of the model; damping is the motor's and stays."""
        stiffness = KP * self._gain                          # (6,) N m/rad
        self.model.actuator_gainprm[:, 0], self.model.actuator_biasprm[:, 1] = stiffness, -stiffness

    def goal_rad(self) -> np.ndarray:
        """The goals (6,) rad that the servos hold now."""
        with self._lock:
            return self.data.ctrl.copy()

    def advance_to(self, moment_s: float) -> None:
        """Steps physics up to `moment_s` (never past it); a moment in the past does nothing."""
        with self._lock:
            steps = int((moment_s - self._start_s) / STEP_S + 1e-6) - self._steps
            if steps > 0:
                mujoco.mj_step(self.model, self.data, nstep=steps)
                self._steps += steps

    # --- the truth ---------------------------------------------------------------------------------------

    def body_pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) m and quaternion (4,) w x y z of a link or of a thing of the scene, by name."""
        with self._lock:
            body = self._body(name)
            mujoco.mj_kinematics(self.model, self.data)
            return self.data.xpos[body].copy(), self.data.xquat[body].copy()

    def body_frame(self, name: str) -> np.ndarray:
        """Homogeneous transform (4, 4) from a body's axes to the base."""
        position, quat = self.body_pose(name)
        frame, turn = np.eye(4), np.empty(9)
        mujoco.mju_quat2Mat(turn, quat)
        frame[:3, :3], frame[:3, 3] = turn.reshape(3, 3), position
        return frame

    def body_velocity(self, name: str) -> np.ndarray:
        """Linear velocity (3,) m/s of a body's centre."""
        with self._lock:
            velocity = np.empty(6)
            mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, self._body(name),
                                     velocity, 0)
            return velocity[3:]

    def tool_position(self) -> np.ndarray:
        """Where the gripper's tip is: (3,) m, the tool frame of `smolkit.arm.kinematics`."""
        with self._lock:
            mujoco.mj_kinematics(self.model, self.data)
            return self.data.site("tool").xpos.copy()

    def cube_position(self, name: str) -> np.ndarray:
        """Centre (3,) m of a cube of the scene."""
        return self.body_pose(name)[0]

    def lowest_solid_m(self) -> float:
        """Height over the table of the lowest point of the arm's moving solids; negative: inside the table."""
        with self._lock:
            mujoco.mj_kinematics(self.model, self.data)
            links = [self._ids[link] for link in LINKS[1:]]                      # the base stands
            solid = np.flatnonzero((self.model.geom_group == 3) & np.isin(self.model.geom_bodyid, links))
            up = self.data.geom_xmat[solid].reshape(-1, 3, 3)[:, 2]              # (n, 3) row of z
            half_m = (np.abs(up) * self.model.geom_size[solid]).sum(1)           # (n,) above and below the centre
            return float((self.data.geom_xpos[solid, 2] - half_m).min())

    def touching(self, a: str, b: str) -> bool:
        """Whether two bodies are in contact: links, things of the scene, or "table"."""
        with self._lock:
            pair = {self._body(a), self._body(b)}
            owner = self.model.geom_bodyid
            return any({int(owner[g]), int(owner[h])} == pair for g, h in self.data.contact.geom)

    def _body(self, name: str) -> int:
        if name not in self._ids:
            raise SmolkitError("SK211", f"one of {', '.join(self._ids)}", repr(name),
                               "the scene has no such thing", "see world.scene")
        return self._ids[name]

    # --- pictures ----------------------------------------------------------------------------------------

    def render(self, camera: str, height_px: int, width_px: int, fine: bool | None = None) -> np.ndarray:
        """What the "front" or "wrist" camera sees: (H, W, 3) uint8 RGB.

        `fine` (shadows, smooth edges) is None by size: from 200 px on.
        """
        if camera not in CAMERAS:
            raise SmolkitError("SK212", f"a camera of {CAMERAS}", repr(camera), "a typing error",
                               "name one of the two")
        with self._drawing:
            with self._lock:                                 # a large picture takes 60 ms: physics and servos go on
                self._posed.qpos[:] = self.data.qpos
            mujoco.mj_kinematics(self.model, self._posed)
            mujoco.mj_camlight(self.model, self._posed)
            return self.renderer.draw(self.model, self._posed, camera, height_px, width_px, fine)

    @property
    def renderer(self) -> Renderer:
        """The renderer, opened when first needed; hand it to other worlds to share it."""
        if self._renderer is None:
            self._renderer = open_renderer(self.model)
        return self._renderer

    def close(self) -> None:
        """Closes the renderer if this world opened it."""
        if self._owns_renderer and self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@lru_cache(maxsize=1)
def shared_renderer() -> Renderer:
    """One for all worlds of this process that come and go: making one costs half a second."""
    return World().renderer
