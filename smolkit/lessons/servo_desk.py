"""What lesson 01 finds on the desk, in each lane: a port to open, an arm to calibrate, and hands that move it.

    >>> with open_desk("sim") as desk:
    ...     desk.hold("middle")
    ...     session = CalibrationSession(desk.bus)
    ...     session.hold_middle()
    ...     swept = desk.sweep(session, "elbow_flex")
    ...     bar = session.look()[2]
    >>> swept[-1] == bar.present, round(bar.share, 2)
    (True, 1.0)

`sim`: emulated servos behind a port of the operating system; they know no gravity, so a limp arm stays where a
hand puts it. `recorded`: the shipped register log. `real`: the arm on your desk, moved by you; `tell` says when.
What breaks things happens on spare emulated servos, in all lanes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm import fake, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, CalibrationSession
from smolkit.arm.calibration import LEAST_SPAN, Calibration
from smolkit.arm.configure import configure, servo_fingerprint, write_calibration
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.find import Port, port_named, ports
from smolkit.arm.joints import IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.recorded import RecordedServos
from smolkit.arm.serve import Server, serve_pty, serve_tcp
from smolkit.arm.setup_motors import Step
from smolkit.clock import WallClock
from smolkit.lessons.lane import dataset
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
from smolkit.safety.geometry import REST_DEG
from smolkit.safety.guardian import PATIENT
from smolkit.sim.bench import HORN_OFFSET_TICKS

if TYPE_CHECKING:
    from ipywidgets import Widget

    from smolkit.widgets.hand import HandPanel

LOOKS = 40                                         # of one sweep by a programmed hand
HOLD_S, REST_S, PATIENCE_S, LOOK_S = 8.0, 2.0, 60.0, 0.03


class Desk(AbstractContextManager):
    """The sim lane's desk, and what all lanes share. Close it at the end, or use `with`."""

    lane = "sim"

    def __init__(self, tell: Callable[[str], None] = print):
        self.tell, self._stack, self._driver, self._pulled = tell, ExitStack(), None, False
        self._hands: list[HandPanel] = []
        self.port, self.servos = self._open()

    def _open(self) -> tuple[object, ServoBus | None]:
        """What a driver opens, and what stands behind it where it is emulated."""
        servos = ServoBus(fake.SpringPlant(MIDDLE_RAD), HORN_OFFSET_TICKS)     # the arm of every simulated bench
        return self._serve(servos), servos

    def _serve(self, servos: ServoBus) -> str:
        server: Server = (serve_tcp if sys.platform == "win32" else serve_pty)(servos)
        self._stack.callback(server.close)
        return server.port

    @property
    def bus(self) -> Bus:
        """The driver's bus on the desk's port, opened at the first use and after `free`."""
        if self._driver is None:
            self._driver = Bus(self.port, **({} if self.lane == "real" else PATIENT))
        return self._driver

    def free(self) -> None:
        """Closes the port, so that another program (the guardian) can have it."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def close(self) -> None:
        """Frees the port and ends what was emulated."""
        self.free()
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def exchange(self, request: bytes, wait_s: float = 0.1) -> bytes:
        """Sends bytes as they are; what came back within `wait_s`."""
        port = self.bus.port
        port.clearPort()
        port.writePort(list(request))
        end_s, data = time.monotonic() + wait_s, b""
        while time.monotonic() < end_s and not (port.stepped and data):
            data += port.readPort(64)
        return data

    def ports(self) -> tuple[Port, ...]:
        """The serial ports that the computer has; on an emulated desk the arm's board, and something else."""
        board = Port(str(getattr(self.port, "name", self.port)), "servo board (emulated)", 0x1A86, 0x55D3, "EMULATED01")
        other = Port("modem", "something else with a serial port", None, None, None)
        return (other,) if self._pulled else (board, other)

    def cable(self) -> tuple[Widget, ...]:
        """An emulated desk's USB cable: a button that pulls it, for `ports`."""
        def pull(change: dict) -> None:
            self._pulled = change["new"]
        button = _button("ToggleButton", "pull the USB cable", tooltip="press again to plug it in")
        button.observe(pull, "value")
        return (button,)

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        time.sleep(seconds)

    # -- hands ------------------------------------------------------------------------------------------

    def hand(self, angle_rad: np.ndarray) -> None:
        """Moves the limp arm to a pose (6,) rad, whatever a learner's hand does; only an emulated arm obeys."""
        self._let_go()
        self.servos.hand_pose(angle_rad)

    def _let_go(self) -> None:
        for panel in self._hands:
            panel.let_go()

    def hold(self, pose: str) -> None:
        """Brings the arm to "middle", or to "pan at its stop" with the rest in the middle."""
        angle_rad = MIDDLE_RAD.copy()
        angle_rad[0] = angle_rad[0] if pose == "middle" else LOWER_RAD[0]
        self.hand(angle_rad)

    def hands(self) -> tuple[Widget | HandPanel, ...]:
        """What a learner moves the arm with: sliders in the sim lane, a button that plays the tape in the recorded."""
        from smolkit.widgets.hand import HandPanel
        self.hand(to_radians(np.array(REST_DEG)))  # folded, as one finds an arm: the middle is the learner's to find
        panel = HandPanel(self.servos.hand_pose, lambda: self.servos.plant.state().angle_rad)
        self._hands.append(panel)
        self._stack.callback(panel.close)
        return (panel,)

    def sweep(self, session: CalibrationSession, joint: str) -> list[int]:
        """Moves `joint` from stop to stop while the session looks; where it saw the joint, in its ticks."""
        index = JOINT_NAMES.index(joint)
        session.sweep(joint)
        return [session.look()[index].present for _ in self._moves(session, index)]

    def _moves(self, session: CalibrationSession, index: int) -> Iterator[None]:
        middle, low, high = MIDDLE_RAD[index], LOWER_RAD[index], UPPER_RAD[index]
        for leg in ((middle, low), (low, high), (high, middle)):
            for angle in np.linspace(*leg, LOOKS // (2 if leg == (low, high) else 4)):
                pose = MIDDLE_RAD.copy()
                pose[index] = angle
                self.hand(pose)
                yield

    def file_in_force(self, folder: Path) -> Path:
        """The calibration in `folder` that the servos hold; the newest where several say the same."""
        held = servo_fingerprint(self.bus, IDS)
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for file in files:
            if not file.name.endswith(".sidecar.json") and Calibration.load(file).fingerprint == held:
                return file
        raise SmolkitError("SK823", f"a calibration of this arm in {folder.name}", f"none with fingerprint {held}",
                           "the arm was calibrated elsewhere, or its file was not kept",
                           "run the lesson from its calibration section on")

    # -- what may go wrong, and what moves ----------------------------------------------------------------

    @property
    def for_mistakes(self) -> Desk:
        """Where one calibrates wrongly on purpose: this desk, unless its arm is real."""
        return self

    @contextmanager
    def guarded(self, file: Path, arm_type: str = "", *, ready: bool = False) -> Iterator[GuardedArm]:
        """The arm behind its guardian, which parks it and lets go at the end. `arm_type`: what its labels say.

        On a real desk `ready` is your word that nobody's hand is in the arm's way; without it, and where the arm
        is a recording, an emulated arm with your calibration stands in.
        """
        self._let_go()
        self.free()
        port = self._movable(file, ready)
        with GuardedArm.start(port, file, profile="beginner", arm_type=arm_type if port == self.port else "") as arm:
            yield arm

    def _movable(self, file: Path, ready: bool) -> str:
        return self.port

    def _stand_in(self, file: Path, why: str) -> str:
        servos = ServoBus(fake.SpringPlant(to_radians(np.array(REST_DEG))), horn_offset_ticks=_horns(file))
        bus = Bus(connect(servos))
        configure(bus, IDS)
        write_calibration(bus, Calibration.load(file))
        self.tell(f"{why}: an emulated arm with your calibration stands in")
        return self._serve(servos)


class RecordedDesk(Desk):
    """The shipped register log, behind the same packets."""

    lane = "recorded"

    def _open(self) -> tuple[object, ServoBus | None]:
        servos = RecordedServos(dataset("servo_calibration"))
        servos.seek("middle")
        return connect(servos), servos

    def hold(self, pose: str) -> None:
        """Winds the tape to where the hand held that pose."""
        begin_s, end_s = self.servos.span("shoulder_pan")
        self.servos.seek("middle" if pose == "middle" else begin_s + (end_s - begin_s) / 4)

    def _moves(self, session: CalibrationSession, index: int) -> Iterator[None]:
        for moment_s in np.arange(*self.servos.span(JOINT_NAMES[index]), 0.04):
            self.servos.seek(float(moment_s))
            yield

    def hands(self) -> tuple[Widget | HandPanel, ...]:
        begin_s, end_s = self.servos.span("middle")
        self.servos.seek((begin_s + end_s) / 2)
        button = _button("Button", "play the sweeps", icon="play", layout={"width": "auto"},
                         tooltip="the recorded hand moves each joint from stop to stop, 24 s in all")
        button.on_click(lambda _: self.servos.play(WallClock(), JOINT_NAMES[0]))
        self.tell("the recorded hand holds the arm in its middle pose, until you play the sweeps (24 s)")
        return (button,)

    def _movable(self, file: Path, ready: bool) -> str:
        return self._stand_in(file, "a recording does not move")


class RealDesk(Desk):
    """Your arm, and your hands."""

    lane = "real"

    def __init__(self, port: str, tell: Callable[[str], None] = print):
        self._given = port
        super().__init__(tell)

    def _open(self) -> tuple[object, ServoBus | None]:
        return port_named(self._given), None

    def ports(self) -> tuple[Port, ...]:
        """The serial ports of this computer."""
        return ports()

    def cable(self) -> tuple[Widget, ...]:
        return ()

    def hold(self, pose: str) -> None:
        """Asks you to, and waits."""
        self.tell(f"bring every joint to the middle of its range and hold the arm there: {HOLD_S:g} s")
        time.sleep(HOLD_S)

    def _moves(self, session: CalibrationSession, index: int) -> Iterator[None]:
        """Until the joint has covered its range and rests, or patience ends."""
        self.tell(f"move {JOINT_NAMES[index]} slowly to one stop, then to the other, and rest")
        covered, grew_s, end_s = 0.0, time.monotonic(), time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            yield
            time.sleep(LOOK_S)
            share = session.look()[index].share
            if share > covered:
                covered, grew_s = share, time.monotonic()
            if covered >= LEAST_SPAN and time.monotonic() - grew_s > REST_S:
                return

    def hands(self) -> tuple[Widget | HandPanel, ...]:
        self.tell("your own: hold the limp arm with one, press the panel's buttons with the other")
        return ()

    @property
    def for_mistakes(self) -> Desk:
        desk = open_desk("sim", tell=self.tell)
        self._stack.callback(desk.close)
        return desk

    def _movable(self, file: Path, ready: bool) -> str:
        return self.port if ready else self._stand_in(file, "READY is False")


def open_desk(lane: str, port: str = "", *, tell: Callable[[str], None] = print) -> Desk:
    """The desk of a lane; `port` ("/dev/ttyACM0", "COM3", "usb:SERIAL") is for the real one."""
    return RealDesk(port, tell) if lane == "real" else {"sim": Desk, "recorded": RecordedDesk}[lane](tell)


def _button(kind: str, words: str, **looks: object) -> Widget:
    """A button of ipywidgets that is words, not code, on a page that cannot show it."""
    import ipywidgets
    named = {"__repr__": lambda _: f"[ {words} ]  a button, in a live page"}
    return type(kind, (getattr(ipywidgets, kind),), named)(description=words, **looks)


def _horns(file: Path) -> list[int]:
    """Horns with which that calibration's middle is the arm's middle pose."""
    turn = registers.TICKS_PER_TURN
    return [round(motor.homing_offset - 1 - middle_rad * turn / (2 * np.pi))
            for motor, middle_rad in zip(Calibration.load(file).motors, MIDDLE_RAD, strict=True)]


class NewServos:
    """A box of six servos as they are sold, all with id 1; only those that are `plugged` hang on the board.

        >>> box = NewServos()
        >>> box.plug((6,))
        >>> box.bus.everyone()[0]
        (1,)
    """

    def __init__(self) -> None:
        self.servos = fake.servos(seed=3)
        for number in IDS:
            self.servos.set_register(number, registers.ID, 1)
        self.bus = Bus(connect(self.servos))
        self.plug(())

    def plug(self, numbers: Iterable[int]) -> None:
        """These servos are on the wire, the others are not; 1 is what will be the shoulder_pan."""
        self.servos.dead = set(IDS) - set(numbers)

    def obey(self, step: Step) -> None:
        """Does with the plugs what `setup_motors` asks for."""
        if step.state == "plug in":
            self.plug((step.servo_id,))
        elif step.state in ("unplug", "refused"):
            self.plug(())
