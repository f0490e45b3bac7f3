"""The desks of lesson 01: each lane's arm can be calibrated with the same calls, and nothing real moves unasked."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest

from smolkit.arm import history, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, CalibrationSession
from smolkit.arm.calibration import Calibration
from smolkit.arm.configure import configure, write_calibration
from smolkit.arm.emulator import connect
from smolkit.arm.joints import IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.setup_motors import find_one
from smolkit.lessons import servo_desk
from smolkit.lessons.servo_desk import Desk, NewServos, RealDesk, open_desk
from smolkit.lessons.servo_experiments import HandArm, switch_on
from smolkit.report import SmolkitError
from smolkit.safety.geometry import REST_DEG
from smolkit.safety.guardian import PATIENT
from smolkit.sim.bench import measured_calibration

FOLDED_RAD = to_radians(np.array(REST_DEG))


@pytest.fixture(params=["sim", "recorded"])
def desk(request):
    with open_desk(request.param, tell=lambda text: None) as desk:
        yield desk


def calibrate(desk: Desk) -> Calibration:
    session = CalibrationSession(desk.bus)
    desk.hold("middle")
    session.hold_middle()
    for joint in JOINT_NAMES:
        desk.sweep(session, joint)
    return session.accept()


def test_the_same_calls_calibrate_in_both_lanes(desk, tmp_path):
    file = history.keep(calibrate(desk), tmp_path / "first.json")
    assert desk.file_in_force(tmp_path) == file


def test_the_sim_lanes_arm_is_the_one_of_every_simulated_bench():
    with open_desk("sim") as desk:
        moved = history.diff(measured_calibration(), calibrate(desk))
    assert moved.text().startswith("no joint changed")


def test_the_wrong_middle_crosses_the_seam_in_both_lanes(desk):
    session = CalibrationSession(desk.for_mistakes.bus)
    desk.hold("pan at its stop")
    session.hold_middle()
    desk.hold("middle")
    swept = desk.sweep(session, "shoulder_pan")
    assert min(swept) > 2030 and max(swept) > 4400
    assert "seam" in session.look()[0].warning and session.report().red()[0].code == "SK123"


def test_no_file_of_another_arm_is_taken_for_this_ones(desk, tmp_path):
    history.keep(HandArm(seed=7).calibration, tmp_path / "other.json")
    calibrate(desk)
    with pytest.raises(SmolkitError, match="SK823"):
        desk.file_in_force(tmp_path)


def test_bytes_come_back_as_they_are(desk):
    assert desk.exchange(bytes.fromhex("FF FF 01 02 01 FB")) == bytes.fromhex("FF FF 01 02 00 FC")
    assert desk.exchange(b"rubbish") == b""


@pytest.mark.slow
def test_the_guardian_moves_the_gripper_and_lets_go(tmp_path):
    with open_desk("sim") as desk:
        file = history.keep(calibrate(desk), tmp_path / "first.json")
        desk.hand(FOLDED_RAD)                      # a short way home
        with desk.guarded(file) as arm:
            arm.energize()
            goal = arm.read().pos_deg + np.array([0, 0, 0, 0, 0, 20])
            end_s = time.monotonic() + 10
            while abs(arm.read().pos_deg[5] - goal[5]) >= 3:
                assert time.monotonic() < end_s
                arm.command(goal)
                desk.wait(0.05)
        assert not any(desk.bus.sync_read(registers.TORQUE_ENABLE, IDS).values())


def test_a_learners_hand_lets_go_before_the_desks_own_moves():
    with open_desk("sim") as desk:
        hand, = desk.hands()
        hand.move(elbow_flex=40)
        assert hand.holding
        desk.hold("middle")
        assert not hand.holding


def test_the_tape_waits_in_the_middle_until_the_learner_plays_it():
    with open_desk("recorded", tell=lambda text: None) as desk:
        play, = desk.hands()
        desk.bus.read(1, registers.PRESENT_POSITION)
        begin_s, end_s = desk.servos.span("middle")
        assert begin_s < desk.servos.now_s < end_s
        play.click()
        desk.bus.read(1, registers.PRESENT_POSITION)
        assert desk.servos.now_s >= end_s


def test_a_pulled_cable_is_a_port_that_goes(desk):
    assert [port.like_an_arm for port in desk.ports()] == [True, False]
    cable, = desk.cable()
    cable.value = True
    assert [port.like_an_arm for port in desk.ports()] == [False]


# -- the real lane, with an emulated arm on a port and a thread for the person --------------------------------


class Person:
    """Does with the arm what the desk says."""

    def __init__(self, servos):
        self.servos, self.said, self._over = servos, [], threading.Event()

    def told(self, text: str) -> None:
        self.said.append(text)
        words = text.split()
        if words[0] == "move":
            threading.Thread(target=self._sweep, args=(JOINT_NAMES.index(words[1]),), daemon=True).start()
        elif words[0] == "bring":
            self.servos.hand_pose(MIDDLE_RAD)

    def _sweep(self, index: int) -> None:
        middle, low, high = MIDDLE_RAD[index], LOWER_RAD[index], UPPER_RAD[index]
        for angle in np.concatenate([np.linspace(*leg, 12) for leg in ((middle, low), (low, high), (high, middle))]):
            pose = MIDDLE_RAD.copy()
            pose[index] = angle
            self.servos.hand_pose(pose)
            time.sleep(0.03)


@pytest.fixture
def real(monkeypatch):
    """A `RealDesk` whose port leads to an emulated arm; people are quicker here."""
    monkeypatch.setattr(servo_desk, "HOLD_S", 0.1)
    monkeypatch.setattr(servo_desk, "REST_S", 0.5)
    monkeypatch.setattr(servo_desk, "Bus", partial(Bus, **PATIENT))      # its servos are threads of a busy computer
    with open_desk("sim") as far_end:
        person = Person(far_end.servos)
        with open_desk("real", far_end.port, tell=person.told) as desk:
            desk.person = person
            yield desk


@pytest.mark.slow
def test_the_real_lane_leads_a_person_through_it(real):
    assert isinstance(real, RealDesk) and real.servos is None and real.hands() == real.cable() == ()
    assert history.diff(measured_calibration(), calibrate(real)).text().startswith("no joint changed")
    assert [text.split()[1] for text in real.person.said if text.startswith("move")] == list(JOINT_NAMES)


@pytest.mark.slow
def test_a_real_arm_is_not_moved_before_its_learner_is_ready(real, tmp_path):
    bus, file = Bus(connect(real.person.servos)), history.keep(measured_calibration(), tmp_path / "first.json")
    configure(bus, IDS)
    write_calibration(bus, measured_calibration())
    real.person.servos.hand_pose(FOLDED_RAD)
    shafts = real.person.servos.plant.angle_rad.copy()
    with real.guarded(file) as arm:
        arm.energize()
        assert not any(real.person.servos.memory(i).get(registers.TORQUE_ENABLE) for i in IDS)
    assert "stands in" in real.person.said[-1]
    assert np.array_equal(shafts, real.person.servos.plant.angle_rad)
    with real.guarded(file, "7.4V", ready=True) as arm:
        arm.energize()
        assert all(real.person.servos.memory(i).get(registers.TORQUE_ENABLE) for i in IDS)


def test_mistakes_are_made_on_an_emulated_arm(real):
    assert real.for_mistakes.lane == "sim" and real.for_mistakes.port != real.port


# -- experiments --------------------------------------------------------------------------------------------


def test_new_servos_collide_until_each_has_its_id():
    box = NewServos()
    box.plug((1, 2))
    with pytest.raises(SmolkitError, match="SK119"):
        find_one(box.bus)
    box.plug(())
    assert find_one(box.bus) is None


def test_a_stale_goal_leaps_and_a_careful_switching_on_does_not():
    naive, careful = switch_on(careful=False), switch_on(careful=True)
    assert np.abs(naive[:, 2]).max() > 69 and np.abs(careful[:, 2]).max() < 0.2
    assert careful[0, 3] <= 15 and careful[-1, 3] == 60 and (np.diff(careful[:, 3]) >= 0).all()


def test_a_short_sweep_is_green_and_wrong():
    short = HandArm(seed=12, short_joint="elbow_flex", short_deg=34.4)
    assert short.report.ok
    moved = history.diff(HandArm(seed=12).calibration, short.calibration).joints[2]
    assert moved.zero_deg == pytest.approx(-17.2, abs=0.1) and moved.range_deg == pytest.approx(-34.4, abs=0.2)
