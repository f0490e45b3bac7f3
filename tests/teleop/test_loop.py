import numpy as np
import pytest

from smolkit.cameras.camera import Observation
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from smolkit.teleop.loop import Decision, Pace, run_episode


class PerfectRig:
    """A rig that obeys at once: what the loop sends is what the joints are."""

    def __init__(self):
        self.clock = SteppedClock()
        self.sent: list[tuple[float, np.ndarray]] = []
        self._state_deg = np.zeros(6)
        self.rested = False

    def observe(self) -> Observation:
        return Observation(self._state_deg, captured_s=self.clock.now_s())

    def command(self, goal_deg: np.ndarray, seen: Observation | None = None) -> None:
        self.sent.append((self.clock.now_s(), goal_deg))
        self._state_deg = goal_deg

    def rest(self) -> None:
        self.rested = True


def test_goals_are_interpolated_and_time_does_not_drift():
    rig = PerfectRig()
    steps = list(run_episode(rig, lambda seen: Decision(seen.state_deg + 3.0), seconds=7.0))
    assert len(steps) == 70 and len(rig.sent) == 210
    moments = np.array([moment for moment, _ in rig.sent])
    assert np.allclose(moments, np.arange(210) / 30, atol=1e-9)
    goals = np.array([goal[0] for _, goal in rig.sent])
    assert np.allclose(np.diff(goals), 1.0)                           # 3 deg a step, a third at a time


def test_the_label_is_recorded_and_the_stumble_is_executed():
    rig = PerfectRig()
    stumble, right = np.full(6, 5.0), np.full(6, 1.0)
    step = next(run_episode(rig, lambda seen: Decision(stumble, right), seconds=1.0))
    assert np.array_equal(step.action_deg, right)
    assert np.array_equal(rig.sent[-1][1], stumble)


def test_a_slow_decision_slows_the_arm_and_makes_no_burst():
    rig = PerfectRig()

    def slow(seen: Observation) -> Decision:
        rig.clock.sleep_until(rig.clock.now_s() + 0.15)               # longer than a policy step
        return Decision(seen.state_deg + 3.0)

    steps = list(run_episode(rig, slow, seconds=1.0))
    gaps_s = np.diff([moment for moment, _ in rig.sent])
    assert gaps_s.min() > 0.03                                         # never two goals at once
    assert len(steps) == 5 and rig.clock.now_s() <= 2 * 0.15 + 1.0 + 0.15   # two first looks, episode, late step


def test_what_a_network_decided_while_it_was_opened_is_thrown_away():
    rig, looks = PerfectRig(), []

    class Opening:
        def __init__(self) -> None:
            self.forgot = 0

        def reset(self) -> None:
            self.forgot += 1

        def __call__(self, seen: Observation) -> Decision:
            looks.append(seen.captured_s)
            rig.clock.sleep_until(rig.clock.now_s() + (5.0 if len(looks) == 1 else 0.0))
            return Decision(seen.state_deg)

    actor = Opening()
    steps = list(run_episode(rig, actor, seconds=1.0))
    assert actor.forgot == 1 and looks[:2] == [0.0, 5.0] and steps[0].observation.captured_s == 5.0
    assert len(steps) == 10


def test_however_an_episode_ends_the_arm_is_told_to_rest():
    rig = PerfectRig()
    with pytest.raises(ZeroDivisionError):
        list(run_episode(rig, lambda seen: Decision(seen.state_deg), seconds=1.0, finished=lambda: 1 / 0))
    assert rig.rested


@pytest.mark.parametrize("shape", [(5,), (16, 6), (1, 6)])
def test_anything_but_one_goal_is_refused_before_it_is_sent(shape):
    rig = PerfectRig()
    with pytest.raises(SmolkitError, match="SK301"):
        next(run_episode(rig, lambda seen: Decision(np.zeros(shape)), seconds=1.0))
    assert not rig.sent


def test_an_episode_ends_when_it_is_finished():
    rig = PerfectRig()
    done = iter([False, False, True])
    steps = list(run_episode(rig, lambda seen: Decision(seen.state_deg), seconds=9.0,
                             pace=Pace(policy_hz=10, control_hz=20), finished=lambda: next(done)))
    assert [step.index for step in steps] == [0, 1, 2] and len(rig.sent) == 6
