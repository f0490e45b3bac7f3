"""The tasks as Gymnasium environments: `smolkit/SO101Place-v0`, and Reach, Push, Pick, Fallen likewise.

    >>> import gymnasium
    >>> env = gymnasium.make("smolkit.sim.envs:smolkit/SO101Place-v0", image_px=64)
    >>> seen, info = env.reset(seed=3)
    >>> seen["state"].shape, seen["wrist"].shape, info["instruction"]
    ((6,), (64, 64, 3), 'put the blue cube in the green box')
    >>> env.close()

The part before the colon lets `make` import this module, which registers the five; after any import of it
the short ids do. (Gymnasium 1.0 gave up entry points of packages: it looks for no plugins by itself.)
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, from_radians
from smolkit.report import SmolkitError
from smolkit.sim.demonstrator import follow
from smolkit.sim.scene import Scene
from smolkit.sim.tasks import Task, task_named
from smolkit.sim.world import World

CAMERAS = ("front", "wrist")
NAMES = ("reach", "push", "pick", "place", "fallen")
ENV_IDS = {f"smolkit/SO101{name.capitalize()}-v0": name for name in NAMES}
FAR_DEG = 400.0                                   # no joint and no gripper percentage gets beyond


def register() -> tuple[str, ...]:
    """Makes the environments known to `gymnasium.make` and returns their ids; twice does no harm.

    Importing this module calls it. Call it again where somebody emptied `gymnasium.registry`.
    """
    for env_id, task in ENV_IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point="smolkit.sim.envs:SO101Env", kwargs={"task": task})
    return tuple(ENV_IDS)


class SO101Env(gymnasium.Env):
    """An SO-101 at a table with one of the tasks.

    | | space | meaning |
    |---|---|---|
    | action | Box (6,) float32 | where the joints shall be one period (0.1 s) ahead: deg, gripper 0-100 % |
    | `state` | Box (6,) float32 | where they are: deg, gripper % |
    | `front`, `wrist` | Box (H, W, 3) uint8 | RGB pictures, `image_px` high and wide |

    Start: a scene of the task drawn from the seed; `options={"scene": Scene(...)}` lays out that one.
    Reward: 1 in the step of success, else 0. Terminated on success, truncated after `task.timeout_s`.
    Info: `success` (bool), `instruction` (str), `time_s` (float). Version 0.

    This is an API of the simulation: actions drive the world without the arm's safety envelope. Goals are
    clipped to the joints' limits, but neither the envelope's speeds nor the demonstrator's pace apply, so
    that a policy learned here may move faster than an arm is let. Commands to servos always go through
    `smolkit.kit.Kit`, and so through its envelope.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, task: Task | str = "place", image_px: int = 96, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            raise SmolkitError("SK233", "render_mode None or 'rgb_array'", repr(render_mode),
                               "this world draws into arrays only", "pass render_mode='rgb_array'")
        self.task = task_named(task) if isinstance(task, str) else task
        self.image_px, self.render_mode = image_px, render_mode
        self.period_s = 1.0 / self.metadata["render_fps"]
        picture = spaces.Box(0, 255, (image_px, image_px, 3), np.uint8)
        state = spaces.Box(-FAR_DEG, FAR_DEG, (6,), np.float32)
        self.observation_space = spaces.Dict({"state": state, **{name: picture for name in CAMERAS}})
        self.action_space = spaces.Box(LOWER_DEG.astype(np.float32), UPPER_DEG.astype(np.float32))
        self.world = World()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """A new scene from the seed (or the given one), the arm at its start pose."""
        super().reset(seed=seed)
        scene: Scene = (options or {}).get("scene") or self.task.sample(self.np_random)
        self.world.reset(scene)
        self._begin_s = self.world.time_s
        return self._look(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Moves toward the goal for one period."""
        goal_deg = np.asarray(action, dtype=float)
        if goal_deg.shape != (6,) or not np.isfinite(goal_deg).all():
            raise SmolkitError("SK234", "an action of six finite numbers (deg, %)", repr(action),
                               "a policy that diverged, or has another number of joints", "print the action")
        follow(self.world, np.clip(goal_deg, LOWER_DEG, UPPER_DEG), self.period_s)
        success = self.task.success(self.world)
        late = self.world.time_s - self._begin_s >= self.task.timeout_s - 1e-9
        return self._look(), float(success), success, bool(late and not success), self._info(success)

    def render(self) -> np.ndarray | None:
        """The front camera's view (480, 640, 3), where `render_mode` asks for it."""
        return self.world.render("front", 480, 640) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self.world.close()

    def _look(self) -> dict[str, np.ndarray]:
        px, state_deg = self.image_px, from_radians(self.world.state().angle_rad)
        pictures = {name: self.world.render(name, px, px) for name in CAMERAS}
        return {"state": state_deg.astype(np.float32), **pictures}

    def _info(self, success: bool) -> dict:
        return {"success": success, "instruction": self.world.scene.instruction,
                "time_s": self.world.time_s - self._begin_s}


register()
