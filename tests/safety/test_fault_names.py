"""Faults by name: all rows have one, misspelled ones are answered, and each is undone when it ends."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from smolkit.arm import fake, registers
from smolkit.arm.bus import Bus
from smolkit.arm.doctor import check_arm
from smolkit.arm.emulator import connect
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.faults import FAULTS, fault
from tests.paths import REPO
from tests.safety.desks import Desk

# Rows of the catalogue that name an injection; 22 to 24 (killed, interrupted, falling) belong to the guardian.
ROWS = (*range(1, 22), *range(25, 37))
TIME = time.time
POLICY = {name for name, kind in FAULTS.items() if kind.inject.__module__.endswith("policy_faults")}
EVENTS = {"brown_out", "foreign_write", "stale_goal"}                # leaving them mends nothing


def test_every_row_that_names_an_injection_has_a_fault():
    assert set(ROWS) == {row for kind in FAULTS.values() for row in kind.rows}
    assert all(name == kind.name and kind.description for name, kind in FAULTS.items())


def test_every_row_has_a_test_that_injects_it():
    texts = [path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py")]
    assert set(ROWS) <= {int(row) for text in texts for row in re.findall(r"mark\.fault\((\d+)\)", text)}


@pytest.mark.parametrize(("name", "parameters", "known"), [
    ("chain_brake", {}, "chain_break"), ("chain_break", {"servo": 3}, "'at': 4")])
def test_what_is_misspelled_is_answered_with_what_there_is(name, parameters, known):
    with pytest.raises(SmolkitError, match="SK390") as error, fault(name, fake.servos(), **parameters):
        pass
    assert known in error.value.expected


@pytest.mark.parametrize(("name", "target", "parameters"), [
    ("chain_break", fake.servos(), {"at": 7}), ("table_raised", fake.servos(), {}),
    ("bad_number", fake.servos(), {}), ("other_units", lambda: np.zeros(6), {"units": "miles"})])
def test_what_does_not_fit_is_refused(name, target, parameters):
    with pytest.raises(SmolkitError, match="SK391"), fault(name, target, **parameters):
        pass


@pytest.mark.parametrize("name", sorted(set(FAULTS) - POLICY - EVENTS))
def test_every_fault_is_undone_at_the_end_also_after_an_error(name):
    with Desk() as desk:
        desk.world.render("front", 32, 32)
        before = _all_that_faults_touch(desk)
        with pytest.raises(ArithmeticError), fault(name, desk):
            raise ArithmeticError
        assert _all_that_faults_touch(desk) == before
        report = check_arm(connect(desk.bus), desk.calibration)
        assert report.ok, report.text()
        pose = desk.energized()
        desk.go(pose + 3, 0.5)
        assert desk.arm.read().pos_deg == pytest.approx(pose + 3, abs=1.0)


@pytest.mark.parametrize("name", ["odd_calibration", "protections_off"])
def test_what_was_repaired_meanwhile_stays_repaired(name):
    with Desk() as desk:
        desk.arm.close()
        with fault(name, desk, servo=5), Bus(connect(desk.bus)) as bus:
            bus.write_eeprom(5, {registers.MIN_POSITION_LIMIT: 7, registers.MAX_POSITION_LIMIT: 4001})
        memory = desk.bus.memory(5)
        assert (memory.get(registers.MIN_POSITION_LIMIT), memory.get(registers.MAX_POSITION_LIMIT)) == (7, 4001)
        assert memory.get(registers.UNLOADING_CONDITION) == registers.UNLOADING_CONDITION.default


def test_a_kit_of_the_sim_lane_is_a_rig():
    with Kit.sim("pick", seed=1, image_px=32) as kit:
        with fault("black_camera", kit, role="wrist"), fault("blocked_joint", kit), fault("slow_host", kit):
            assert not kit.observe().images["wrist"].any()
        with fault("error_flag", kit, servo=4):
            assert kit.arm.read().error_bits.tolist() == [0, 0, 0, 32, 0, 0]
        assert kit.observe().images["wrist"].any() and not kit.arm.read().error_bits.any()


def _all_that_faults_touch(desk):
    bus, model, guard = desk.bus, desk.world.model, desk.bus.protection
    arrays = (desk.world.data.qpos, desk.world.data.xfrc_applied, model.geom_pos, model.geom_friction,
              model.geom_priority, model.geom_sameframe, model.jnt_range, model.cam_quat, bus.shafts.horn,
              guard.temperature_c, guard.ambient_c)
    return ([array.tobytes() for array in arrays], [bytes(servo.live[:56]) for servo in bus.servos], bus.filters[:],
            bus.dead, bus.forced_errors, bus.plant, bus.shafts.goal_enables_torque, guard.sticky, guard.supply_v,
            guard.supply_ohm, guard.voltage_v, dict(desk.cameras), time.time is TIME, desk.clock.sleep_until.__func__)
