"""Solutions of `notebooks/01_servo_calibration.ipynb`. For teachers; a test runs them against the checks."""

from __future__ import annotations

# 1.2: any honest guess passes. One tooth is 360 / 25 deg; of joints that travel about half a turn, half meet the seam.
prediction = {"one_tooth_deg": 14.4, "joints_over_seam": 3}


def checksum(body: bytes) -> int:
    """1.1: inverted low byte of the sum."""
    return ~sum(body) & 0xFF


def turned(before: int, now: int) -> int:
    """1.3: the difference, brought between half a turn back and half a turn on."""
    return (now - before + 2048) % 4096 - 2048


# 1.4 is the learner's own: the file that the panel kept, of an arm that was held and swept once more.
my_file = "outputs/servo_calibration/mine.json"


def to_percent(ticks: float, low: int, high: int, drive_mode: int) -> float:
    """1.5: clip first; drive_mode 1 counts from the other end."""
    value = 100 * (min(max(ticks, low), high) - low) / (high - low)
    return 100 - value if drive_mode else value


# 1.6 for seed 1, as the notebook has it.
found = {"joint": "wrist_flex", "fault": "protections_off", "register": "Unloading_Condition", "value": 0}
