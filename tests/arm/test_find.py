"""Finding the arm's port: by its USB serial number, or by pulling its cable."""

from __future__ import annotations

import pytest

from smolkit.arm.find import Port, port_named, ports, replugged, unplugged
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError


def port(name, vid=None, pid=None):
    return Port(name, "", vid, pid, None)


def test_ports_are_listed_without_opening_any():
    assert all(isinstance(found.name, str) and found.name for found in ports())


def test_servo_boards_are_recognised():
    assert port("a", 0x1A86, 0x55D3).like_an_arm and port("a", 0x1A86, 0x7523).like_an_arm
    assert not port("a", 0x1A86, 0x1234).like_an_arm and not port("a").like_an_arm


def test_the_port_that_went_away_is_the_arms():
    before = [port("COM1"), port("COM3"), port("COM4")]
    assert unplugged(before, [port("COM4"), port("COM1")]).name == "COM3"
    for after in (before, [port("COM1")], []):
        with pytest.raises(SmolkitError, match="SK113"):
            unplugged(before, after)


def looks(*moments):
    """What the list of ports says at one look after the other; the last one for ever."""
    moments = list(moments)
    return lambda: moments.pop(0) if len(moments) > 1 else moments[0]


ARM, OTHER = Port("COM3", "", 0x1A86, 0x55D3, "5A46"), Port("COM4", "", 0x1A86, 0x55D3, "77B1")


def test_the_port_that_went_and_came_back_is_the_arms_under_its_new_name():
    renamed, said = Port("COM9", "", 0x1A86, 0x55D3, "5A46"), []
    found = replugged(looks((ARM, OTHER), (ARM, OTHER), (OTHER,), (OTHER,), (OTHER, renamed)), SteppedClock(),
                      tell=said.append)
    assert found == renamed
    assert "pull" in said[0] and "COM3 went" in said[1]


def test_a_port_without_a_serial_number_is_known_by_its_name():
    plain = port("COM5")
    assert replugged(looks((OTHER, plain), (OTHER,), (OTHER, plain)), SteppedClock()) == plain


@pytest.mark.parametrize(("moments", "found"), [(((ARM,),), "none went"), (((ARM,), ()), "COM3 went only"),
                                                (((ARM, OTHER), ()), "COM3, COM4")])
def test_watching_ends_with_what_was_seen(moments, found):
    with pytest.raises(SmolkitError, match="SK113") as error:
        replugged(looks(*moments), SteppedClock(), patience_s=3.0)
    assert found in error.value.found


def test_a_port_is_found_by_its_usb_serial_number():
    assert port_named("usb:5A46", lambda: (OTHER, ARM)) == "COM3"
    assert port_named("/dev/ttyACM0", lambda: ()) == "/dev/ttyACM0"
    for desk in ((), (OTHER,), (ARM, ARM)):
        with pytest.raises(SmolkitError, match="SK113"):
            port_named("usb:5A46", lambda desk=desk: desk)
