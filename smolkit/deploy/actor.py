"""A policy at the wheel: chunks of actions in, one decision per policy step out.

    actor = ChunkActor(policy, execute=4)
    for step in run_episode(kit, actor, seconds=12): ...

SmolVLA predicts a whole chunk (16 or 50 steps) at once. Executing all of it means driving blind for
seconds; executing the first few and looking again costs more inference and pays for it: on the
course's task 4 of 16 steps beat 16 of 16 by thirty points.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.speed import prepare
from smolkit.smolvla.statistics_checks import check_units
from smolkit.teleop.loop import Decision


class ChunkActor:
    """Executes the first `execute` steps of each chunk, then predicts again from a fresh look.

    >>> from smolkit.smolvla.fake import tiny_policy
    >>> ChunkActor(tiny_policy()).execute                        # the policy's own n_action_steps
    5
    """

    def __init__(self, policy: SmolVLAPolicy, execute: int | None = None):
        self.execute = _own_steps(policy) if execute is None else execute
        if self.execute < 1:
            raise SmolkitError("SK701", "at least 1 executed step per chunk", str(execute),
                               "a typing mistake in the deployment's settings", "set execute to 4")
        require_degrees(policy)
        self._policy = prepare(policy) if isinstance(policy, SmolVLAPolicy) else policy       # else a control
        self._queue: deque[np.ndarray] = deque()

    def reset(self) -> None:
        """Forgets the rest of the last chunk; call it before every episode."""
        self._queue.clear()

    def __call__(self, observation: Observation) -> Decision:
        if not self._queue:
            chunk = self._policy.predict(observation)
            self._queue.extend(chunk.actions_deg[:self.execute])      # each (6,)
        return Decision(self._queue.popleft())


def require_degrees(policy: SmolVLAPolicy) -> None:
    """SK703: the policy learned in radians, or in percent of the joints' ranges; its statistics betray it."""
    processors = getattr(policy, "processors", None)
    actions = processors.normalizer.stats.get("action", {}) if processors else {}
    if {"min", "max"} <= set(actions):
        check_units({"action": actions}).raise_if_red()


def _own_steps(policy: SmolVLAPolicy) -> int:
    """What the policy's config says; a control that wraps a policy has no config."""
    model = getattr(policy, "model", None)
    if model is None:
        raise SmolkitError("SK701", "how many steps of each chunk to execute", "none given, and no config",
                           f"{type(policy).__name__} only wraps a policy", "give execute=...")
    return model.config.n_action_steps
