"""A recording answers like the arm that it was made of, and moves nothing."""

from __future__ import annotations

import gzip
import importlib.util
import shutil

import numpy as np
import pytest

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import CalibrationSession
from smolkit.arm.configure import calibration_differences, servo_fingerprint
from smolkit.arm.doctor import check_bus
from smolkit.arm.emulator import connect
from smolkit.arm.joints import IDS, JOINT_NAMES
from smolkit.arm.recorded import RecordedServos, Recording
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from tests.paths import REPO

FOLDER = REPO / "datasets" / "servo_calibration"


@pytest.fixture
def servos():
    return RecordedServos(FOLDER)


def positions(servos):
    return list(Bus(connect(servos)).sync_read(registers.PRESENT_POSITION, IDS).values())


def sweep_all(servos, session):
    servos.seek("middle")
    session.hold_middle()
    for joint in JOINT_NAMES:
        session.sweep(joint)
        for moment_s in np.arange(*servos.span(joint), 0.04):
            servos.seek(float(moment_s))
            session.look()


def test_the_driver_reads_what_was_recorded(servos):
    log = servos.recording
    for row in (0, 300, 775):
        servos.seek(float(log.time_s[row]))
        assert positions(servos) == log.measured[row, :, 0].tolist()
        telemetry = Bus(connect(servos)).read_block(2, registers.TELEMETRY_START, registers.TELEMETRY_BYTES)
        assert telemetry.data[6] == log.measured[row, 1, 3] == 49                  # 4.9 V


def test_the_tape_runs_with_a_clock_and_stands_at_its_end(servos):
    clock = SteppedClock(100.0)
    servos.play(clock, "elbow_flex")
    clock.sleep_until(101.0)
    row = np.searchsorted(servos.recording.time_s, servos.span("elbow_flex")[0] + 1.0)
    assert positions(servos) == servos.recording.measured[row, :, 0].tolist()
    clock.sleep_until(500.0)
    assert positions(servos) == servos.recording.measured[-1, :, 0].tolist()


def test_it_can_be_calibrated_and_positions_follow_the_new_offsets(servos):
    bus = Bus(connect(servos))
    session = CalibrationSession(bus)
    sweep_all(servos, session)
    calibration = session.accept()
    assert calibration_differences(bus, calibration) == []
    assert servo_fingerprint(bus, IDS) == calibration.fingerprint
    servos.seek("middle")
    assert np.abs(np.array(positions(servos)) - 2047).max() <= 6
    assert all(check.ok for check in check_bus(bus, calibration))


def test_it_is_the_arm_whose_travel_meets_the_seam(servos):
    """The lesson predicts these three."""
    log, over = servos.recording, []
    for index, joint in enumerate(JOINT_NAMES):
        begin_s, end_s = servos.span(joint)
        swept = log.measured[(log.time_s >= begin_s) & (log.time_s < end_s), index, 0]
        over += [joint] * bool((np.abs(np.diff(swept)) > 2048).any())
    assert over == ["shoulder_pan", "shoulder_lift", "wrist_roll"]


@pytest.mark.parametrize(("register", "value"), [(registers.TORQUE_ENABLE, 1), (registers.GOAL_POSITION, 0),
                                                 (registers.TORQUE_ENABLE, 128)])
def test_nothing_moves(servos, register, value):
    bus = Bus(connect(servos))
    with pytest.raises(SmolkitError, match="SK144"):
        bus.write(3, register, value)
    with pytest.raises(SmolkitError, match="SK144"):
        bus.sync_write(register, dict.fromkeys(IDS, value))
    with pytest.raises(SmolkitError, match="SK144"):
        servos.hand_pose(np.zeros(6))
    assert set(bus.sync_read(registers.TORQUE_ENABLE, IDS).values()) == {0}


def test_letting_go_is_always_allowed(servos):
    bus = Bus(connect(servos))
    assert bus.write(1, registers.TORQUE_ENABLE, 0) == 0


def test_a_cable_can_be_pulled_in_a_recording_too(servos):
    servos.dead.update((5, 6))
    assert check_bus(Bus(connect(servos)))[0].code == "SK101"


def test_an_unknown_stretch_is_named(servos):
    with pytest.raises(SmolkitError, match="SK145") as error:
        servos.seek("elbow")
    assert "elbow_flex" in error.value.expected


def test_saved_and_loaded_it_is_the_same(servos, tmp_path):
    servos.recording.save(tmp_path / "copy")
    for name in ("servos.json", "telemetry.csv.gz"):
        assert (tmp_path / "copy" / name).read_bytes() == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("spoil", ["missing", "cut", "columns", "no servo", "backwards"])
def test_a_damaged_recording_is_refused(tmp_path, spoil):
    folder = shutil.copytree(FOLDER, tmp_path / "log")
    table, log = folder / "servos.json", folder / "telemetry.csv.gz"
    lines = gzip.decompress(log.read_bytes()).decode().splitlines()
    if spoil == "missing":
        log.unlink()
    elif spoil == "cut":
        log.write_bytes(log.read_bytes()[:2000])
    elif spoil == "no servo":
        table.write_text('{"servos": {}, "marks": {}}')
    else:
        lines = [lines[0].replace("gripper", "jaw"), *lines[1:]] if spoil == "columns" else [*lines, lines[1]]
        log.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(SmolkitError, match="SK143"):
        Recording.load(folder)


def test_the_recipe_makes_these_bytes():
    spec = importlib.util.spec_from_file_location("recipe", REPO / "datasets" / "make_servo_calibration.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    made, shipped = recipe.record(), Recording.load(FOLDER)
    assert made.settings == tuple(map(dict, shipped.settings)) and dict(made.marks) == dict(shipped.marks)
    assert np.abs(made.measured - shipped.measured).max() <= 1          # another computer may round another way
