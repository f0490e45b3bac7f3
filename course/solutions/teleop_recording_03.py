"""Solutions of `notebooks/03_teleop_recording.ipynb`. For teachers; a test runs them against the checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# 3.1: any honest guess passes, as this wrong one. Measured: it stands, then parks; held after 0.5 s, limp after 5 s.
prediction = {"the arm": "falls at once", "stands after (s)": 0.0, "limp after (s)": 0.1}


def lag_ms(action: np.ndarray, state: np.ndarray, period_ms: float) -> float:
    """3.2: the shift at which the later state looks most like the action; corrcoef takes the means away."""
    alike = [np.corrcoef(action[:len(action) - shift], state[shift:])[0, 1] for shift in range(10)]
    return float(np.argmax(alike)) * period_ms


def idle(state: np.ndarray, fps: float) -> float:
    """3.3: an arm is idle while even its fastest joint is slower than 5 deg/s."""
    speed_deg_s = np.abs(np.diff(state, axis=0)).max(axis=1) * fps                 # (N - 1,)
    return float((speed_deg_s < 5).mean())


# 3.4, for HUNT = 2: all five body joints miss by 6.7 deg on average, pictures and pace are as they should be.
found = {"fault": "lost_writes", "where": "wire", "evidence": 6.7}


# 3.5: what the lesson itself recorded passes; a learner's own is desk.folder("mine").
my_dataset = Path("outputs") / "03_teleop_recording" / "sim_lesson"


def convict(session, healthy) -> dict:
    """3.4, for any HUNT: one look after the other, each with a number, until one differs from the healthy session's."""
    def longest_stand(one):
        still, longest = 0, 0
        for step in np.abs(np.diff(one.action_deg, axis=0)).max(axis=1):
            still = still + 1 if step == 0 else 0
            longest = max(longest, still)
        return longest / 10                                                        # s, at 10 Hz

    period_ms = 1000 * np.diff(session.time_s)
    if period_ms.max() > 120:
        return {"fault": "slow_host", "where": "loop", "evidence": period_ms.max()}
    apart = np.abs(session.front[0].astype(float) - healthy.front[0]).mean()
    if apart > 5:                                  # is it what the healthy wrist camera saw?
        swapped = np.abs(session.front[0].astype(float) - healthy.wrist[0]).mean() < 5
        return {"fault": "swapped_cameras" if swapped else "camera_moved", "where": "front", "evidence": apart}
    if longest_stand(session) > 2:
        return {"fault": "stuck_policy", "where": "leader", "evidence": longest_stand(session)}
    names = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    missed = np.abs(session.action_deg[:-1] - session.state_deg[1:]).mean(axis=0)[:5]
    usual = np.abs(healthy.action_deg[:-1] - healthy.state_deg[1:]).mean(axis=0)[:5]
    if (missed > 3 * usual).sum() > 1:
        return {"fault": "lost_writes", "where": "wire", "evidence": missed.mean()}
    return {"fault": "backlash", "where": names[int((missed / usual).argmax())], "evidence": missed.max()}
