import os
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from smolkit.arm.emulator import connect
from smolkit.arm.so101 import SO101
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.states import State
from smolkit.session import running
from smolkit.sim.bench import measured_calibration
from smolkit.teleop.loop import Decision, run_episode
from smolkit.teleop.scripted import ScriptedActor


def demonstrate(seed: int, **options) -> tuple[bool, np.ndarray]:
    with Kit.sim("tour", seed, image_px=32, **options) as kit:
        kit.arm.energize()
        steps = list(run_episode(kit, ScriptedActor(kit.bench, noisy=True), 15, finished=kit.bench.success))
        return kit.bench.success(), np.stack([step.observation.state_deg for step in steps])


def test_the_expert_succeeds_through_driver_and_envelope_and_a_seed_repeats():
    worked, states = demonstrate(3)
    again, same = demonstrate(3)
    assert worked and again
    np.testing.assert_array_equal(states, same)


def patient(test):
    """On a busy computer goals come late, and the guardian rightly stops the arm; then once more."""
    def again():
        for _ in range(3):
            with suppress_slowness():
                return test()
        return test()
    again.__name__ = test.__name__
    return again


@contextmanager
def suppress_slowness():
    try:
        yield
    except SmolkitError as error:
        if error.code not in ("SK311", "SK312", "SK318", "SK321"):
            raise


@pytest.mark.slow
@patient
def test_wall_time_takes_three_processes_that_end_with_the_kit():
    with Kit.sim("tour", 1, image_px=32, wall_clock=True) as kit:
        processes = {os.getpid(), kit.bench.pid, kit.arm.pid}
        assert len(processes) == 3
        begin_s = kit.clock.now_s()
        kit.arm.energize()
        steps = list(run_episode(kit, lambda seen: Decision(seen.state_deg + 2), seconds=0.5))
        assert len(steps) == 5 and kit.clock.now_s() - begin_s >= 0.5
        moved_deg = np.abs(kit.observe().state_deg - steps[0].observation.state_deg)
        if kit.arm.why:
            kit.arm.energize()                     # raises what stopped it: silence, on an overloaded computer
        assert kit.arm.state is State.ARMED, "the episode is over: the arm rests"
        plant = kit.bench
    assert moved_deg.max() > 1
    assert not any(endpoint.pid in processes - {os.getpid()} for endpoint in running())
    assert not plant._client.endpoint.alive


def test_closing_leaves_every_servo_limp():
    kit = Kit.sim("tour", 0)
    kit.arm.energize()
    bench = kit.bench
    kit.close()
    assert [bench.bus.memory(servo).live[40] for servo in range(1, 7)] == [0] * 6


def test_a_kit_file_opens_the_same_kit(tmp_path):
    path = tmp_path / "kit.toml"
    path.write_text('lane = "sim"\ntask = "pick"\nseed = 4\nprofile = "beginner"\nimage_px = 24\n')
    with Kit.open(path) as kit:
        assert kit.guard.profile.name == "beginner"
        assert kit.observe().images["wrist"].shape == (24, 24, 3)


@pytest.mark.parametrize("text", [
    'lane = "moon"', 'lane = "sim"\ncalibration = 5', 'lane = "sim"\nseed = -1', 'lane = "sim"\nimage_px = 0',
    'lane = "real"\nport = 5\ncalibration = "a.json"\ncameras = {}',
    'lane = "real"\nport = "x"\ncalibration = "a.json"\ncameras = {front = 1.5}', 'lane = "sim"\nseed = "x"',
    'lane = "sim"\nimage_px = "64"', 'lane = "sim"\nspeed = 9', "lane = ", 'lane = "real"'])
def test_a_bad_kit_file_is_explained(tmp_path, text):
    path = tmp_path / "kit.toml"
    path.write_text(text)
    with pytest.raises(SmolkitError, match="SK801"):
        Kit.open(path)


def test_a_missing_kit_file_is_explained(tmp_path):
    with pytest.raises(SmolkitError, match="SK801"):
        Kit.open(tmp_path / "kit.toml")


def test_another_arms_calibration_is_refused():
    mine = measured_calibration()
    other = replace(mine, motors=(replace(mine.motors[0], homing_offset=9), *mine.motors[1:]))
    with Kit.sim("tour", 0, calibration=other) as kit:              # installed in the servos: accepted
        assert kit.arm.calibration is other
        with pytest.raises(SmolkitError, match="SK109"):
            SO101(connect(kit.bench.bus), mine)


def test_after_a_pause_a_far_goal_is_approached_slowly():
    with Kit.sim("tour", 0, image_px=16) as kit:
        kit.arm.energize()
        start_deg = kit.observe().state_deg
        kit.command(start_deg)
        kit.clock.sleep_until(kit.clock.now_s() + 2.0)
        far_deg = start_deg + np.array([40, 0, 0, 0, 0, 0])
        sent = []
        for _ in range(15):                                            # half a second at 30 Hz
            sent.append(kit.arm.command(far_deg)[0] - start_deg[0])
            kit.clock.sleep_until(kit.clock.now_s() + 1 / 30)
    assert sent[-1] < 17                                               # 30 deg/s, not the profile's 90


def test_arming_again_and_again_does_not_let_a_loaded_arm_sink():
    with Kit.sim("tour", 0, image_px=16) as kit:
        kit.arm.energize()
        before_deg = kit.arm.read().pos_deg
        for _ in range(12):
            kit.arm.energize()
        assert np.abs(kit.arm.read().pos_deg - before_deg)[:5].max() < 0.5
