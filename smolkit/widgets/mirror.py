"""Leader and follower side by side in one drawing: do both calibrations mean the same degrees?

    >>> leader, follower = np.zeros(6), np.array([1, -2, 17, 0, 1, 3.0])       # an elbow calibrated 17 deg off
    >>> panel = MirrorPanel(lambda: leader, lambda: follower)
    >>> panel.take()                                         # what the button "same pose now" does
    >>> [check.name for check in panel.report.red()]
    ['elbow_flex']

Both arms limp, both put into the same pose by hand. One pose finds an offset; a second one, at least 20 deg away,
also tells an offset from a joint that turns the other way.
"""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES
from smolkit.arm.mirror import SAME_DEG, SAME_PERCENT, mirror_report
from smolkit.report import Report
from smolkit.widgets.arm_view import Look, arm_svg, describe
from smolkit.widgets.panel import GREEN, RED, Panel, banner, report_html

ASK = "Put both arms into the same pose, as well as your eyes can tell, and press the button while they stand so."


class MirrorPanel(Panel):
    """`leader` and `follower` give poses (6,), deg and gripper %. `report` judges all poses that were taken."""

    picture_speaks = True

    def __init__(self, leader: Look, follower: Look):
        super().__init__()
        self._looks = (leader, follower)
        self._now = (np.zeros(6), np.zeros(6))
        self._taken: list[tuple[np.ndarray, np.ndarray]] = []

    def take(self) -> None:
        """Both arms stand in the same pose, now."""
        with self.lock:
            self.sample()
            self._taken.append(self._now)

    def again(self) -> None:
        """Forgets the poses that were taken."""
        self._taken.clear()

    @property
    def report(self) -> Report | None:
        """None before a pose was taken."""
        return mirror_report(*map(np.array, zip(*self._taken, strict=True))) if self._taken else None

    @property
    def alt(self) -> str:
        return "The follower, and the leader pale behind it: " + describe(self._now[1])

    def build(self) -> widgets.Widget:
        self.take_button = self.new_button("same pose now", "take", self.take, "both arms stand in the same pose",
                                           "clone")
        self.again_button = self.new_button("begin again", "again", self.again, "forgets the poses that were taken",
                                            "undo")
        buttons = widgets.HBox([self.take_button, self.again_button])
        return widgets.VBox([buttons, self._html])         # a report that grows must not push them away

    def sample(self) -> None:
        self._now = tuple(np.array(look(), float) for look in self._looks)

    def picture(self) -> str:
        leader, follower = self._now
        rows = "".join(_row(i, *pair) for i, pair in enumerate(zip(leader, follower, strict=True)))
        return (f"{self._verdict()}{arm_svg(follower, leader, self.alt, numbers=False)}"
                "<table><tr><th>joint</th><th>leader (pale)</th><th>follower</th><th>difference</th></tr>"
                f"{rows}</table>")

    def _verdict(self) -> str:
        report, count = self.report, len(self._taken)
        if report is None:
            return banner(ASK)
        if red := report.red():
            names = ", ".join(check.name for check in red)
            return (f'<div class="smolkit-trouble" role="status"><b style="color: {RED}">✗</b> Poses taken: {count}. '
                    f"Not the same: {names}.</div>{report_html(Report(report.title, tuple(red)))}")
        return banner(f"Poses taken: {count}. Both arms mean the same degrees" + (
            "." if count > 1 else " in this one; now another, well away from it."), done=count > 1)

    def text(self) -> str:
        lines = [f"{name}: leader {leader:.1f}, follower {follower:.1f}"
                 for name, leader, follower in zip(JOINT_NAMES, *self._now, strict=True)]
        return "\n".join([*lines, self.report.text() if self._taken else ASK])


def _row(joint: int, leader: float, follower: float) -> str:
    unit, limit = ("%", SAME_PERCENT) if joint == GRIPPER else ("°", SAME_DEG)
    gap = follower - leader
    mark, colour = ("✓", GREEN) if abs(gap) <= limit else ("✗", RED)
    return (f"<tr><td>{JOINT_NAMES[joint]}</td><td>{leader:z.1f}{unit}</td><td>{follower:z.1f}{unit}</td>"
            f'<td style="color: {colour}"><b>{mark} {gap:+z.1f}{unit}</b></td></tr>')
