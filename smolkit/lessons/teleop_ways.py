"""Four ways to lead an arm to the same ball: what each leaves in a recording, without a person at hand.

    >>> led = lead("sliders")
    >>> led.reached, led.state_deg.shape[1]
    (True, 6)

The hand on the leader, the fingers on the keys and on the sliders are emulated: a hand moves all joints at once along
a smooth path (Flash and Hogan 1985: people minimise jerk), keys and sliders are used one after the other, with a
look in between. Leader, pilots, loop, guard and servos are the real ones, in stepped time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from smolkit.arm import fake
from smolkit.arm.emulator import connect
from smolkit.arm.inverse import approach_pitch, reach
from smolkit.arm.joints import JOINT_NAMES, from_radians, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.cameras.camera import Observation
from smolkit.clock import Clock
from smolkit.data.checks.motion import STILL_DEG_S, idle_share
from smolkit.kit import Kit
from smolkit.sim.truth import truth_of
from smolkit.teleop.keys import KeyPilot
from smolkit.teleop.leader import LeaderActor, LeaderArm
from smolkit.teleop.loop import Actor, Decision, Pace, run_episode
from smolkit.teleop.scripted import ScriptedActor
from smolkit.teleop.sliders import SliderPilot

PACE = Pace(policy_hz=30, control_hz=30)           # fine enough to see a lag of 100 ms
LONGEST_S, LOOK_S = 20.0, 0.4                      # a beginner looks so long before the next key
CLUTCH_S, HAND_S, TREMOR_DEG = 1.1, 1.8, 0.15      # the clutch takes; the reach; what no hand can help
NEAR_M = 0.006


@dataclass(frozen=True)
class Led:
    """One motion as it was led (action) and as it was done (state)."""

    way: str
    time_s: np.ndarray                             # (N,)
    action_deg: np.ndarray                         # (N, 6) body deg, gripper %
    state_deg: np.ndarray                          # (N, 6)
    reached: bool


def lead(way: str, seed: int = 9) -> Led:
    """Leads the simulated arm to the ball of that scene, in one of `WAYS`, all under the same profile."""
    with Kit.sim("reach", seed, profile="standard") as kit:
        kit.cameras.clear()
        kit.arm.energize()
        goal_deg = ball_pose(kit)
        with WAYS[way](kit, goal_deg) as actor:
            steps = list(run_episode(kit, actor, LONGEST_S, PACE, finished=kit.bench.success))
            steps = steps[round(CLUTCH_S * PACE.policy_hz):] if way == "leader" else steps   # recorded once it follows
        return Led(way, np.arange(len(steps)) / PACE.policy_hz,
                   np.array([step.action_deg for step in steps]),
                   np.array([step.observation.state_deg for step in steps]), kit.bench.success())


def ball_pose(kit: Kit) -> np.ndarray:
    """The pose (6,) in which the tip touches the ball."""
    truth = truth_of(kit.bench.world)
    found = reach(truth.place_m, approach_pitch(truth.angle_rad), start_rad=truth.angle_rad)
    return from_radians(np.append(found.angle_rad[:5], truth.jaw_rad))


class Hand:
    """Holds an emulated leader and moves it: `path` gives its pose (6,) at each moment of the clock."""

    def __init__(self, clock: Clock, path: Callable[[float], np.ndarray], seed: int = 4):
        self._servos, self._path = fake.servos(seed), path
        calibration = fake.calibrated(self._servos)
        clock.on_advance(self._servos.advance_to)
        clock.on_advance(lambda moment_s: self._servos.hand_pose(to_radians(path(moment_s))))
        self._servos.hand_pose(to_radians(path(clock.now_s())))
        self.leader = LeaderArm(connect(self._servos), calibration, clock)


def smooth(begin_deg: np.ndarray, end_deg: np.ndarray, share: float) -> np.ndarray:
    """The way of a hand from pose to pose (6,), `share` 0..1 of its time: jerk is least."""
    u = float(np.clip(share, 0, 1))
    return begin_deg + (end_deg - begin_deg) * u**3 * (10 - 15 * u + 6 * u**2)


@contextmanager
def by_leader(kit: Kit, goal_deg: np.ndarray) -> Iterator[Actor]:
    """A hand on the leader; it waits a second, until what differed has faded, and then goes."""
    start_deg, begin_s, rng = kit.arm.read().pos_deg, kit.clock.now_s() + CLUTCH_S, np.random.default_rng(7)
    phase = rng.uniform(0, 2 * np.pi, 6)

    def path(moment_s: float) -> np.ndarray:
        tremor = TREMOR_DEG * np.sin(2 * np.pi * 8.0 * moment_s + phase)       # physiological: 8 to 12 Hz
        return smooth(start_deg, goal_deg, (moment_s - begin_s) / HAND_S) + tremor * (np.arange(6) < 5)

    with Hand(kit.clock, path).leader as leader:
        yield LeaderActor(leader, lambda: True, kit.guard.profile, kit.guard.range_deg)


@contextmanager
def by_sliders(kit: Kit, goal_deg: np.ndarray) -> Iterator[Actor]:
    """One slider after the other, each looked for first."""
    pilot, left = SliderPilot(kit.guard.profile, kit.guard.range_deg, speed_deg_s=45.0), list(range(5))
    since_s = kit.clock.now_s()

    def person(seen: Observation) -> Decision:
        nonlocal since_s
        decision = pilot(seen)
        if not pilot.arrived:
            since_s = seen.captured_s
        elif left and seen.captured_s - since_s > LOOK_S:
            joint = left.pop(0)
            pilot.set(**{JOINT_NAMES[joint]: float(np.clip(goal_deg[joint], *pilot.limits_deg[:, joint]))})
        return decision
    yield person


@contextmanager
def by_keys(kit: Kit, goal_deg: np.ndarray) -> Iterator[Actor]:
    """Keys that drive the tip: forward, then left, then down, each until it looks right; then once more."""
    pilot, place_m = KeyPilot(kit.guard.profile, kit.guard.range_deg), tool_frame(to_radians(goal_deg))[:3, 3]
    keys, axis, free_s = (("KeyW", "KeyS"), ("KeyA", "KeyD"), ("KeyR", "KeyF")), 0, kit.clock.now_s() + LOOK_S

    def person(seen: Observation) -> Decision:
        nonlocal axis, free_s
        gap_m = place_m - tool_frame(to_radians(seen.state_deg))[:3, 3]        # (3,) forward, left, up
        if seen.captured_s < free_s:
            pilot.press(set())
        elif abs(gap_m[axis]) < NEAR_M:
            pilot.press(set())
            axis, free_s = int(np.abs(gap_m).argmax()), seen.captured_s + LOOK_S
        else:
            slow = {"ShiftLeft"} if abs(gap_m[axis]) < 0.03 else set()
            pilot.press({keys[axis][0 if gap_m[axis] > 0 else 1], *slow})
        return pilot(seen)
    yield person


@contextmanager
def by_script(kit: Kit, goal_deg: np.ndarray) -> Iterator[Actor]:
    """The demonstrator that knows where everything is. It decides at 10 Hz; between, its last word stands."""
    expert, last, due_s = ScriptedActor(kit.bench), None, -1.0

    def tenth(seen: Observation) -> Decision:
        nonlocal last, due_s
        if seen.captured_s >= due_s - 1e-6:
            last, due_s = expert(seen), seen.captured_s + 0.1
        return last
    yield tenth


WAYS = {"leader": by_leader, "sliders": by_sliders, "keys": by_keys, "scripted": by_script}


# -- what the same motion looks like --------------------------------------------------------------------------


def tip_path_m(pose_deg: np.ndarray) -> np.ndarray:
    """Where the tip is (N, 3), for poses (N, 6)."""
    return np.array([tool_frame(to_radians(pose))[:3, 3] for pose in pose_deg])


def describe(led: Led) -> dict[str, float]:
    """Duration, share of it idle, how often it set off, way of the tip, and its jerk; 1 is the smoothest there is.

    Of all ways to go D metres from rest to rest in T seconds the smoothest has a jerk of 26.8 D / T^3 (rms).
    """
    moving = np.abs(np.diff(led.state_deg[::3, :5], axis=0)).max(axis=1) * PACE.policy_hz / 3 > STILL_DEG_S
    tip_m, seconds = _smoothed(tip_path_m(led.state_deg)), len(led.time_s) / PACE.policy_hz
    way_m = float(np.linalg.norm(np.diff(tip_m, axis=0), axis=1).sum())
    jerk = np.diff(tip_m, n=3, axis=0) * PACE.policy_hz**3                                  # (N - 3, 3) m/s3
    return {"seconds": seconds, "idle %": 100 * idle_share(led.state_deg[::3], 10),
            "starts": int((np.diff(moving.astype(int)) == 1).sum() + moving[0]), "way cm": 100 * way_m,
            "jerk": float(np.sqrt((jerk**2).sum(axis=1).mean())) * seconds**3 / (np.sqrt(720) * way_m)}


def ways_table(leds: dict[str, Led]) -> str:
    """`describe` for every way, as text."""
    rows = {way: describe(led) for way, led in leds.items()}
    names = list(next(iter(rows.values())))
    lines = ["          " + "".join(f"{name:>11}" for name in names)]
    for way, row in rows.items():
        lines.append(f"{way:10}" + "".join(f"{row[name]:11.0f}" if name != "seconds" else f"{row[name]:11.1f}"
                                           for name in names))
    return "\n".join(lines)


def _smoothed(path: np.ndarray, window: int = 5) -> np.ndarray:
    """A running mean: a servo counts in steps of 0.09 deg, and jerk is a third difference of them."""
    return np.array([np.convolve(axis, np.ones(window) / window, mode="valid") for axis in path.T]).T


def clutching() -> list[str]:
    """What a person sees who takes a leader that stands 40 deg off, turns it, knocks it, and takes it again."""
    with Kit.sim("reach", profile="standard") as kit:
        kit.cameras.clear()
        kit.arm.energize()
        start_deg, begin_s = kit.arm.read().pos_deg, kit.clock.now_s()
        off = np.array([40.0, 0, 0, 0, 0, 0])
        story = ((1.0, "the leader lies there, 40 deg off", off, False), (1.0, "the clutch is pressed", off, True),
                 (2.5, "the leader is turned to the follower's pose", 0 * off, True),
                 (0.5, "somebody knocks the leader: 60 deg in an instant", 1.5 * off, True),
                 (0.5, "clutch released, leader put back", 0 * off, False), (2.0, "pressed again", 0 * off, True))
        ends_s = begin_s + np.cumsum([seconds for seconds, *_ in story])

        def now(moment_s: float) -> tuple[float, str, np.ndarray, bool]:
            return story[min(int(np.searchsorted(ends_s, moment_s, "right")), len(story) - 1)]

        with Hand(kit.clock, lambda moment_s: start_deg + now(moment_s)[2]).leader as leader:
            actor = LeaderActor(leader, lambda: now(kit.clock.now_s())[3], kit.guard.profile, kit.guard.range_deg)
            told = {}
            for step in run_episode(kit, actor, ends_s[-1] - begin_s, PACE):
                told[now(step.observation.captured_s)[1]] = actor.status.splitlines()[:2]
        return ["\n    ".join([what, *lines]) for what, lines in told.items()]
