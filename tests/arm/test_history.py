"""Calibrations are kept with their date; what changed between two of them is told in degrees."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm import fake
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration, MotorCalibration, default_paths, find
from smolkit.arm.configure import servo_fingerprint
from smolkit.arm.emulator import connect
from smolkit.arm.history import check_file, diff, keep, kept
from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.so101 import SO101
from smolkit.report import SmolkitError

RANGES = ((736, 3475), (815, 3199), (850, 3063), (811, 3183), (0, 4095), (1499, 3010))
REAL = Calibration(tuple(MotorCalibration(i + 1, 0, -12 * i, *span) for i, span in enumerate(RANGES)))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def changed(index=0, **values):
    motors = list(REAL.motors)
    motors[index] = replace(motors[index], **values)
    return Calibration(tuple(motors))


@given(st.integers(0, 5), st.integers(-2047, 2047), st.integers(-2047, 2047))
def test_the_zero_moves_by_the_difference_of_the_offsets_over_the_seam_too(index, before, after):
    joint = diff(changed(index, homing_offset=before), changed(index, homing_offset=after)).joints[index]
    turned_deg = (after - before) * 360 / 4096
    assert abs((joint.zero_deg - turned_deg + 180) % 360 - 180) < 0.01 and abs(joint.zero_deg) <= 180
    assert joint.range_deg == 0


def test_a_half_sweep_shows_as_a_moved_zero_and_a_narrower_range():
    text = diff(REAL, changed(1, range_min=2000)).text()
    assert text == "shoulder_lift: zero moved by +52.1 deg, range wider by -104.2 deg"
    assert diff(REAL, changed(1, range_min=820)).text().startswith("no joint changed")


def test_every_calibration_is_kept_with_its_date(tmp_path):
    path = tmp_path / "blue.json"
    keep(REAL, path, NOON)
    later = keep(changed(homing_offset=99), path, (NOON + timedelta(days=1)).astimezone(timezone(timedelta(hours=9))))
    assert later == path and Calibration.load(path) == changed(homing_offset=99)
    names = [copy.name for copy in kept(path)]
    assert [name[:18] for name in names] == ["2026-11-21T120000Z", "2026-11-22T120000Z"]
    assert [Calibration.load(copy) for copy in kept(path)] == [REAL, changed(homing_offset=99)]
    assert REAL.fingerprint in names[0] and check_file(path).ok


def test_what_stood_there_before_is_kept_too(tmp_path):
    path = changed(2, homing_offset=77).save(tmp_path / "blue.json")           # by LeRobot, without a history
    os.utime(path, (0, 0))
    keep(REAL, path)
    assert [Calibration.load(copy).motors[2].homing_offset for copy in kept(path)] == [77, REAL.motors[2].homing_offset]
    path.write_text('{"shoulder_pan": {"id"')
    keep(REAL, path)
    assert Calibration.load(path) == REAL
    damaged, = (tmp_path / "blue.history").glob("*damaged")
    assert damaged.read_text() == '{"shoulder_pan": {"id"'


def test_lerobots_reader_is_not_disturbed_by_what_lies_beside(tmp_path):
    for path in default_paths("blue", "leader", tmp_path):
        keep(REAL, path, NOON)
        assert set(json.loads(path.read_text())) == set(JOINT_NAMES)
    assert find("blue", "leader", tmp_path) == REAL


@pytest.mark.parametrize("name", ["", "..", "a/b", "../blue", ".hidden"])
def test_an_arms_name_stays_in_its_folder(name, tmp_path):
    with pytest.raises(SmolkitError, match="SK129"):
        default_paths(name, "follower", tmp_path)


@pytest.mark.fault(29)
def test_a_file_that_is_not_what_was_saved_is_red(tmp_path):
    path = keep(REAL, tmp_path / "blue.json", NOON)
    changed(homing_offset=500).save(path)
    check = check_file(path)
    assert check.code == "SK128" and not check.ok and REAL.fingerprint in check.expected
    (tmp_path / "blue.sidecar.json").write_text("[1]")
    assert not check_file(path).ok
    (tmp_path / "blue.sidecar.json").unlink()
    assert check_file(path).ok                     # LeRobot wrote it: nothing to compare with


@given(st.integers(0, 5), st.sampled_from(["homing_offset", "range_min", "range_max", "id"]))
def test_a_fingerprint_changes_with_every_number_that_the_servos_hold(index, key):
    other = changed(index, **{key: 9 if key == "id" else getattr(REAL.motors[index], key) - (key == "range_max")
                              + (key != "range_max")})
    assert other.fingerprint != REAL.fingerprint
    assert changed(index, drive_mode=1).fingerprint == REAL.fingerprint        # servos hold no drive mode


@pytest.mark.fault(29)
def test_another_arms_file_is_refused_before_torque_and_both_fingerprints_are_told():
    blue, red = fake.servos(2), fake.servos(3)
    mine, theirs = fake.calibrated(blue), fake.calibrated(red)
    with Bus(connect(blue)) as bus:
        assert servo_fingerprint(bus, mine.ids) == mine.fingerprint != theirs.fingerprint
    with pytest.raises(SmolkitError, match="SK109") as error:
        SO101(connect(blue), theirs)
    assert mine.fingerprint in error.value.found and theirs.fingerprint in error.value.found
