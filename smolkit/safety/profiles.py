"""How fast and how near: the limits of the envelope, under names that a kit file can choose.

    >>> profile("beginner").tip_speed_m_s
    0.1
    >>> profile("turbo")
    Traceback (most recent call last):
    ...
    smolkit.report.SmolkitError: SK305 expected a profile: beginner, standard, demonstration
      found: 'turbo'
      likely cause: the name in the kit file or the argument is misspelled
      next: use "beginner" for a first session, "standard" for policies

This is software risk reduction on hobby hardware, not a safety function of any standard: no second
channel, no brake, no hardware stop. The one independent stop is the power switch, and it drops the arm.
"""

from __future__ import annotations

from dataclasses import dataclass

from smolkit.report import SmolkitError


@dataclass(frozen=True)
class Profile:
    """One set of limits. Every number has a unit in its name and a reason beside it.

    Example:
        >>> profile("standard").describe().splitlines()[0]
        'standard: joints 90 deg/s, tip 0.25 m/s'
    """

    name: str
    joint_speed_deg_s: float
    tip_speed_m_s: float           # tool frame and the ends of both fingers
    # How far a goal may run ahead of the measured arm. A free arm trails by its speed times about 0.1 s
    # plus some sag; a blocked one winds up no further than this and so starts gently when it comes free.
    max_lead_deg: float
    # A servo at its torque cap falls behind goals that leave at once, and then overtakes their speed.
    acceleration_deg_s2: float
    # The path waits where the tip lags by more than `wait_m` (sag under load) and `wait_s` of its speed.
    wait_m: float = 0.020
    wait_s: float = 0.08
    range_margin_deg: float = 2.0  # inside the calibrated range: encoder noise and 1 deg of backlash fit in
    # A first action further away than this (also after a pause or a reset) is a jump: a policy that has not
    # seen this arm, or a leader in another pose. It is then approached slowly, for at least `ramp_s`.
    ramp_jump_deg: float = 5.0
    ramp_s: float = 1.0
    ramp_speed_deg_s: float = 30.0
    ramp_tip_speed_m_s: float = 0.10
    # Heights over the table z = 0. Links: 5 mm cover servo sag (half a degree at 0.44 m is 4 mm) and play.
    # Fingers: 2 mm, because cubes of 2.5 cm stand on the table and must be held near their middle.
    table_m: float = 0.005
    finger_table_m: float = 0.002
    # Boxes are already larger than the hollow parts; 3 mm more are half a degree at the gripper's distance.
    apart_m: float = 0.003
    # A late cycle earns no larger step than this: a loop that slipped must not leap. 30 Hz fits, with jitter;
    # a slower loop moves the arm more slowly.
    longest_period_s: float = 0.05
    first_period_s: float = 1 / 30  # a first action, however long the arm stood still, earns an ordinary step
    pause_s: float = 0.5           # silence after which the next action counts as a first one
    # An encoder further outside the calibrated range than this is a wrong calibration, not a pose.
    plausible_deg: float = 15.0
    bad_actions: int = 3           # so many unusable actions in a row stop the arm until it is re-armed

    def describe(self) -> str:
        """The limits in three lines, for the screen."""
        return (f"{self.name}: joints {self.joint_speed_deg_s:g} deg/s, tip {self.tip_speed_m_s:g} m/s\n"
                f"  {self.range_margin_deg:g} deg inside the calibrated range; fingers "
                f"{1000 * self.finger_table_m:g} mm, links {1000 * self.table_m:g} mm above the table\n"
                f"  jumps over {self.ramp_jump_deg:g} deg are approached at {self.ramp_speed_deg_s:g} deg/s")


# beginner: a pan at 30 deg/s moves the outstretched tip at 0.23 m/s, so the tip limit binds: a hand's
#   width per second, slower than anyone withdraws a hand.
# standard: 0.25 m/s is the reduced-speed convention of robots near people (ISO 10218 teaching mode); with
#   0.2 s until a stop takes effect the tip travels 5 cm. Policies and their demonstrations run under it.
# demonstration: joints of real demonstrations move at 130-350 deg/s, in the wrist and gripper foremost, and
#   240 is what the servo reaches under load. The tip limit keeps what matters to bystanders in hand: at
#   0.6 m/s it travels 12 cm in those 0.2 s, a cube is carried across the workspace in half a second, and
#   the arm's energy is a sixteenth of that at 2.4 m/s, where the servos alone would stop. A servo at its
#   torque cap can fall behind the others then, and a finger brush the table: for people who lead the arm
#   and watch it, not for policies.
PROFILES = {p.name: p for p in (
    Profile("beginner", joint_speed_deg_s=30.0, tip_speed_m_s=0.10, max_lead_deg=12.0,
            acceleration_deg_s2=300.0),
    Profile("standard", joint_speed_deg_s=90.0, tip_speed_m_s=0.25, max_lead_deg=20.0,
            acceleration_deg_s2=600.0),
    Profile("demonstration", joint_speed_deg_s=240.0, tip_speed_m_s=0.60, max_lead_deg=35.0,
            acceleration_deg_s2=900.0),
)}


def profile(name: str) -> Profile:
    """The profile of that name; SK305 when there is none."""
    if name not in PROFILES:
        raise SmolkitError("SK305", f"a profile: {', '.join(PROFILES)}", repr(name),
                           "the name in the kit file or the argument is misspelled",
                           'use "beginner" for a first session, "standard" for policies')
    return PROFILES[name]
