"""Forward kinematics against frames computed by another library from the arm's URDF."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD
from smolkit.arm.kinematics import tool_frame, tool_jacobian
from tests.paths import extra_golden_of, shared

TOLERANCE = 1e-4                                   # m and rad: the URDF rounds pi


def _compare(path):
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    for case in cases:
        angle_rad = np.array([case["q"][name] for name in JOINT_NAMES])
        assert tool_frame(angle_rad) == pytest.approx(np.array(case["T_base_gripper"]), abs=TOLERANCE)
    assert cases


def test_frames_agree_with_the_golden_file():
    _compare(shared("golden", "so101_fk.json"))


def test_frames_agree_with_further_golden_files():
    paths = extra_golden_of("kinematics")
    if not paths:
        pytest.skip("SMOLKIT_GOLDEN names no kinematics file")
    for path in paths:
        _compare(path)


@pytest.mark.parametrize("seed", range(5))
def test_the_jacobian_is_the_slope_of_the_position(seed):
    angle_rad = np.random.default_rng(seed).uniform(LOWER_RAD, UPPER_RAD)
    step = 1e-6 * np.eye(6)
    slopes = [(tool_frame(angle_rad + d)[:3, 3] - tool_frame(angle_rad - d)[:3, 3]) / 2e-6 for d in step[:5]]
    assert tool_jacobian(angle_rad)[:3] == pytest.approx(np.stack(slopes, axis=1), abs=1e-6)
