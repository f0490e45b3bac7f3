"""Signs, sizes and the table's consistency."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm import registers
from smolkit.report import SmolkitError


def test_examples_of_sign_magnitude():
    assert registers.encode(registers.HOMING_OFFSET, -710) == (0x0AC6).to_bytes(2, "little")
    assert registers.encode(registers.GOAL_POSITION, -5) == (0x8005).to_bytes(2, "little")
    assert registers.decode(registers.PRESENT_LOAD, (0x0400 | 250).to_bytes(2, "little")) == -250


@given(st.sampled_from(registers.TABLE), st.data())
def test_every_register_returns_what_was_put_in(register, data):
    bits = 8 * register.size if register.sign_bit is None else register.sign_bit
    least = 0 if register.sign_bit is None else 1 - (1 << bits)
    value = data.draw(st.integers(least, (1 << bits) - 1))
    assert registers.decode(register, registers.encode(register, value)) == value


@pytest.mark.parametrize(("register", "value"), [
    (registers.HOMING_OFFSET, 2048), (registers.HOMING_OFFSET, -2048), (registers.TORQUE_ENABLE, 256),
    (registers.TORQUE_ENABLE, -1), (registers.GOAL_POSITION, 1 << 15)])
def test_what_does_not_fit_is_refused_instead_of_wrapped(register, value):
    with pytest.raises(SmolkitError, match="SK105"):
        registers.encode(register, value)


def test_no_two_registers_share_a_byte():
    table = sorted(registers.TABLE, key=lambda register: register.address)
    for before, after in itertools.pairwise(table):
        assert before.address + before.size <= after.address, (before.name, after.name)


def test_all_error_bits_are_named_not_only_the_first():
    assert registers.error_names(36) == ("over-temperature", "overload")
    assert registers.error_names(0) == ()
    assert registers.error_names(0x80) == ("reserved bit 7",)
