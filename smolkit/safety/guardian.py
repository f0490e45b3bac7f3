"""The guardian: a process of its own that owns the arm's port and outlives the notebook.

    python -m smolkit.safety.guardian --port /dev/ttyACM0 --calibration arm.json --profile beginner

Kernels are restarted, hang in a debugger and run out of memory; the servos have no watchdog. So the only way
to the bus is through here: one client owns the arm and must give a sign of life twice a second, anybody of
the same user may stop it. One thread does everything: while torque grows, requests go on being answered,
or a stop would wait for a second.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.arm.so101 import SO101, JointState
from smolkit.clock import WallClock
from smolkit.messages import Request, Server, error_body
from smolkit.report import SmolkitError
from smolkit.session import Endpoint, running

from .envelope import Envelope, calibrated_range
from .incidents import IncidentLog
from .monitor import LIMITS
from .states import State
from .supervisor import Supervisor

PERIOD_S = 1 / 50                  # a tick at least so often
OWNER_GONE_S = 3.0                 # without a sign of life another client may take over
LINGER_S = 10.0                    # an arm that nobody owns, limp, is left after this
PREFIX = "arm "
# Emulated servos are a process that waits for its turn on a busy computer; real ones answer in 0.5 ms.
EMULATED, PATIENT = ("/dev/pts/", "socket://"), {"latency_s": 0.3, "budget_s": 0.6}
STOPPING, MOVING = ("hold", "release"), ("energize", "command", "park")
FOUND_ON = ("ask", "park", "release")


def session_name(port: str) -> str:
    """The name under which the guardian of a port is found: one per arm.

        >>> session_name("/dev/serial/by-id/usb-5AB/if00")
        'arm dev-serial-by-id-usb-5AB-if00'
    """
    real = port if "://" in port else os.path.realpath(port)
    return PREFIX + re.sub(r"[^A-Za-z0-9_.]+", "-", real).strip("-")


def guardians() -> tuple[Endpoint, ...]:
    """All guardians of this user that run now."""
    return tuple(endpoint for endpoint in running() if endpoint.name.startswith(PREFIX))


def state_body(state: JointState) -> dict[str, Any]:
    """A measurement as a message."""
    return dict(vars(state))


class Guardian:
    """Answers clients and looks after the arm; `serve` until nobody needs it any more."""

    def __init__(self, server: Server, clock: GuardianClock):
        self.server, self.clock = server, clock
        self.supervisor: Supervisor | None = None
        self._owner, self._owner_pid, self._owner_s = b"", 0, 0.0
        self._alone_since_s = clock.now_s()
        self._leaving = False
        self._waiting: deque[Request] = deque()
        self._signals = self._signals_done = 0
        clock.meanwhile = self.serve_until

    def serve(self) -> None:
        """Until the arm is limp and nobody owns it."""
        while not self._done():
            self.serve_until(self.clock.now_s() + PERIOD_S)

    def serve_until(self, moment_s: float) -> None:
        """Answers what comes until then, then looks after the arm once."""
        while (left_s := moment_s - self.clock.now_s()) > 0:
            self._answer_all(left_s)
        self._answer_all(0)                        # a slow answer must not make the signs of life behind it look late
        while self._signals_done < self._signals:
            self._signals_done += 1
            with suppress(SmolkitError):           # nobody is there to be told, and the log has it
                self._leave_arm(parks=True) if self._signals_done == 1 else self.supervisor.release()
        self.supervisor.tick()

    def _answer_all(self, wait_s: float) -> None:
        """In the order they came. A slow answer serves meanwhile, and finds what waits behind it here, too."""
        self._waiting.extend(self.server.poll(0 if self._waiting else wait_s))
        while self._waiting:
            request = self._waiting.popleft()
            request.reply(self._answer(request))

    def leave(self, *_: object) -> None:
        """Parks and ends; called twice, lets go at once. (SIGTERM, SIGINT: only noted here, in mid-transaction)"""
        self._signals += 1

    def _leave_arm(self, parks: bool) -> None:
        """Nobody owns it any more, and it goes home. Where somebody stopped it, it stands; silence parks it later."""
        left, self._owner, self._leaving = self._leaving, b"", True
        if left or self.supervisor.state is State.HOLD:
            return
        if parks:
            self.supervisor.park()
        else:
            self.supervisor.release()

    def _bye(self) -> None:
        self.supervisor.unattended()               # who goes has seen where it stands: two seconds are enough
        self._leave_arm(self.supervisor.parks)

    def _done(self) -> bool:
        now_s = self.clock.now_s()
        if self.supervisor.state.powered or self._owner and now_s - self._owner_s < OWNER_GONE_S:
            self._alone_since_s = now_s
        return self._leaving and not self.supervisor.state.powered or now_s - self._alone_since_s > LINGER_S

    # -- requests ------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> dict[str, Any]:
        """The answer, or the error that the client raises; a mistake in a message ends no guardian."""
        try:
            if self.clock.now_s() > request.until_s and request.body.get("do") not in STOPPING:
                return {}                          # nobody waits for it
            return self._do(str(request.body.get("do")), request)
        except SmolkitError as error:
            return error_body(error)
        except Exception as error:                 # nothing that comes in a message may end the arm's guardian
            return error_body(SmolkitError("SK330", "a request that the guardian knows", f"{request.body}: {error}",
                                           "client and guardian are of different versions",
                                           "close the kit, wait ten seconds, open it again"))

    def _do(self, what: str, request: Request) -> dict[str, Any]:
        guarded, body = self.supervisor, request.body
        anybody: Mapping[str, Callable[[], object]] = {
            "hello": lambda: self._hello(request), "state": lambda: {"why": guarded.why, "turn": guarded.turn},
            "read": lambda: {"read": state_body(guarded.read())},
            "limited": lambda: {"limited": guarded.limited_share},
            "log": lambda: {"log": guarded.log.text(int(body.get("last", 50)))},
            "hold": lambda: guarded.hold(str(body.get("reason", "stop")), bool(body.get("lets_go", True))),
            "park": guarded.park, "release": guarded.release}
        owner: Mapping[str, Callable[[], object]] = {
            "beat": lambda: guarded.beat(request.sent_s), "rest": guarded.rest, "bye": self._bye,
            "energize": lambda: guarded.energize(bool(body.get("rearm")), body.get("turn")),
            "command": lambda: {"sent": guarded.command(np.asarray(body["goal_deg"]), observed_s=body.get("observed_s"),
                                                        frames=body.get("frames"))}}
        if what in owner and not (what == "bye" and self._leaving):
            self._require_owner(request)
        self._require_fresh(what, self.clock.now_s() - request.sent_s)
        if what in owner:
            answer = owner[what]()
        else:
            answer = anybody[what]()
        return {"state": str(guarded.state), **(answer if isinstance(answer, dict) else {})}

    def _hello(self, request: Request) -> dict[str, Any]:
        """Makes the first who asks the owner; "watch" looks on without owning."""
        if not request.body.get("watch"):
            now_s = self.clock.now_s()
            if self._leaving or self._owner not in (b"", request.sender) and now_s - self._owner_s < OWNER_GONE_S:
                raise self._foreign()
            self._owner, self._owner_pid, self._owner_s = request.sender, int(request.body["pid"]), now_s
        return {"pid": os.getpid(), "owner": self._owner_pid, "profile": self.supervisor.envelope.profile.name,
                "calibration": self.supervisor.calibration.as_dict(), "log_path": str(self.supervisor.log.path or "")}

    def _require_owner(self, request: Request) -> None:
        if request.sender != self._owner:
            raise self._foreign()
        self._owner_s = max(self._owner_s, min(request.sent_s, self.clock.now_s()))

    def _require_fresh(self, what: str, age_s: float) -> None:
        """What lay here while this process was frozen may be the wish of somebody who is gone."""
        if what in MOVING and age_s > LIMITS.heartbeat_s:
            raise SmolkitError("SK335", f"a {what} of the last {LIMITS.heartbeat_s:g} s",
                               f"one that waited {age_s:.1f} s",
                               "the guardian's process was frozen, or the computer is overloaded",
                               "close other programs, look where the arm is, then go on")

    def _foreign(self) -> SmolkitError:
        if self._leaving:
            return SmolkitError("SK334", "a guardian that stays", "it parks the arm and ends",
                                "the kit was closed a moment ago, or the guardian was told to end",
                                "wait some seconds, a minute where the arm was stopped, then try again")
        return SmolkitError("SK331", "one client that commands the arm", f"process {self._owner_pid} has it",
                            "another notebook or program uses this arm",
                            "close it there (in Jupyter: Kernel > Shut Down), or watch it: smolkit stop stops it")


class GuardianClock(WallClock):
    """Wall time whose waits are not idle: the guardian answers meanwhile."""

    meanwhile: Callable[[float], None] | None = None

    def sleep_until(self, moment_s: float) -> None:
        if self.meanwhile is None:
            return super().sleep_until(moment_s)
        while self.now_s() < moment_s:
            self.meanwhile(min(moment_s, self.now_s() + PERIOD_S))
        return None


def open_guardian(port: str, calibration: Calibration, profile: str, *, log: Path | None = None,
                  found_on: str = "ask", parks: bool = True, arm_type: str = "") -> Guardian:
    """Takes port and name, checks the arm, and decides about torque that an earlier process left on.

    Errors: SK812 another guardian has this arm; SK332 torque is on and nobody said what to do about it; those
    of `SO101`.
    """
    server, clock = Server(session_name(port)), GuardianClock()
    try:
        guardian = Guardian(server, clock)
        envelope = Envelope(profile, calibrated_range(calibration))
        arm = SO101(port, calibration, envelope, clock, arm_type=arm_type,
                    **(PATIENT if port.startswith(EMULATED) else {}))
        guardian.supervisor = Supervisor(arm, envelope, IncidentLog(log), heartbeat=True, parks=parks)
        _settle(guardian.supervisor, found_on)
    except BaseException:
        server.close()
        raise
    return guardian


def _settle(guarded: Supervisor, found_on: str) -> None:
    holding = guarded.arm.holding()
    if not holding:
        return
    guarded.stands(f"torque found on in servos {holding}")
    if found_on == "release":
        guarded.release()
    elif found_on == "park":
        _park_found(guarded)
    else:
        guarded.arm.abandon()
        raise SmolkitError("SK332", "an arm without torque", f"torque on in servos {', '.join(map(str, holding))}",
                           "the guardian that moved it was killed; the arm holds its last goal, and may be raised",
                           'look at it, then open it with found_on="park", or with a hand under it found_on="release"')


def _park_found(guarded: Supervisor) -> None:
    try:
        guarded.energize()
        guarded.park()
    except SmolkitError:
        if guarded.stopped_by is None:
            guarded.arm.abandon()
            raise                                  # else somebody pressed stop: it stands, and the guardian stays


def main(arguments: list[str] | None = None) -> int:
    """Runs a guardian until nobody needs it; tells on standard output, in one line, how the start went."""
    parser = argparse.ArgumentParser(prog="python -m smolkit.safety.guardian", description="owns an arm's port")
    parser.add_argument("--port", required=True)
    parser.add_argument("--calibration", required=True, type=Path)
    parser.add_argument("--profile", default="beginner")
    parser.add_argument("--type", default="", help="7.4V or 12V: what the labels on the servos say")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--found-on", default="ask", choices=FOUND_ON)
    parser.add_argument("--drops", action="store_true", help="lets go at the end without parking")
    given = parser.parse_args(arguments)
    try:
        guardian = open_guardian(given.port, Calibration.load(given.calibration), given.profile, log=given.log,
                                 found_on=given.found_on, parks=not given.drops, arm_type=given.type)
    except SmolkitError as error:
        _tell(error_body(error))
        return 2
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, guardian.leave)
    _tell({"ready": guardian.server.endpoint.name})
    try:
        _serve_whatever_happens(guardian)
        guardian.supervisor.close(park=False)
    except SmolkitError as error:                  # the wire is gone: the log keeps what there is to say
        guardian.supervisor.log.write(guardian.clock.now_s(), "warning", State.LOST, error.code, error.found)
        return 1
    finally:
        guardian.server.close()
    return 0


def _serve_whatever_happens(guardian: Guardian) -> None:
    """A fault of our own holds the arm; the second one ends in torque off, by `close`."""
    try:
        guardian.serve()
    except Exception as error:
        guarded = guardian.supervisor
        guarded.log.write(guardian.clock.now_s(), "warning", guarded.state, "SK330", repr(error))
        guarded.hold("a fault in the guardian", lets_go=False)
        guardian.serve()


def _tell(body: dict[str, Any]) -> None:
    with suppress(OSError):                        # whoever started this was killed: the arm needs it all the more
        os.write(1, f"{json.dumps(body)}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
