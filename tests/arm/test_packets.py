"""The codec against bytes seen on real buses, and against rubbish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm import packets
from smolkit.arm.packets import Packet, build, split

IDS = range(1, 7)
HALF = (2048).to_bytes(2, "little")
WORKED = {
    "ping": (packets.ping(1), "FF FF 01 02 01 FB"),
    "answer to ping": (packets.status(1), "FF FF 01 02 00 FC"),
    "read position": (packets.read(1, 56, 2), "FF FF 01 04 02 38 02 BE"),
    "position 2047": (packets.status(1, 0, (2047).to_bytes(2, "little")), "FF FF 01 04 00 FF 07 F4"),
    "torque on": (packets.write(1, 40, b"\x01"), "FF FF 01 04 03 28 01 CE"),
    "goal 2048": (packets.write(3, 42, HALF), "FF FF 03 05 03 2A 00 08 C2"),
    "sync read positions": (packets.sync_read(56, 2, IDS), "FF FF FE 0A 82 38 02 01 02 03 04 05 06 26"),
    "sync read block": (packets.sync_read(56, 15, IDS), "FF FF FE 0A 82 38 0F 01 02 03 04 05 06 19"),
    "sync write goals": (packets.sync_write(42, 2, dict.fromkeys(IDS, HALF)),
                         "FF FF FE 16 83 2A 02 01 00 08 02 00 08 03 00 08 04 00 08 05 00 08 06 00 08 F7"),
    "sync write torque off": (packets.sync_write(40, 1, dict.fromkeys(IDS, b"\x00")),
                              "FF FF FE 10 83 28 01 01 00 02 00 03 00 04 00 05 00 06 00 30"),
    "broadcast torque off": (packets.write(0xFE, 40, b"\x00"), "FF FF FE 04 03 28 00 D2"),
    "overloaded": (packets.status(6, 0x20), "FF FF 06 02 20 D7"),
}
PACKETS = st.builds(Packet, st.integers(0, 0xFE), st.integers(0, 0xFF),
                    st.binary(max_size=packets.MAX_PARAMS))


@pytest.mark.parametrize("name", WORKED)
def test_worked_bytes(name):
    found, expected = WORKED[name]
    assert found == bytes.fromhex(expected)


@given(PACKETS)
def test_what_is_built_is_found_again(packet):
    assert split(build(packet)) == ([packet], b"")


@given(st.lists(PACKETS, max_size=6))
def test_packets_in_a_row_are_all_found(row):
    assert split(b"".join(map(build, row))) == (row, b"")


@given(PACKETS, st.integers(1, 5))
def test_a_cut_packet_waits_for_its_rest(packet, missing):
    data = build(packet)
    found, rest = split(data[:-missing])
    assert found == []
    assert split(rest + data[-missing:])[0] == [packet]


@given(st.binary(max_size=300))
def test_rubbish_never_breaks_the_parser(data):
    found, rest = split(data)
    assert all(build(packet) in data for packet in found)
    assert data.endswith(rest)


@given(st.binary(max_size=40).filter(lambda data: not split(data)[0]), PACKETS)
def test_rubbish_never_hides_the_packet_behind_it(rubbish, packet):
    found, _ = split(rubbish + build(packet))
    assert packet in found or len(found) > 0              # the joint may by chance form another packet


@given(PACKETS, st.integers(2, 8), st.integers(1, 255))
def test_a_flipped_byte_is_never_accepted_as_the_packet(packet, at, change):
    data = bytearray(build(packet))
    data[min(at, len(data) - 1)] ^= change
    assert packet not in split(bytes(data))[0]


@pytest.mark.parametrize("packet", [Packet(255, 1), Packet(-1, 1), Packet(1, 3, bytes(249))])
def test_what_no_wire_can_carry_is_refused(packet):
    with pytest.raises(ValueError):
        build(packet)
