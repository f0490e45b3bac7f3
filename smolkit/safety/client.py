"""The guarded arm, seen from the notebook: the same calls, answered by the guardian's process.

    arm = GuardedArm.start("/dev/ttyACM0", Path("arm.json"), profile="beginner")
    arm.energize()
    arm.command(goal_deg)                          # through the envelope, over there
    arm.close()                                    # parks, lets go; the guardian ends

A thread gives the sign of life; it does nothing else, so a notebook that computes keeps its arm, and one
that is killed, stopped or out of memory loses it within 0.6 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.arm.find import port_named
from smolkit.arm.so101 import JointState
from smolkit.clock import WallClock
from smolkit.messages import Client
from smolkit.report import SmolkitError
from smolkit.session import Endpoint

from .guardian import guardians, session_name
from .states import State

BEAT_S = 0.1
START_S = 20.0
ENERGIZE_S, PARK_S = 10.0, 30.0


class GuardedArm:
    """A client of one guardian. Errors are those of the supervisor, raised here; SK814: no answer in time."""

    clock = WallClock()

    def __init__(self, endpoint: Endpoint, watch: bool = False, process: subprocess.Popen | None = None):
        self._client, self._process = Client(endpoint), process
        hello = self._client.ask({"do": "hello", "pid": os.getpid(), "watch": watch})
        self.pid = hello["pid"]                     # of the guardian
        self.calibration = Calibration.from_dict(hello["calibration"])
        self.profile, self.log_path = hello["profile"], Path(hello["log_path"]) if hello["log_path"] else None
        self._state = State(hello["state"])
        self._over, self._ended = threading.Event(), False
        self._beating = threading.Thread(target=self._beat, name="sign of life", daemon=True)
        if not watch:
            self._beating.start()

    @classmethod
    def start(cls, port: str, calibration: Path, *, profile: str = "beginner", log: Path | None = None,
              found_on: str = "ask", parks: bool = True, arm_type: str = "") -> GuardedArm:
        """Starts a guardian for a port ("usb:SERIAL" finds it) and becomes its owner; raises what it found wrong."""
        options = ["--port", port_named(port), "--calibration", str(calibration), "--profile", profile,
                   "--found-on", found_on, "--type", arm_type]
        options += (["--log", str(log)] if log else []) + ([] if parks else ["--drops"])
        process = subprocess.Popen([sys.executable, "-m", "smolkit.safety.guardian", *options],
                                   stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
        told = _first_line(process)
        if "error" in told:
            raise SmolkitError(**told["error"])
        return cls(Endpoint.load(told["ready"]), process=process)

    @classmethod
    def watch(cls, port: str) -> GuardedArm:
        """Looks on, and may stop the arm, without owning it."""
        return cls(Endpoint.load(session_name(port_named(port))), watch=True)

    @property
    def endpoint(self) -> Endpoint:
        """Where the guardian listens; its name tells the arms of a computer apart."""
        return self._client.endpoint

    @property
    def closed(self) -> bool:
        """Was `close` called, and did the arm go home?"""
        return self._ended

    def watcher(self) -> GuardedArm:
        """A line of its own to the same guardian: a stop there waits behind no question of this one."""
        return GuardedArm(self._client.endpoint, watch=True)

    def __enter__(self) -> GuardedArm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> State:
        """What the arm does now."""
        self._ask("state")
        return self._state

    @property
    def why(self) -> str:
        """What stopped the arm, and what to do; "" where nothing did."""
        return self._ask("state")["why"]

    @property
    def turn(self) -> int:
        """Grows with each arming and each stop; who began to drive at another turn shall not go on."""
        return self._ask("state")["turn"]

    def read(self) -> JointState:
        """All joints, now."""
        return JointState(**self._ask("read")["read"])

    def energize(self, rearm: bool = False, turn: int | None = None) -> None:
        """Torque on where the arm stands; after a stop only with `rearm`, and none that came after `turn`."""
        self._ask("energize", ENERGIZE_S, rearm=rearm, turn=turn)

    def command(self, goal_deg: np.ndarray, *, observed_s: float | None = None,
                frames: Mapping[str, str] | None = None) -> np.ndarray:
        """Sends a goal (6,) as far as the envelope admits it; returns what was sent."""
        return self._ask("command", goal_deg=np.asarray(goal_deg), observed_s=observed_s,
                         frames=dict(frames or {}))["sent"]

    @property
    def limited_share(self) -> float:
        """Of all goals so far, the share (0..1) that the envelope did not send as they came."""
        return self._ask("limited")["limited"]

    def rest(self) -> None:
        """The episode is over: the arm stands."""
        self._ask("rest")

    def hold(self, reason: str = "stop", lets_go: bool = True) -> None:
        """A stop: the arm stands and refuses goals. A second one lets go, unless told never to."""
        self._client.tell({"do": "hold", "reason": reason, "lets_go": lets_go})    # waits behind no other question
        time.sleep(BEAT_S / 4)
        self._ask("state")

    def park(self) -> None:
        """Slowly to the rest pose, then torque off; returns when it is off."""
        self._ask("park")
        self._wait_for_parking(State.PARKING)

    def release(self) -> None:
        """Torque off now, verified; a raised arm falls."""
        self._ask("release")

    def log_text(self, last: int = 50) -> str:
        """The last incidents, one a line."""
        return self._ask("log", last=last)["log"]

    def close(self) -> None:
        """Parks, lets go, ends the guardian; a watcher only goes. A Ctrl-C meanwhile lets go at once.

        In a notebook it holds instead: a page that cannot deliver a stop in any other way interrupts the kernel.
        """
        if self._over.is_set():
            return
        try:
            if self._beating.is_alive():
                self._ask("bye")
                self._wait_for_parking(State.PARKING, State.HOLD)
        except KeyboardInterrupt:
            if "ipykernel" in sys.modules:
                self.hold("interrupted while it parked", lets_go=False)
            else:
                self.release()
            raise
        finally:
            self._over.set()
            self._client.close()
        if self._process is not None:              # the port is free only when the guardian is gone
            self._await_end(self._process)
        self._ended = True

    def _await_end(self, process: subprocess.Popen) -> None:
        try:
            process.wait(PARK_S)
        except subprocess.TimeoutExpired as error:
            raise SmolkitError("SK336", "a parked arm", "it stands, torque on: somebody stopped it on its way",
                               "something, or somebody, was in the way",
                               "look; within a minute it goes home by itself") from error
        process.stdout.close()
        if process.returncode:
            raise SmolkitError("SK337", "a guardian that saw all servos let go",
                               f"one that ended with code {process.returncode}",
                               "a cable or the supply failed on the way home", "hold the arm and switch its power off")

    def _wait_for_parking(self, *on_the_way: State) -> None:
        end_s = time.monotonic() + PARK_S
        while time.monotonic() < end_s:
            try:
                if self.state not in on_the_way:
                    return
            except SmolkitError as error:
                if error.code == "SK814" and not self._client.endpoint.alive:
                    return                         # it parked, and ended
                raise
            time.sleep(BEAT_S)

    def _ask(self, what: str, timeout_s: float | None = None, **body: Any) -> dict[str, Any]:
        answer = self._client.ask({"do": what, **body}, timeout_s)
        self._state = State(answer["state"])
        return answer

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            self._client.tell({"do": "beat"})


def stop_all(reason: str = "smolkit stop") -> list[str]:
    """Stops every arm of this user, whoever moves it; the sessions' names with what each arm does then.

    All are told before any is asked: one that hangs must not keep the others from stopping.
    """
    clients = [Client(endpoint, timeout_s=1.0) for endpoint in guardians()]
    for client in clients:
        client.tell({"do": "hold", "reason": reason})
    time.sleep(BEAT_S)
    return [f"{client.endpoint.name}: {_state_of(client)}" for client in clients]


def _state_of(client: Client) -> str:
    try:
        with client:
            return client.ask({"do": "state"})["state"]
    except SmolkitError as error:
        return f"{error.code} {error.found}"


def _first_line(process: subprocess.Popen) -> dict[str, Any]:
    """What the guardian tells about its start; silence and death are errors, too."""
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    try:
        return json.loads(line)
    except ValueError as error:
        raise SmolkitError("SK333", "a guardian that starts", f"nothing of it; exit code {process.poll()}",
                           "the computer is overloaded, or the installation is incomplete",
                           "python -m smolkit.safety.guardian --help") from error
