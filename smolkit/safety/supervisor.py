"""One arm under supervision: who may move it, when it must stop, and what it does then.

    >>> from smolkit.arm import fake
    >>> arm = fake.arm(guard=Envelope("standard"))
    >>> guarded = Supervisor(arm, arm.guard)
    >>> guarded.energize(); guarded.state
    <State.ARMED: 'armed'>
    >>> guarded.hold("a person came near"); guarded.state
    <State.HOLD: 'hold'>
    >>> guarded.command(np.zeros(6))
    Traceback (most recent call last):
    ...
    smolkit.report.SmolkitError: SK310 expected no stop
      found: a person came near
      likely cause: somebody pressed stop
      next: when the cause is gone: arm.energize(rearm=True)
    >>> guarded.close(park=False)

No socket and no thread live here. In stepped time the clock calls `tick`; in wall time the guardian's loop
does. Whoever calls, one lock makes each call whole.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np

from smolkit.arm import torque
from smolkit.arm.joints import GRIPPER
from smolkit.arm.so101 import SO101, JointState
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError

from .answers import COMM_CODES, FAULTS, Answers
from .envelope import Envelope
from .incidents import IncidentLog
from .monitor import LIMITS, Limits, Monitor
from .parking import Parking
from .states import Reaction, State, Trip

TICK_S = 0.03
LOOK_S = 0.04                      # a command every 33 ms measures; only where none came, a tick does
HOLD_S = 2.0                       # PARK holds so long first: time to see what happened
LONGEST_HOLD_S = 60.0              # then a HOLD parks: standing heats the servos
IDLE_S = 300.0
HOT_SPEED, RETRY_S = 0.5, 1.0
AGREED_DEG = 5.0                   # two readings, a cycle apart at most, of an arm that moves
KEPT_DEG = 3.0                     # a goal nearer than this to the arm is where it stands
STRENGTH = {reaction: rank for rank, reaction in enumerate(Reaction)}


class Supervisor:
    """Implements the guarded arm: what notebooks, policies and widgets command.

    heartbeat: expect `beat()` twice a second while powered, as the guardian does of its clients. `log` keeps
    what happened. Errors of `command`: the code of the stop that latched, or SK131 where torque is off.
    """

    def __init__(self, arm: SO101, envelope: Envelope, log: IncidentLog | None = None, *,
                 limits: Limits = LIMITS, heartbeat: bool = False, parks: bool = True):
        self.arm, self.envelope, self.clock = arm, envelope, arm.clock
        self.calibration = arm.calibration
        self.log = IncidentLog() if log is None else log
        self.state, self.stopped_by = State.IDLE, None
        self.heartbeat, self.parks = heartbeat, parks
        self._monitor, self._limits = Monitor(limits, arm.kind), limits
        self._lock = threading.RLock()
        self._arming = 0                           # calls of energize() under way, in other threads perhaps
        self._stand_deg: np.ndarray | None = None  # where a stopped arm (6,) stands
        self._parking: Parking | None = None
        self._policy = False                       # commands come from a policy: a gap is a fault
        self._told: set[str] = set()               # trips since the torque came on
        self._heard = Answers(arm, limits.unanswered, limits.answer_gap_s, self.clock.now_s())
        self._asked = False                        # somebody pressed stop since the torque came on, or since it parks
        self._homeward = False                     # told to park while torque was coming on: as soon as it is
        self.turn = 0                              # grows with each arming and stop: whose news is older is refused
        self._moments = dict.fromkeys(("command", "beat", "state", "tick", "look"), self.clock.now_s())
        if isinstance(self.clock, SteppedClock):
            self.clock.on_advance(self.tick)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a client may do ----------------------------------------------------------------------------

    def read(self) -> JointState:
        """All joints, now; of an energized arm also whether its servos hold as they were told."""
        with self._lock, self._answers():
            return self._seen(self.arm.look() if self.arm.ready else self.arm.read())

    def energize(self, rearm: bool = False, turn: int | None = None) -> None:
        """Torque on where the arm stands. After a stop only with `rearm`: somebody must have looked.

        turn: the `turn` that this somebody saw; a stop that came since then stays.
        """
        with self._lock:
            self._mark("beat")
            if self.stopped_by is not None and not (rearm and turn in (None, self.turn)):
                raise self._refusal()
            if self.state in (State.RUNNING, State.ARMED) and self.arm.ready:
                return self.rest()
            asked, self._asked = self._asked, False
            self._homeward &= self._arming > 0
            self._arming += 1
        try:
            self.arm.energize()
        except BaseException:
            with self._lock:
                self._arming -= 1
                self._asked |= asked               # it was not armed again: the next stop is still the second
                if not self.arm.energized:
                    self._judge_release()
                elif self._homeward:
                    self._begin_parking("asked to park")
            raise
        with self._lock:
            self._arming -= 1
            torque.require_wanted(self.arm.energized)          # let go before we came here: nothing stands
            (self._hold_here if self._asked else self._armed)()        # pressed meanwhile: it stood, and stands
            if self._homeward:
                self._begin_parking("asked to park while its torque came on")
            if self.state is not State.ARMED:
                raise self._refusal()

    def _armed(self) -> None:
        self.stopped_by, self._parking, self.turn = None, None, self.turn + 1
        self._told.clear()
        self._monitor.reset()
        self.envelope.slow_down(1.0)
        self._become(State.ARMED, "torque on")
        self._heard.heard(self.clock.now_s())
        self._mark("beat", "command", "look")

    def stands(self, found: str) -> None:
        """An earlier process died and left its torque on: the arm stands, and nobody let it fall."""
        with self._lock:
            self.log.write(self.clock.now_s(), "note", self.state, "SK332", found)
            self._become(State.HOLD, "found standing")

    def command(self, goal_deg: np.ndarray, *, observed_s: float | None = None,
                frames: Mapping[str, str] | None = None) -> np.ndarray:
        """Sends a goal (6,) as far as the envelope admits it; returns what was sent.

        observed_s: when the policy's picture was taken; from then on gaps and stale goals are faults.
        frames: camera role -> digest of that picture.
        """
        with self._lock:
            self._mark("beat")
            if self.state not in (State.ARMED, State.RUNNING):
                raise self._refusal()
            self._policy = observed_s is not None
            self._react(self._monitor.pictures(observed_s, frames or {}, self.clock.now_s()))
            if self.stopped_by is not None:
                raise self._refusal()
            sent = self._send(goal_deg)
            self._mark("command")                  # what is no goal is none
            return sent

    @property
    def limited_share(self) -> float:
        """Of all goals so far, the share (0..1) that the envelope did not send as they came."""
        return self.envelope.report().limited_share

    def rest(self) -> None:
        """The episode is over: the arm stands, torque on, and no goal is expected."""
        with self._lock:
            self._mark("beat", "command")
            if self.state is State.RUNNING:
                self._become(State.ARMED, "resting")

    @property
    def why(self) -> str:
        """What stopped the arm, and what to do; "" where nothing did. What still may hold comes first."""
        told = [f"SK135 torque may still be on: {self.arm.owed}; pull the power"] if self.arm.owed else []
        return "; ".join([*told, self.stopped_by.text()] if self.stopped_by else told)

    def hold(self, reason: str, lets_go: bool = True) -> None:
        """A stop: the arm stands where it is and refuses goals. A second one lets go, unless told never to.

        It stops a parking arm, too, and one whose torque is growing: that one lets go, unless it stood before.
        """
        with self._lock:
            twice = lets_go and self._asked and self.state in (State.HOLD, State.LOST)
            trip = Trip("asked twice" if twice else "asked", reason, self.clock.now_s())
            self.log.write(trip.moment_s, "stop", self.state, trip.stop.code, trip.text())
            lost = self.state is State.LOST
            if not (self._arming or self.state.powered or lost):
                return                             # limp already
            self._asked = True
            self._told.add("silence")              # who stopped it may restart the kernel, a hand still in the arm
            if not lost:
                self._latch(trip)
            if twice or self._arming and not self.state.powered:
                self._let_go()
            elif not self._arming and not lost:
                self._parking = None
                self._hold_here()

    def unattended(self) -> None:
        """The client said goodbye: where somebody stopped the arm, it goes home soon all the same."""
        with self._lock:
            self._told.discard("silence")

    def park(self) -> None:
        """Slowly to the rest pose, then torque off. Returns at once in wall time: look at `state`."""
        with self._lock:
            if self._arming and not self.state.powered:        # nothing to park yet, and nothing shall come on
                return self.arm.release()
            if self.state is State.LOST:
                raise self._refusal()
            self._homeward = bool(self._arming)
            if not self._homeward:
                self._begin_parking("asked to park")
        if isinstance(self.clock, SteppedClock):
            self._while(State.PARKING)

    def release(self) -> None:
        """Torque off now, verified; a raised arm falls."""
        with self._lock:
            if failed := self._let_go():
                raise failed

    def close(self, park: bool | None = None) -> None:
        """Parks (unless told otherwise, or it stands safely), lets go, frees the port."""
        if self.state.powered and (self.parks if park is None else park):
            self._while(State.HOLD, self._moments["state"] + HOLD_S)       # who stopped it sees that it stands
            self.park()
            self._while(State.PARKING)
        self.arm.close()
        self._become(State.OFF, "closed")

    def _while(self, state: State, until_s: float = math.inf) -> None:
        while self.state is state and self.clock.now_s() < until_s:
            self.clock.sleep_until(self.clock.now_s() + TICK_S)
            self.tick()

    def beat(self, sent_s: float = math.inf) -> None:
        """The client is alive, or was at `sent_s`: what waited while this process was frozen is no news."""
        with self._lock:
            self._moments["beat"] = max(self._moments["beat"], min(sent_s, self.clock.now_s()))

    # -- what time brings ----------------------------------------------------------------------------------

    def tick(self, _: float = 0.0) -> None:
        """Looks after the arm; to be called 30 times a second while it is powered."""
        with self._lock:
            took_s, self._moments["tick"] = (now_s := self.clock.now_s()) - self._moments["tick"], now_s
            if self.state is State.LOST and now_s - self._moments["state"] > RETRY_S:
                self._find_again()
            if self._arming or not self.state.powered:
                return
            self._react(self._monitor.cycle(took_s, now_s) if self.state is State.RUNNING else ())
            self._look_after(now_s)
            self._step(now_s)

    def _look_after(self, now_s: float) -> None:
        """Measures where nobody has in this cycle, and watches what should come regularly."""
        if now_s - self._moments["look"] >= LOOK_S:
            with suppress(SmolkitError):           # judged already
                self.read()
        quiet = self.heartbeat and self.state is not State.PARKING
        if quiet and now_s - self._moments["beat"] > self._limits.heartbeat_s:
            self._trip(Trip("silence", f"none for {now_s - self._moments['beat']:.2f} s", now_s))
        gap_s = now_s - self._moments["command"]
        if self.state is State.RUNNING and gap_s > self._limits.action_gap_s:
            if self._policy:
                self._trip(Trip("stale action", f"no goal for {gap_s:.2f} s", now_s))
            else:
                self._become(State.ARMED, "no more goals")
        if self.state is State.ARMED and gap_s > IDLE_S:
            self._trip(Trip("idle", f"nothing asked for {gap_s:.0f} s", now_s))

    def _step(self, now_s: float) -> None:
        """One cycle of standing still, or of going home."""
        if self.state is State.HOLD:
            why = self.stopped_by and self.stopped_by.stop.reaction
            soon = why is Reaction.PARK or why is Reaction.LOST and not self._asked
            if now_s - self._moments["state"] > (HOLD_S if soon else LONGEST_HOLD_S):
                self._begin_parking("held long enough")
            elif self._stand_deg is not None and self.arm.ready:
                self._move(lambda: self.arm.command(self._stand_deg))
        elif self.state is State.PARKING:
            self._drive_home(now_s)

    # -- moving --------------------------------------------------------------------------------------------

    def _send(self, goal_deg: np.ndarray) -> np.ndarray:
        try:
            with self._answers():
                sent = self.arm.command(goal_deg)
        finally:
            clip = self.envelope.clipped
            self.log.limited(self.clock.now_s(), self.state, clip.reasons if clip else ())
        self._seen(self.arm.latest)
        self._react(self._monitor.goals(np.asarray(goal_deg), self.arm.latest.pos_deg, self.clock.now_s()))
        self._react(self._monitor.unheard(self.arm.unheard, self.clock.now_s()))
        if self.state is State.ARMED:
            self._become(State.RUNNING, "goals")
        return sent

    def _move(self, move: Callable[[], object]) -> None:
        """A move of our own: what goes wrong in it has no caller to tell."""
        try:
            with self._answers():
                move()
        except SmolkitError as error:
            if error.code not in (*COMM_CODES, *FAULTS):
                self.log.write(self.clock.now_s(), "warning", self.state, error.code, error.found)

    def _begin_parking(self, why: str) -> None:
        if not self.state.powered or self.state is State.PARKING:
            return
        self.envelope.reset()
        self._asked = self._homeward = False
        self._told.discard("blocked")
        pos_deg = self.arm.latest.pos_deg if self.arm.latest else self.arm.read().pos_deg
        self._parking = Parking(pos_deg, self.arm.goal_deg, self.clock.now_s())
        self._become(State.PARKING, why)

    def _drive_home(self, now_s: float) -> None:
        parking, strength = self._parking, self._parking.strength(now_s)
        if parking.arrived or strength == 0.0:
            self._let_go()
        elif strength < 1.0:
            self._move(lambda: self.arm.weaken(strength))
        elif self.arm.ready:                       # else the driver refuses goals, and only time will end it
            self._move(lambda: self.arm.command(parking.next_goal(self.arm.latest.pos_deg, now_s)))

    def _let_go(self) -> SmolkitError | None:
        """Torque off; what did not confirm it (the error) is told again every second, or it would hold for ever."""
        try:
            failed = self.arm.release()
        except SmolkitError as error:
            failed = error
        self._judge_release()
        return failed

    def _judge_release(self) -> None:
        if self.arm.owed:
            if self.state is not State.LOST:
                self.log.write(self.clock.now_s(), "warning", State.LOST, "SK135", self.arm.owed)
            self._become(State.LOST, "told to let go; not all servos confirmed it")
        else:
            self._become(State.OFF if self.stopped_by else State.IDLE, "torque off")
        self._mark("state")

    def _find_again(self) -> None:
        """A lost arm that answers again is let go, where it was told to be; else it stands, or it is limp."""
        self._mark("state")
        if self.arm.owed:
            self._let_go()
        else:
            with suppress(SmolkitError):
                holding = self.arm.holding()
                self._told -= {"wire gone"}        # it may be lost once more
                self._hold_here() if holding else self._become(State.OFF, "limp")

    # -- judging -------------------------------------------------------------------------------------------

    def _seen(self, state: JointState) -> JointState:
        """Judges a measurement; once per moment is enough."""
        now_s = self.clock.now_s()
        self._mark("look")
        if not self._arming:
            self._react(self._monitor.look(state, self.arm.goal_deg if self.arm.energized else None, now_s))
        return state

    def _react(self, trips: Iterable[Trip]) -> None:
        for trip in trips:
            self._trip(trip)

    def _trip(self, trip: Trip) -> None:
        """A stop takes effect if it is stronger than the one that holds already; each is told once."""
        if trip.name in self._told:
            return
        self._told.add(trip.name)
        reaction = trip.stop.reaction
        kind = "warning" if reaction is Reaction.WARN else "stop"
        self.log.write(trip.moment_s, kind, self.state, trip.stop.code, trip.text())
        if trip.name == "hot":
            self.envelope.slow_down(HOT_SPEED)
        if reaction is Reaction.WARN or not self.state.powered and reaction is not Reaction.LOST:
            return
        if self.state is State.PARKING and trip.name == "blocked":
            self._parking = None                   # somebody is in the way home: stand, try again later
            self._latch(trip)
            self._hold_here()
        elif self.stopped_by is None or STRENGTH[reaction] > STRENGTH[self.stopped_by.stop.reaction]:
            self._latch(trip)
            if reaction is Reaction.LOST:
                self._become(State.LOST, "no connection; torque may still be on")
            elif reaction is Reaction.OFF:
                self._let_go()
            elif self.state is not State.PARKING:
                self._hold_here()

    def _latch(self, trip: Trip) -> None:
        self.stopped_by, self.turn = trip, self.turn + 1

    def _hold_here(self) -> None:
        """The goal comes back to where the arm is; a joint that is there but for its sag keeps its goal.

        Measured anew: what was measured last may be the wrong reading that it is stopped for. Where both agree the
        goal is there at once, and nobody is pressed any longer; else at the envelope's pace. A gripper lets up.
        """
        before = self.arm.latest
        with suppress(SmolkitError):
            self.arm.read()
        if before is not None:
            here, goal = self.arm.latest.pos_deg, self.arm.goal_deg
            kept = (np.abs(goal - here) <= KEPT_DEG) & (np.arange(6) != GRIPPER)
            self._stand_deg = np.where(kept, goal, here)
            self.envelope.reset(np.where(np.abs(here - before.pos_deg) <= AGREED_DEG, self._stand_deg, goal))
        self._become(State.HOLD, "standing still")
        self._mark("state")                        # the time to look begins anew with each reason

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Judges a bus that does not answer; the error goes on to the caller."""
        try:
            yield
        except SmolkitError as error:
            if trip := self._heard.judge(error, self.clock.now_s()):
                self._trip(trip)
            raise
        self._heard.heard(self.clock.now_s())

    # -- bookkeeping ---------------------------------------------------------------------------------------

    def _mark(self, *what: str) -> None:
        self._moments.update(dict.fromkeys(what, self.clock.now_s()))

    def _become(self, state: State, why: str) -> None:
        if state is not self.state:
            self.state = state
            self._moments["state"] = self.clock.now_s()
            self.log.write(self.clock.now_s(), "state", state, "", why)

    def _refusal(self) -> SmolkitError:
        if self.stopped_by is not None:
            return self.stopped_by.error()
        return SmolkitError("SK131", "an energized arm", f"it is {self.state}", "its torque is off, or it parks",
                            "arm.energize(), and wait until it returns")
