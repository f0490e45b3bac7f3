"""The scripted demonstrator at the wheel: an actor that may look at the simulation's truth.

    with Kit.sim("place", seed=1) as kit:
        kit.arm.energize()
        expert = ScriptedActor(kit.bench, noisy=True)
        for step in run_episode(kit, expert, seconds=15, finished=kit.bench.success): ...
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import from_radians
from smolkit.arm.kinematics import link_frames
from smolkit.cameras.camera import Observation
from smolkit.sim.bench import Bench
from smolkit.sim.demonstrator import Demonstrator, Perturbation
from smolkit.sim.mistakes import Misjudgement
from smolkit.sim.truth import truth_of
from smolkit.teleop.loop import Decision


class ScriptedActor:
    """Executes the expert's move; when noisy, stumbles and errs now and then and records the right move."""

    def __init__(self, bench: Bench, noisy: bool = False):
        self._bench, self._expert = bench, Demonstrator(bench.task)
        self._noise = Perturbation(bench.rng) if noisy else None
        self._belief = Misjudgement(bench.rng)

    def __call__(self, observation: Observation) -> Decision:
        truth = truth_of(self._bench.world)
        label_deg = self._expert.act(truth)                            # (6,)
        if self._noise is None:
            return Decision(label_deg)
        believed_deg = self._expert.act(self._belief.of(truth))
        return Decision(self._noise.disturb(from_radians(truth.goal_rad), believed_deg), label_deg)


PRIVILEGED_NAMES = ("cube.x", "cube.y", "cube.z", "place.x", "place.y", "cube_in_grip.x", "cube_in_grip.y",
                    "cube_in_grip.z", "place_in_grip.x", "place_in_grip.y", "place_in_grip.z")


def privileged_truth(bench: Bench) -> np.ndarray:
    """Where cube and destination truly are, in the base and as the gripper sees them: (11,) m.

    Only a simulation knows. Training may ask the picture tokens to name it; the policy never gets it.
    """
    truth = truth_of(bench.world)
    place_m = truth.cube_m if truth.place_m is None else truth.place_m
    to_grip = link_frames(truth.angle_rad)["gripper"][:3, :3].T
    return np.concatenate([truth.cube_m, place_m[:2], to_grip @ (truth.cube_m - truth.tip_m),
                           to_grip @ (place_m - truth.tip_m)])
