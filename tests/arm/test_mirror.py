"""Leader and follower in the same pose: an offset that costs an afternoon is red and named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.mirror import SAME_DEG, SAME_PERCENT, mirror_report
from smolkit.report import SmolkitError

POSES = np.array([[0, -40, 60, 20, 0, 10.0], [30, 10, -20, -30, 45, 80]])


@pytest.mark.fault(5)
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("sign", [-1, 1])
def test_seventeen_degrees_are_red_and_the_joint_is_named(index, sign):
    follower = POSES + sign * 17.0 * np.eye(6)[index]
    red, = mirror_report(POSES, follower).red()
    assert (red.code, red.name) == ("SK126", JOINT_NAMES[index]) and "17.0" in red.found
    assert ("more" if sign > 0 else "less") in red.found and JOINT_NAMES[index] in red.next_step


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_what_the_eye_cannot_see_is_green(off):
    follower = POSES[0] + np.array(off) * [*[SAME_DEG - 0.01] * 5, SAME_PERCENT - 0.01]
    assert mirror_report(POSES[0], follower).ok


def test_a_joint_that_turns_the_other_way_has_its_own_cause():
    follower = POSES.copy()
    follower[:, 1] *= -1
    red, = mirror_report(POSES, follower).red()
    assert red.name == "shoulder_lift" and "other way" in red.cause


@pytest.mark.parametrize("follower", [POSES, POSES[0][:5], POSES[0] * np.nan])
def test_poses_that_cannot_be_compared_are_refused(follower):
    with pytest.raises(SmolkitError, match="SK127"):
        mirror_report(POSES[0], follower)
