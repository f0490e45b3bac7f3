"""Who listens on the wire and knows what must never be on it: goals out of range, leaps, torque out of turn.

Written apart from the envelope, from the invariants alone; shares with it the arm's geometry and its profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from smolkit.arm import packets, registers
from smolkit.arm.calibration import Calibration
from smolkit.arm.emulator import ServoBus
from smolkit.arm.joints import to_radians
from smolkit.safety import geometry
from smolkit.safety.envelope import Envelope
from smolkit.safety.limits import JOINT_DEG, inner_range

# Bytes carry whole ticks, cut toward zero: 0.09 deg, at most 2 mm at the tip from all joints together.
TICK_DEG, TICKS_M = 0.09, 0.002
BACK_DEG, BACK_S = 2.0, 0.05                       # how far an arm moves from its measurement to its goal
IDS = range(1, 7)


class Oracle:
    """Examines each packet (`listen`) before `servos`, whose registers it knows, get it."""

    def __init__(self, envelope: Envelope, calibration: Calibration, now_s: Callable[[], float],
                 servos: ServoBus):
        self.envelope, self.calibration, self.now_s, self.servos = envelope, calibration, now_s, servos
        self.arming, self.last_s, self.goals = False, 0.0, 0

    def listen(self, request: bytes) -> None:
        for packet in packets.split(request)[0]:
            for address, values in written_words(packet):
                self.examine(address, values)

    def examine(self, address: int, values: dict[int, int]) -> None:
        if self.arming:
            self.last_s = self.now_s()
            return
        if address == registers.TORQUE_ENABLE.address:
            assert not any(values.values()), "torque on outside energize"                            # (e)
        elif address == registers.GOAL_POSITION.address:
            goal, held, here = (self.calibration.to_pos(np.asarray(ticks, float)) for ticks in (
                [values[i] for i in IDS], self.told(registers.GOAL_POSITION), self.told(registers.PRESENT_POSITION)))
            try:
                self.check_goal(goal, held)
            except AssertionError:
                # A goal that comes back toward where the arm is, or was a cycle ago, moves nothing: it stops pressing.
                most_deg = np.abs(here - held) + BACK_DEG + BACK_S * self.envelope.profile.joint_speed_deg_s
                back = ((goal - held) * (here - held) >= 0) & (np.abs(goal - held) <= most_deg)
                self.check_goal(goal, np.where(back, goal, held))

    def told(self, register: registers.Register) -> list[int]:
        return [self.servos.memory(i).get(register) for i in IDS]

    def check_goal(self, goal_deg: np.ndarray, last: np.ndarray) -> None:
        """A goal against the one that the servos hold until now: what moves an arm is the difference."""
        profile = self.envelope.profile
        dt_s = self.now_s() - self.last_s
        dt_s = profile.first_period_s if dt_s > profile.pause_s else min(dt_s, profile.longest_period_s)
        lowest, highest = inner_range(self.envelope.range_deg, profile)
        outside = np.maximum(lowest - goal_deg, goal_deg - highest)
        before = np.maximum(lowest - last, last - highest)
        assert (outside <= np.maximum(before, 0) + TICK_DEG).all(), "out of range, or further out"   # (a)
        moved = np.abs(goal_deg - last) * JOINT_DEG
        assert (moved <= profile.joint_speed_deg_s * dt_s + 2 * TICK_DEG).all(), "a joint leaps"     # (b)
        tips = geometry.tips(geometry.frames(to_radians(np.stack([last, goal_deg]))))
        tip_m = np.linalg.norm(tips[1] - tips[0], axis=1).max()
        assert tip_m <= profile.tip_speed_m_s * dt_s + TICKS_M, "the tip leaps"                      # (c)
        (table_m, apart_m), (table_was_m, apart_was_m) = map(geometry.clearances, map(to_radians, (goal_deg, last)))
        need_m = np.where(geometry.FINGERS, profile.finger_table_m, profile.table_m)
        assert (table_m >= np.minimum(need_m, table_was_m) - TICKS_M).all(), "into the table"        # (d)
        assert (apart_m >= np.minimum(profile.apart_m, apart_was_m) - TICKS_M).all(), "into itself"
        self.last_s, self.goals = self.now_s(), self.goals + 1

    @contextmanager
    def rearming(self) -> Iterator[None]:
        """Torque may come on in here, and goals are the driver's own."""
        self.arming = True
        try:
            yield
        finally:
            self.arming = False


def written_words(packet: packets.Packet) -> Iterator[tuple[int, dict[int, int]]]:
    """(address, id -> value) of every write in a packet that reaches a goal or a torque switch."""
    if packet.code == packets.WRITE:
        chunks = {packet.id: packet.params[1:]}
    elif packet.code == packets.SYNC_WRITE:
        width = packet.params[1] + 1
        data = packet.params[2:]
        chunks = {data[k]: data[k + 1:k + width] for k in range(0, len(data), width)}
    else:
        return
    for register in (registers.TORQUE_ENABLE, registers.GOAL_POSITION):
        at = register.address - packet.params[0]
        if all(0 <= at < len(data) for data in chunks.values()):
            yield register.address, {i: int.from_bytes(data[at:at + register.size], "little")
                                     for i, data in chunks.items()}
