"""LeRobot's numbers to the last digit, and files that must not be believed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm import calibration as cal
from smolkit.arm.calibration import Calibration, MotorCalibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.report import SmolkitError

# A real arm's ranges; offsets made up.
RANGES = ((736, 3475), (815, 3199), (850, 3063), (811, 3183), (45, 3946), (1499, 3010))
REAL = Calibration(tuple(MotorCalibration(i + 1, 0, -12 * i, *span) for i, span in enumerate(RANGES)))


@pytest.mark.parametrize(("ticks", "low", "high", "deg", "both", "share"), [
    (2047, 800, 3200, 4.131868, 3.916667, 51.958333),
    (800, 800, 3200, -105.494505, -100, 0),
    (1500, 736, 3475, -53.230769, -44.213217, 27.893392)])
def test_from_ticks_as_lerobot_computes(ticks, low, high, deg, both, share):
    assert cal.degrees(ticks, low, high) == pytest.approx(deg, abs=1e-6)
    assert cal.symmetric(ticks, low, high) == pytest.approx(both, abs=1e-6)
    assert cal.percent(ticks, low, high) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("value", "low", "high", "deg", "both", "share"), [
    (10.0, 800, 3200, 2113, 2120, 1040),
    (-33.3, 736, 3475, 1726, 1649, 736),
    (1000.0, 800, 3200, 13375, 3200, 3200)])
def test_to_ticks_as_lerobot_computes(value, low, high, deg, both, share):
    assert cal.from_degrees(value, low, high) == deg
    assert cal.from_symmetric(value, low, high) == both
    assert cal.from_percent(value, low, high) == share


def test_drive_mode_turns_percent_round_but_not_degrees():
    assert cal.percent(800, 800, 3200, reverse=True) == 100
    assert cal.symmetric(800, 800, 3200, reverse=True) == 100
    assert cal.from_percent(100, 800, 3200, reverse=True) == 800
    assert cal.from_symmetric(100, 800, 3200, reverse=True) == 800
    turned = Calibration(tuple(MotorCalibration(m.id, 1, 0, m.range_min, m.range_max) for m in REAL.motors))
    ticks = np.array([1000.0, 1000, 1000, 1000, 1000, 1499])
    assert (turned.to_pos(ticks)[:5] == REAL.to_pos(ticks)[:5]).all()
    assert (turned.to_pos(ticks)[5], REAL.to_pos(ticks)[5]) == (100, 0)
    assert turned.to_rate(np.ones(6))[5] == -REAL.to_rate(np.ones(6))[5]


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_a_pose_survives_the_way_to_ticks_and_back(fractions):
    ticks = REAL.range_min + np.array(fractions) * (REAL.range_max - REAL.range_min)
    pos_deg = REAL.to_pos(ticks)
    back = REAL.to_pos(REAL.to_ticks(pos_deg))
    assert np.abs(back - pos_deg).max() <= 360 / 4095 + 1e-9       # one tick, cut toward zero


@pytest.mark.parametrize(("count", "ticks", "span", "value"), [
    (cal.symmetric, 2309, (795, 3299), 20.926517571885), (cal.symmetric, 1740, (909, 3185), -26.977152899824247),
    (cal.symmetric, 2536, (945, 3149), 44.37386569872959), (cal.percent, 2015, (1421, 2673), 47.44408945686901),
    (cal.degrees, 2309, (795, 3299), 23.032967032967033), (cal.degrees, 1740, (909, 3185), -26.98901098901099)])
def test_counting_is_lerobots_to_the_last_bit(count, ticks, span, value):
    """Read by LeRobot 0.4.4 itself from emulated servos."""
    assert float(count(ticks, *span)) == value


MODES = ((cal.degrees, cal.from_degrees), (cal.percent, cal.from_percent), (cal.symmetric, cal.from_symmetric))
SPANS = st.tuples(st.integers(0, 2000), st.integers(2100, 4095))


@given(SPANS, st.floats(0, 1), st.booleans(), st.sampled_from(MODES))
def test_every_way_to_count_survives_the_way_there_and_back(span, part, reverse, mode):
    """Within a tick: LeRobot cuts toward zero, in degrees seen from tick 0, too."""
    there, back = mode
    ticks = round(span[0] + part * (span[1] - span[0]))
    turned = () if there is cal.degrees else (reverse,)
    again = back(float(there(ticks, *span, *turned)), *span, *turned)
    assert abs(again - ticks) <= 1
    assert abs(float(there(again, *span, *turned) - there(ticks, *span, *turned))) <= 1.0


@given(SPANS, st.floats(-400, 400))
def test_percent_and_symmetric_are_clamped_and_degrees_are_not(span, value):
    assert span[0] <= cal.from_percent(value, *span) <= span[1] >= cal.from_symmetric(value, *span) >= span[0]
    assert cal.from_degrees(value, *span) == int(value * 4095 / 360 + sum(span) / 2)


def test_the_ranges_of_a_real_arm_are_believed_and_compared_with_the_drawing():
    report = cal.sweep_report(REAL.range_max - REAL.range_min)
    assert report.ok and len(report.checks) == 6
    assert "241 deg" in report.checks[0].found and "2739" in report.checks[0].expected


def test_whole_poses_and_single_motors_agree():
    pos_deg = np.array([10, -33.3, 50, -80, 100, 42.0])
    low, high = REAL.range_min, REAL.range_max
    single = [cal.from_degrees(v, *span) for v, span in zip(pos_deg[:5], zip(low, high), strict=False)]
    assert REAL.to_ticks(pos_deg).tolist() == [*single, cal.from_percent(42.0, low[5], high[5])]


def test_the_file_is_lerobots(tmp_path):
    path = REAL.save(tmp_path / "folder" / "my_arm.json")
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n    "shoulder_pan": {\n        "id": 1,\n        "drive_mode": 0,')
    assert list(json.loads(text)) == list(JOINT_NAMES)
    assert Calibration.load(path) == REAL


def test_the_file_is_found_in_both_layouts(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    REAL.save(tmp_path / "robots" / "so101_follower" / "arm.json")
    assert cal.find("arm") == REAL
    with pytest.raises(SmolkitError, match="SK120") as error:
        cal.find("arm", "leader")
    assert "so_leader" in str(error.value)


def test_the_folder_follows_hugging_faces_variables(tmp_path, monkeypatch):
    for name in ("HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cal.default_paths("a")[0].parts[-6:] == ("huggingface", "lerobot", "calibration", "robots",
                                                    "so_follower", "a.json")
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    assert cal.default_paths("a", "leader")[1] == tmp_path.joinpath(
        "calibration", "teleoperators", "so101_leader", "a.json")


def _edit(motor: str, **changes):
    table = REAL.as_dict()
    table[motor].update(changes)
    return table


BROKEN = {
    "missing motor": {name: entry for name, entry in REAL.as_dict().items() if name != "elbow_flex"},
    "another robot": {**REAL.as_dict(), "wheel": REAL.as_dict()["gripper"]},
    "not a table": [1, 2, 3],
    "text for a number": _edit("gripper", range_min="1499"),
    "float": _edit("gripper", range_min=1499.0),
    "bool": _edit("gripper", drive_mode=True),
    "sixth key": _edit("gripper", colour=3),
    "range upside down": _edit("shoulder_pan", range_min=3000, range_max=1000),
    "empty range": _edit("shoulder_pan", range_min=2000, range_max=2000),
    "offset": _edit("wrist_flex", homing_offset=-2048),
    "id twice": _edit("gripper", id=1),
    "id out of range": _edit("gripper", id=254),
    "beyond a turn": _edit("wrist_roll", range_max=4096),
    "half a sweep": _edit("shoulder_lift", range_min=2000),
}


@pytest.mark.fault(5)
@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_file_is_refused_with_a_reason(name, tmp_path):
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(BROKEN[name]), encoding="utf-8")
    with pytest.raises(SmolkitError, match="SK122" if name == "half a sweep" else "SK121") as error:
        Calibration.load(path)
    assert error.value.next_step == "smolkit calibrate PORT --out FILE"


@pytest.mark.parametrize("content", [b"", b'{"shoulder_pan": {"id"', b"\xff\xfe\x00", b'{"a":' + b"[" * 100_000])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "arm.json"
    path.write_bytes(content)
    with pytest.raises(SmolkitError, match="SK120"):
        Calibration.load(path)


@pytest.mark.parametrize("name", JOINT_NAMES)
def test_a_range_wider_than_the_joint_is_not_believed_except_of_the_wrist_roll(name):
    table = REAL.as_dict()
    table[name] |= {"range_min": 0, "range_max": 4095}
    wide = Calibration.from_dict(table)
    if name == "wrist_roll":
        wide.check_sweep()
        return
    with pytest.raises(SmolkitError, match="SK122") as error:
        wide.check_sweep()
    assert name in error.value.expected and "4095" in error.value.found


def test_a_leaders_trigger_may_go_less_far_than_a_jaw_and_nothing_else_may(tmp_path):
    table = REAL.as_dict()
    middle = (table["gripper"]["range_min"] + table["gripper"]["range_max"]) // 2
    table["gripper"] |= {"range_min": middle - 250, "range_max": middle + 250}          # 44 of the jaw's 110 deg
    trigger = Calibration.from_dict(table)
    path = trigger.save(tmp_path / "arm.json")
    with pytest.raises(SmolkitError, match="SK122"):
        Calibration.load(path)
    assert Calibration.load(path, "leader") == trigger
    trigger.save(cal.default_paths("blue", "leader", tmp_path)[0])
    assert cal.find("blue", "leader", tmp_path) == trigger
    assert Calibration.load(cal.default_paths("blue", "leader", tmp_path)[0]) == trigger
    table["elbow_flex"]["range_max"] = table["elbow_flex"]["range_min"] + 500
    with pytest.raises(SmolkitError, match="SK122"):
        Calibration.from_dict(table).check_sweep("leader")
