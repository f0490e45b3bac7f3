"""Two arms in the same pose: the panel shows where their degrees differ, and judges the poses that were taken."""

from __future__ import annotations

import numpy as np

from smolkit.arm import fake
from smolkit.arm.joints import to_radians
from smolkit.safety.faults import fault
from smolkit.widgets.mirror import MirrorPanel

POSES = np.array([[10, -40, 30, 20, 0, 20.0], [-30, 10, -20, -30, 45, 80]])


def test_an_elbow_calibrated_off_is_red_and_the_others_are_not() -> None:
    arms = (fake.servos(1), fake.servos(2))
    with fake.arm(servo_bus=arms[0]) as leader, fake.arm(servo_bus=arms[1]) as follower:
        panel = MirrorPanel(lambda: leader.read().pos_deg, lambda: follower.read().pos_deg)
        panel.view()
        assert panel.report is None and "same pose" in panel.text()
        for pose in POSES:
            for servos in arms:
                servos.hand_pose(to_radians(pose))
            panel.take_button.click()
        assert panel.report.ok and "Both arms mean the same degrees." in panel._html.value
        for offset, servos in zip((0, 17.0), arms, strict=True):
            servos.hand_pose(to_radians(POSES[0] + np.array([0, 0, offset, 0, 0, 0])))
        panel.refresh()
        assert "✗ +17" in panel._html.value        # as it stands, before anything is taken
        panel.again_button.click()
        panel.take_button.click()
        assert [check.name for check in panel.report.red()] == ["elbow_flex"] and "SK126" in panel._html.value


def test_an_arm_that_is_lost_takes_no_pose() -> None:
    servos = fake.servos(seed=2)
    with fake.arm(servo_bus=servos) as arm:
        panel = MirrorPanel(lambda: POSES[0], lambda: arm.read().pos_deg)
        panel.view()
        with fault("chain_break", servos, at=2):
            panel.take_button.click()
            assert "SK101" in panel.trouble and panel.report is None
        panel.take_button.click()
        assert panel.report is not None and not panel.trouble
