"""The bug hunt of lesson 03: a teleoperated session with one fault in it, drawn by a seed, that crashes nothing.

    >>> drawn(3) == drawn(3), len({drawn(seed).name for seed in range(6)})
    (True, 6)
    >>> "backlash" in SUSPECTS
    True

The faults are those of `smolkit.safety.faults`, injected while a hand on an emulated leader leads the arm through a
slow wave; whatever would stop the arm is no suspect here, because then the log names it. Each leaves a number behind.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from smolkit.arm.joints import JOINT_NAMES, to_radians
from smolkit.cameras.camera import Observation
from smolkit.kit import Kit
from smolkit.lessons.grammar import Exercise, is_number
from smolkit.lessons.teleop_ways import Hand
from smolkit.safety.faults import fault
from smolkit.teleop.leader import LeaderActor
from smolkit.teleop.loop import Decision, Pace, Step, run_episode

SUSPECTS = {
    "lost_writes": "half of the goals never reach the servos: a bad plug, or a second program on the port",
    "swapped_cameras": "the cables of the two cameras were exchanged",
    "backlash": "one joint has play: its gears are worn, its link follows a few degrees late",
    "slow_host": "the computer is busy, and the loop comes round too late",
    "stuck_policy": "somebody let go of the leader, or its cable is out: it says the same thing for ever",
    "camera_moved": "somebody knocked the front camera",
}
CAMERA_FAULTS = ("swapped_cameras", "camera_moved")
READY = np.array([0, -30, 40, 70, 0, 50.0])        # deg, gripper %: looks down, well above the table
SWAY, NOD = np.array([30, 0, 0, 0, 18, 0.0]), np.array([0, 10, -12, 10, 0, 35.0])
WAVE_S, SETTLE_S, SESSION_S, STUCK_AT = 5.0, 1.5, 7.0, 35
SCENE, IMAGE_PX = 3, 64
PACE = Pace(policy_hz=10, control_hz=30)


@dataclass(frozen=True)
class Drawn:
    """A fault, its parameters, and where a learner should say that it is."""

    name: str
    where: tuple[str, ...]                         # any of these names the place
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """One recorded session; `seed` draws its fault, None is the healthy one."""

    seed: int | None
    time_s: np.ndarray                             # (N,) when the joints were measured
    action_deg: np.ndarray                         # (N, 6) the leader's pose, what the follower shall do next
    state_deg: np.ndarray                          # (N, 6) where the follower was
    front: np.ndarray                              # (N, H, W, 3) uint8
    wrist: np.ndarray


def drawn(seed: int) -> Drawn:
    """The fault of a seed."""
    name, servo = list(SUSPECTS)[(5 * seed + 2) % 6], 1 + (seed // 6 + 2) % 3
    return {"lost_writes": Drawn(name, ("wire",), {"rate": 0.5, "seed": seed}),
            "swapped_cameras": Drawn(name, ("front", "wrist")), "camera_moved": Drawn(name, ("front",)),
            "backlash": Drawn(name, (JOINT_NAMES[servo - 1],), {"servo": servo, "play_deg": 7.0}),
            "slow_host": Drawn(name, ("loop",), {"late_s": 0.05}), "stuck_policy": Drawn(name, ("leader",))}[name]


def suspects() -> str:
    """The faults that may be drawn, one a line."""
    return "\n".join(f"{name:16} {words}" for name, words in sorted(SUSPECTS.items()))


def play(seed: int | None) -> list[Step]:
    """Leads the simulated arm through the wave, with the fault of that seed; a few seconds."""
    bug = drawn(seed) if seed is not None else None
    with Kit.sim("tour", SCENE, image_px=IMAGE_PX) as kit:
        kit.bench.bus.hand_pose(to_radians(READY))
        kit.arm.energize()
        begin_s = kit.clock.now_s() + SETTLE_S
        with Hand(kit.clock, lambda moment_s: wave(moment_s - begin_s)).leader as leader:
            actor = LeaderActor(leader, lambda: True, kit.guard.profile, kit.guard.range_deg)
            stuck = bug is not None and bug.name == "stuck_policy"
            target = actor if stuck else kit
            with fault(bug.name, target, **bug.parameters) if bug else nullcontext(actor) as spoiled:
                decide = _later(actor, spoiled) if stuck else actor
                return list(run_episode(kit, decide, SESSION_S, PACE))


def wave(moment_s: float) -> np.ndarray:
    """Where the hand holds the leader (6,): swaying and nodding, from rest."""
    turn = 2 * np.pi * max(0.0, moment_s) / WAVE_S
    return READY + np.sin(turn) * SWAY + np.sin(2 * turn) * NOD


def _later(actor: Callable, spoiled: Callable) -> Callable[[Observation], Decision]:
    """The leader is led for a while, before somebody lets go of it."""
    calls = count()
    return lambda seen: (actor if next(calls) < STUCK_AT else spoiled)(seen)


def session_of(seed: int | None, steps: list[Step]) -> Session:
    """Steps of the loop as arrays."""
    seen = [step.observation for step in steps]
    return Session(seed, np.array([one.captured_s for one in seen]), np.array([step.action_deg for step in steps]),
                   np.array([one.state_deg for one in seen]), np.array([one.images["front"] for one in seen]),
                   np.array([one.images["wrist"] for one in seen]))


# -- evidence -------------------------------------------------------------------------------------------------


def misses(session: Session) -> np.ndarray:
    """How far the follower stayed from what was asked a step before: (6,) mean of |action[t] - state[t+1]|."""
    return np.abs(session.action_deg[:-1] - session.state_deg[1:]).mean(axis=0)


def longest_stand_s(session: Session) -> float:
    """The longest time in which the action did not change at all."""
    still = np.append(np.abs(np.diff(session.action_deg, axis=0)).max(axis=1) < 1e-9, False)
    ends = np.flatnonzero(~still)
    return float(np.diff(np.concatenate([[-1], ends])).max() - 1) / PACE.policy_hz


def unlike(session: Session, healthy: Session) -> float:
    """Mean difference of the two first front pictures, of 255."""
    return float(np.abs(session.front[0].astype(float) - healthy.front[0].astype(float)).mean())


def evidence(session: Session, healthy: Session) -> tuple[float, str]:
    """(the number that convicts the fault of this session, what it is, in words)."""
    bug = drawn(session.seed)
    if bug.name == "slow_host":
        return 1000 * float(np.diff(session.time_s).max()), "the longest time between two moments in time_s, in ms"
    if bug.name == "backlash":
        return (float(misses(session)[JOINT_NAMES.index(bug.where[0])]),
                "the mean of |action[t] - state[t+1]| of that joint, in deg")
    if bug.name == "lost_writes":
        return float(misses(session)[:5].mean()), "the mean of |action[t] - state[t+1]| of the five body joints, in deg"
    if bug.name == "stuck_policy":
        return longest_stand_s(session), "for how many seconds the action does not change"
    return unlike(session, healthy), "the mean difference of the first front pictures of the two sessions, of 255"


def check_hunt(found: Any, session: Session, healthy: Session) -> str:
    """Exercise 3.4: which fault, where, and the number that shows it."""
    exercise = Exercise("3.4")
    if unfilled := exercise.unfilled(found, ("fault", "where", "evidence")):
        return unfilled
    bug, (right, words) = drawn(session.seed), evidence(session, healthy)
    if found["fault"] not in list(SUSPECTS):       # a list: what a learner wrote may have no hash
        return exercise.not_yet(f"The fault is one of {', '.join(sorted(SUSPECTS))}")
    if found["fault"] != bug.name:
        return exercise.not_yet(_why_not(found["fault"], session, healthy))
    if found["where"] not in bug.where:
        return exercise.not_yet("The fault is right. Where: a joint's name, front, wrist, loop, leader or wire?")
    if not is_number(found["evidence"]) or abs(found["evidence"] - right) > max(0.2 * right, 0.15):
        return exercise.not_yet(f"Fault and place are right. As evidence give {words}")
    return exercise.passed(f"{bug.name} ({found['where']}), shown by {right:.3g}: {words}")


def _why_not(name: str, session: Session, healthy: Session) -> str:
    """What speaks against a suspect, as a number of this session beside the healthy one's."""
    if name == "slow_host":
        return f"If the loop were slow, its periods would be longer; the longest is {_worst_ms(session):.0f} ms"
    if name == "stuck_policy":
        return f"A stuck leader leaves the same action again and again; here for {longest_stand_s(session):.1f} s, " \
               f"in the healthy session for {longest_stand_s(healthy):.1f} s"
    if name in CAMERA_FAULTS:
        apart = unlike(session, healthy)
        return f"The first front pictures of the two sessions differ by {apart:.1f} of 255" + (
            ". A moved camera still sees the same table, from elsewhere" if apart > 1 else ": that is nothing")
    worst = " ".join(f"{here:.1f}({there:.1f})" for here, there in zip(misses(session), misses(healthy), strict=True))
    return f"Look how far each joint stays from what was asked, here (healthy), deg: {worst}. One joint, or all?"


def _worst_ms(session: Session) -> float:
    return 1000 * float(np.diff(session.time_s).max())
