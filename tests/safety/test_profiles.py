"""Profiles: the numbers that the design promises, and an error that names the choices."""

from __future__ import annotations

import pytest

from smolkit.report import SmolkitError
from smolkit.safety.profiles import PROFILES, profile


def test_profiles_are_those_of_the_design():
    limits = {p.name: (p.joint_speed_deg_s, p.tip_speed_m_s) for p in PROFILES.values()}
    assert limits == {"beginner": (30, 0.10), "standard": (90, 0.25), "demonstration": (240, 0.60)}


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(SmolkitError, match="beginner, standard, demonstration") as caught:
        profile("fast")
    assert caught.value.code == "SK305"


@pytest.mark.parametrize("name", PROFILES)
def test_a_ramp_is_never_faster_than_its_profile(name: str):
    p = profile(name)
    assert p.ramp_tip_speed_m_s <= p.tip_speed_m_s and p.ramp_speed_deg_s <= p.joint_speed_deg_s
    assert p.ramp_s >= 1.0
