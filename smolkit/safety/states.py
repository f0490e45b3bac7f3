"""What a supervised arm can be doing, what can stop it, and what it does then.

    >>> STOPS["frozen frames"].reaction
    <Reaction.HOLD: 'hold'>
    >>> print(STOPS["too hot"].cause)
    a joint held a load for long, or it is blocked

Every stop latches: the arm obeys again only after an explicit re-arm. HOLD keeps the torque and stands
still, because a raised arm that loses torque falls; PARK goes to the rest pose first and lets go there;
OFF lets go at once, where holding would be worse (a servo restarted, a person pressed twice).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from smolkit.report import SmolkitError


class State(StrEnum):
    """IDLE and OFF: no torque (OFF after a stop). ARMED stands, RUNNING obeys, HOLD stands and refuses."""

    IDLE = "idle"
    ARMED = "armed"
    RUNNING = "running"
    HOLD = "hold"
    PARKING = "parking"
    OFF = "off"
    LOST = "lost"                  # nobody answers: the arm may still hold its last goal

    @property
    def powered(self) -> bool:
        """Torque is on, as far as anybody knows."""
        return self in (State.ARMED, State.RUNNING, State.HOLD, State.PARKING)


class Reaction(StrEnum):
    """What a stop does, weakest first."""

    WARN = "warn"                  # written down, nothing stops
    HOLD = "hold"
    PARK = "park"                  # hold for a moment, then the rest pose, then off
    OFF = "off"
    LOST = "lost"


@dataclass(frozen=True)
class Stop:
    """One reason to stop: its code, the row of the failure catalogue, and what to tell a person."""

    code: str
    row: int
    reaction: Reaction
    expected: str
    cause: str
    next_step: str


REARM = "when the cause is gone: arm.energize(rearm=True)"
DOCTOR = "smolkit doctor PORT"
STOPS = {
    "asked": Stop("SK310", 23, Reaction.HOLD, "no stop", "somebody pressed stop", REARM),
    "asked twice": Stop("SK310", 23, Reaction.OFF, "no stop", "somebody pressed stop twice", REARM),
    "silence": Stop("SK311", 22, Reaction.PARK, "a heartbeat every 0.1 s",
                    "the notebook's kernel was killed, or hangs", "restart the kernel, open the kit again"),
    "stale action": Stop("SK312", 17, Reaction.PARK, "a goal from a picture of the last 0.3 s, every 0.5 s at most",
                         "the policy is too slow, or it stopped", "a smaller model or longer chunks; " + REARM),
    "unusable actions": Stop("SK302", 18, Reaction.HOLD, "finite goals of six numbers",
                             "a policy that diverged, a dead normaliser", "look at the actions; " + REARM),
    "other units": Stop("SK324", 33, Reaction.WARN, "body goals in degrees, the gripper's in %",
                        "a policy or a dataset that counts in radians", "compare the dataset's statistics with the"
                        " arm's range; meanwhile the arm creeps toward its zero pose"),
    "frozen frames": Stop("SK313", 15, Reaction.HOLD, "a camera whose pictures change",
                          "the camera hangs, or its cable is loose", "plug it in again, look at its picture; " + REARM),
    "blocked": Stop("SK314", 4, Reaction.HOLD, "joints that come nearer to their goal",
                    "something, or somebody, is in the way", "clear the way; " + REARM),
    "overload": Stop("SK315", 9, Reaction.HOLD, "no overload bit", "a joint is blocked or carries too much",
                     "take the load off; power the arm off and on if the bit stays"),
    "warm": Stop("SK316", 10, Reaction.WARN, "servos below 55 deg C", "a joint held a load for long",
                 "let it rest soon"),
    "hot": Stop("SK316", 10, Reaction.WARN, "servos below 60 deg C; the arm moves at half speed now",
                "a joint held a load for long", "let it rest"),
    "too hot": Stop("SK316", 10, Reaction.PARK, "servos below 65 deg C",
                    "a joint held a load for long, or it is blocked", "let it cool below 45 deg C"),
    "low voltage": Stop("SK317", 7, Reaction.HOLD, "a supply that keeps its voltage", "a weak supply, a thin cable",
                        "a supply of 4 A or more, of the servos' voltage; " + DOCTOR),
    "over-voltage": Stop("SK317", 8, Reaction.OFF, "a supply that fits the servos",
                         "a 12 V supply on 7.4 V servos: they burn", "unplug the supply NOW"),
    "restarted": Stop("SK137", 7, Reaction.OFF, "all servos as they were energized",
                      "the supply sagged, or a cable is loose", "hold the arm; " + DOCTOR),
    "second program": Stop("SK139", 28, Reaction.HOLD, "the goals that were sent from here",
                           "a second program commands this arm", "end the other one; " + REARM),
    "bad answers": Stop("SK318", 13, Reaction.HOLD, "an answer from all servos within 0.1 s",
                        "a loose plug, or a second program on the port", DOCTOR),
    "chain broken": Stop("SK318", 12, Reaction.OFF, "an answer from all servos",
                         "a cable between two servos is loose; those behind it hold their last goal", DOCTOR),
    "wire gone": Stop("SK319", 11, Reaction.LOST, "an open port",
                      "the USB cable or the board's supply was pulled; torque may still be on",
                      "hold the arm, plug it in again, then " + DOCTOR),
    "deaf servo": Stop("SK325", 14, Reaction.HOLD, "servos that take the goals they are sent",
                       "a servo that answers but no longer hears; a bad plug", "power the arm off and on; " + DOCTOR),
    "angle sensor": Stop("SK320", 13, Reaction.HOLD, "no angle sensor bit",
                         "a servo that cannot tell where it stands", "power the arm off and on; " + DOCTOR),
    "leap": Stop("SK320", 13, Reaction.HOLD, "positions that change no faster than a servo turns",
                 "a wrong reading, or a servo that lost its place", DOCTOR),
    "late cycles": Stop("SK321", 35, Reaction.HOLD, "a control loop that keeps its pace",
                        "the computer is overloaded or out of memory", "close other programs; " + REARM),
    "idle": Stop("SK322", 10, Reaction.PARK, "somebody who uses the arm",
                 "it stood with torque on for minutes, which heats it", "energize it again"),
}


@dataclass(frozen=True)
class Trip:
    """One stop that happened."""

    name: str                      # key of STOPS
    found: str
    moment_s: float

    @property
    def stop(self) -> Stop:
        return STOPS[self.name]

    def error(self) -> SmolkitError:
        """What a command gets while this stop holds."""
        stop = self.stop
        return SmolkitError(stop.code, stop.expected, self.found, stop.cause, stop.next_step)

    def text(self) -> str:
        """One line for a person."""
        stop = self.stop
        return (f"{stop.code} {self.name}: expected {stop.expected}, found {self.found}; likely cause: {stop.cause};"
                f" next: {stop.next_step}")
