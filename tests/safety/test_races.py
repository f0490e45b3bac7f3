"""Stop, park and let go from other threads while torque comes on: the arm obeys, and its state is true."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from smolkit.arm import fake, registers
from smolkit.arm.so101 import SO101
from smolkit.clock import WallClock
from smolkit.report import SmolkitError
from smolkit.safety.envelope import Envelope
from smolkit.safety.states import State
from smolkit.safety.supervisor import Supervisor


class Doorkeeper(Envelope):
    """Calls somebody in the last moment of switching on: the guard is told where the arm stands, then all is ready."""

    def __init__(self) -> None:
        super().__init__("standard")
        self.calls = None

    def reset(self, holding_deg: np.ndarray | None = None) -> None:
        super().reset(holding_deg)
        if holding_deg is not None and self.calls is not None:
            threading.Thread(target=self.calls).start()
            self.calls = None
            time.sleep(0.1)                        # until the other thread is inside the supervisor, at the arm's door


def supervised(guard: Envelope) -> tuple[Supervisor, fake.ServoBus]:
    """An arm whose torque grows within 50 ms of wall time."""
    servo_bus = fake.servos()
    arm = SO101(fake.connect(servo_bus), fake.calibrated(servo_bus), guard, WallClock(), ramp_s=0.05)
    return Supervisor(arm, guard), servo_bus


def torque_on(servo_bus: fake.ServoBus) -> bool:
    return any(servo_bus.memory(i).get(registers.TORQUE_ENABLE) for i in range(1, 7))


@pytest.mark.fault(23)
@pytest.mark.parametrize("how", ["hold", "park", "release"])
def test_a_stop_in_the_last_moment_of_switching_on_leaves_no_limp_arm_that_is_called_standing(how: str):
    guard = Doorkeeper()
    guarded, servo_bus = supervised(guard)
    guard.calls = {"hold": lambda: guarded.hold("a visitor"), "park": guarded.park, "release": guarded.release}[how]
    with pytest.raises(SmolkitError, match="SK136|SK310"):
        guarded.energize()
    assert not torque_on(servo_bus)
    assert guarded.state is (State.OFF if how == "hold" else State.IDLE)
    guarded.energize(rearm=True)
    assert torque_on(servo_bus) and guarded.state is State.ARMED
    guarded.close(park=False)


@pytest.mark.fault(23)
def test_a_stop_is_heard_while_two_threads_switch_on():
    """The first one, superseded, used to say that nobody was switching on any more: a stop then found a limp arm."""
    guarded, servo_bus = supervised(Envelope("standard"))
    guarded.arm.ramp_s = 0.4
    threads = [threading.Thread(target=lambda: suppressed(guarded.energize)) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.15)
    threads[0].join()
    guarded.hold("a visitor")
    threads[1].join()
    assert not torque_on(servo_bus) and guarded.state is State.OFF
    with pytest.raises(SmolkitError, match="SK310"):
        guarded.energize()
    guarded.close(park=False)


@pytest.mark.fault(23)
def test_who_arms_again_undoes_only_the_stop_that_they_saw():
    guarded, servo_bus = supervised(Envelope("standard"))
    guarded.energize()
    guarded.hold("the first", lets_go=False)
    seen = guarded.turn
    guarded.hold("the second", lets_go=False)
    with pytest.raises(SmolkitError, match="the second"):
        guarded.energize(rearm=True, turn=seen)
    assert guarded.state is State.HOLD
    guarded.energize(rearm=True, turn=guarded.turn)
    assert guarded.state is State.ARMED
    guarded.close(park=False)


def suppressed(call) -> None:
    with suppress(SmolkitError):
        call()


@pytest.mark.fault(23)
def test_whatever_four_threads_do_the_state_is_true_in_the_end():
    guarded, servo_bus = supervised(Envelope("standard"))
    end_s = time.monotonic() + 1.5

    def dice(seed: int) -> None:
        random = np.random.default_rng(seed)
        calls = [guarded.energize, lambda: guarded.energize(rearm=True), lambda: guarded.energize(rearm=True),
                 lambda: guarded.hold("dice"), guarded.park, guarded.release, guarded.tick, guarded.rest]
        while time.monotonic() < end_s:
            suppressed(calls[random.integers(len(calls))])
            time.sleep(random.uniform(0, 0.03))

    threads = [threading.Thread(target=dice, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guarded._arming == 0
    assert guarded.state.powered == torque_on(servo_bus)
    guarded.hold("the end")
    guarded.hold("the end")
    assert not torque_on(servo_bus)
    guarded.close(park=False)
