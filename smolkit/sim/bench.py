"""A desk without a robot: six emulated servos, and behind their shafts the simulated world.

    >>> from smolkit.clock import SteppedClock
    >>> bench = Bench("place", seed=3, clock=SteppedClock())
    >>> bench.scene.instruction
    'put the blue cube in the green box'
    >>> bench.port.write(bytes.fromhex("ff ff 01 02 01 fb")), bench.port.read(6).hex(" ")   # ping servo 1
    (6, 'ff ff 01 02 00 fc')
    >>> bench.close()

Every bench holds the same arm: its horns were screwed on at the same odd angles, so a calibration made
on one bench is right on all of them, as with a real arm and several tables.
"""

from __future__ import annotations

import sys

import numpy as np

from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE, MIDDLE_RAD
from smolkit.arm.calibration import Calibration, MotorCalibration
from smolkit.arm.configure import configure, write_calibration
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.joints import JOINTS
from smolkit.arm.serve import Server, serve_pty, serve_tcp
from smolkit.arm.shafts import RAD_TO_TICK
from smolkit.cameras.camera import CameraRole
from smolkit.clock import Clock, SteppedClock
from smolkit.sim.cameras import SimCamera
from smolkit.sim.render import Renderer
from smolkit.sim.tasks import task_named
from smolkit.sim.world import World

HORN_OFFSET_TICKS = (312, -745, 1204, -96, 580, -1333)       # how this arm's builder put the horns on
FULL_TURN_JOINT = "wrist_roll"                               # LeRobot gives it 0..4095, unswept


class Bench:
    """World, servo bus and clock joined: when the clock advances, the bus drives the world."""

    def __init__(self, task: str, seed: int, clock: Clock, renderer: Renderer | None = None):
        self.task, self.clock = task_named(task), clock
        self.rng = np.random.default_rng(seed)               # draws the scene; what follows is the caller's
        self.scene = self.task.sample(self.rng)
        self.world = World(self.scene, renderer=renderer)
        self.bus = ServoBus(self.world, HORN_OFFSET_TICKS)
        self.port = connect(self.bus)
        self.server: Server | None = None
        if isinstance(clock, SteppedClock):
            clock.on_advance(self.bus.advance_to)

    def install(self, calibration: Calibration | None) -> Calibration:
        """Puts a calibration into the servos' EEPROM, as a finished calibration leaves it there.

        None stands for the one that a patient person would measure on this arm.
        """
        calibration = calibration or measured_calibration()
        bus = Bus(connect(self.bus))
        try:
            write_calibration(bus, calibration)
            configure(bus, calibration.ids)
        finally:
            bus.close()
        return calibration

    def camera(self, role: CameraRole) -> SimCamera:
        """A camera of that role over this bench."""
        return SimCamera(self.world, role, self.clock)

    def success(self) -> bool:
        """Is the task physically done, now?"""
        with self.bus.lock:
            return self.task.success(self.world)

    def lay(self, seed: int) -> None:
        """Another scene of the task around the arm as it stands; time goes on."""
        with self.bus.lock:
            self.scene = self.task.sample(np.random.default_rng(seed))
            self.world.lay(self.scene)

    def serve(self, tcp: bool = False) -> str:
        """Puts the servos behind a port of the operating system, in wall time; returns the port's name."""
        serve = serve_tcp if tcp or sys.platform == "win32" else serve_pty         # Windows has no pty
        self.server = serve(self.bus, clock=self.clock)
        return self.server.port

    def close(self) -> None:
        """Ends the server, if there is one, and frees the renderer if the world opened it."""
        if self.server is not None:
            self.server.close()
        self.world.close()


def measured_calibration() -> Calibration:
    """What careful calibration finds on this arm: 2047 in the middle pose, and every joint's full sweep."""
    motors = []
    for joint, horn, middle_rad in zip(JOINTS, HORN_OFFSET_TICKS, MIDDLE_RAD, strict=True):
        low, high = (round(MIDDLE + (limit - middle_rad) * RAD_TO_TICK)
                     for limit in (joint.lower_rad, joint.upper_rad))
        span = (0, 4095) if joint.name == FULL_TURN_JOINT else (low, high)
        offset = 2048 + horn + round(middle_rad * RAD_TO_TICK) - MIDDLE
        motors.append(MotorCalibration(joint.servo_id, 0, offset, *span))
    return Calibration(tuple(motors))
