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
from contextlib import contextmanager

import numpy as np

from smolkit.arm import torque
from smolkit.arm.so101 import SO101, JointState
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError

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
HOT_SPEED = 0.5
RETRY_S = 1.0
CLOCKS_S = 0.05                    # a picture from the future has its time from another clock
KEPT_DEG = 3.0                     # a goal nearer than this to the arm is where it stands
COMM_CODES = ("SK101", "SK104", "SK106")
FAULTS_OF_COMMAND = {"SK302": "unusable actions", "SK137": "restarted", "SK139": "second program"}
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
        self._monitor, self._limits = Monitor(limits), limits
        self._lock = threading.RLock()
        self._arming = 0                           # calls of energize() under way, in other threads perhaps
        self._goal_deg: np.ndarray | None = None
        self._parking: Parking | None = None
        self._policy = False                       # commands come from a policy: a gap is a fault
        self._clip_reasons: tuple[str, ...] = ()
        self._told: set[str] = set()               # trips since the torque came on
        self._unanswered = 0
        self._asked = False                        # somebody pressed stop since the torque came on, or since it parks
        self._owed = ""                            # what a release left unconfirmed: servos that may still hold
        self.turn = 0                              # grows with each arming and stop: whose news is older is refused
        self._observed_s: float | None = None
        self._moments = dict.fromkeys(("command", "beat", "answer", "state", "tick", "look"), self.clock.now_s())
        if isinstance(self.clock, SteppedClock):
            self.clock.on_advance(self.tick)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a client may do ----------------------------------------------------------------------------

    def read(self) -> JointState:
        """All joints, now."""
        with self._lock, self._answers():
            return self._seen(self.arm.read())

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
            self._asked = False
            self._arming += 1
        try:
            self.arm.energize()
        except BaseException:
            with self._lock:
                self._arming -= 1
                if not self.arm.energized:
                    self._become(State.OFF if self.stopped_by else State.IDLE, "torque off")
            raise
        with self._lock:
            self._arming -= 1
            torque.require_wanted(self.arm.energized)          # let go before we came here: nothing stands
            if self._asked:                        # pressed meanwhile: it stood before, and goes on standing
                self._hold_here()
                raise self._refusal()
            self.stopped_by, self._goal_deg, self._parking = None, None, None
            self._owed, self.turn = "", self.turn + 1
            self._told.clear()
            self._monitor.reset()
            self.envelope.slow_down(1.0)
            self._become(State.ARMED, "torque on")
            self._mark("beat", "command", "answer", "look")

    def command(self, goal_deg: np.ndarray, *, observed_s: float | None = None,
                frames: Mapping[str, str] | None = None) -> np.ndarray:
        """Sends a goal (6,) as far as the envelope admits it; returns what was sent.

        observed_s: when the policy's picture was taken; from then on gaps and stale goals are faults.
        frames: camera role -> digest of that picture.
        """
        with self._lock:
            self._mark("beat", "command")
            if self.state not in (State.ARMED, State.RUNNING):
                raise self._refusal()
            now_s = self.clock.now_s()
            self._policy = observed_s is not None
            if self._policy and not -CLOCKS_S <= now_s - observed_s <= self._limits.action_age_s:
                age = f"{now_s - observed_s:.2f} s old" if now_s >= observed_s else "of another clock"
                self._trip(Trip("stale action", f"a picture {age}", now_s))
            if observed_s is None or observed_s != self._observed_s:   # several goals may come of one picture
                self._react(self._monitor.frames(frames or {}, now_s))
            self._observed_s = observed_s
            if self.stopped_by is not None:
                raise self._refusal()
            return self._send(goal_deg)

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
        told = [f"SK135 torque may still be on: {self._owed}; pull the power"] if self._owed else []
        return "; ".join([*told, self.stopped_by.text()] if self.stopped_by else told)

    def hold(self, reason: str, lets_go: bool = True) -> None:
        """A stop: the arm stands where it is and refuses goals. A second one lets go, unless told never to.

        It stops a parking arm, too, and one whose torque is growing: that one lets go, unless it stood before.
        """
        with self._lock:
            twice = lets_go and self._asked and self.state in (State.HOLD, State.LOST)
            trip = Trip("asked twice" if twice else "asked", reason, self.clock.now_s())
            self.log.write(trip.moment_s, "stop", self.state, trip.stop.code, trip.text())
            if not (self._arming or self.state.powered or self.state is State.LOST):
                return                             # limp already
            self._asked = True
            self._latch(trip)
            if twice or self._arming and not self.state.powered:
                self._let_go()
            elif not self._arming and self.state is not State.LOST:
                if self.state is State.PARKING:    # nobody lives who could beat: that is known, and no reason to go on
                    self._told.add("silence")
                self._parking = None
                self._hold_here()

    def park(self) -> None:
        """Slowly to the rest pose, then torque off. Returns at once in wall time: look at `state`."""
        with self._lock:
            if self._arming:                       # nothing to park yet, and nothing shall come on
                return self.arm.release()
            self._begin_parking("asked to park")
        if isinstance(self.clock, SteppedClock):
            while self.state is State.PARKING:
                self.clock.sleep_until(self.clock.now_s() + TICK_S)

    def release(self) -> None:
        """Torque off now, verified; a raised arm falls."""
        with self._lock:
            failed = self._let_go()
        if failed:
            raise failed

    def close(self, park: bool | None = None) -> None:
        """Parks (unless told otherwise, or it stands safely), lets go, frees the port."""
        if self.state.powered and (self.parks if park is None else park):
            while self.state is State.HOLD and self.clock.now_s() - self._moments["state"] < HOLD_S:
                self.clock.sleep_until(self.clock.now_s() + TICK_S)
                self.tick()                        # whoever stopped it sees that it stands, before it goes home
            self.park()
            while self.state is State.PARKING:
                self.clock.sleep_until(self.clock.now_s() + TICK_S)
                self.tick()
        self.arm.close()
        self._become(State.OFF, "closed")

    def beat(self, sent_s: float = math.inf) -> None:
        """The client is alive, or was at `sent_s`: what waited while this process was frozen is no news."""
        with self._lock:
            self._moments["beat"] = max(self._moments["beat"], min(sent_s, self.clock.now_s()))

    # -- what time brings ----------------------------------------------------------------------------------

    def tick(self, _: float = 0.0) -> None:
        """Looks after the arm; to be called 30 times a second while it is powered."""
        with self._lock:
            took_s, self._moments["tick"] = (now_s := self.clock.now_s()) - self._moments["tick"], now_s
            if self._owed and now_s - self._moments["state"] > RETRY_S:
                self._let_go()
            if self._arming or not self.state.powered:
                return
            self._react(self._monitor.cycle(took_s, now_s) if self.state is State.RUNNING else ())
            self._look_after(now_s)
            self._step(now_s)

    def _look_after(self, now_s: float) -> None:
        """Measures where nobody has in this cycle, and watches what should come regularly."""
        if now_s - self._moments["look"] >= LOOK_S:
            try:
                with self._answers():
                    self._seen(self.arm.read())
            except SmolkitError:
                return                             # already judged by `_answers`
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
            parks = self.stopped_by.stop.reaction is Reaction.PARK
            if now_s - self._moments["state"] > (HOLD_S if parks else LONGEST_HOLD_S):
                self._begin_parking("held long enough")
            elif self._goal_deg is not None and self.arm.ready:
                self._move(lambda: self.arm.command(self._goal_deg))
        elif self.state is State.PARKING:
            self._drive_home(now_s)

    # -- moving --------------------------------------------------------------------------------------------

    def _send(self, goal_deg: np.ndarray) -> np.ndarray:
        try:
            with self._answers():
                self._goal_deg = self.arm.command(goal_deg)
        except SmolkitError as error:
            self._note_clip()
            if error.code in FAULTS_OF_COMMAND:
                self._trip(Trip(FAULTS_OF_COMMAND[error.code], error.found, self.clock.now_s()))
            raise
        self._seen(self.arm.latest)
        self._react(self._monitor.goals(np.asarray(goal_deg), self.arm.latest.pos_deg, self.clock.now_s()))
        self._note_clip()
        if self.state is State.ARMED:
            self._become(State.RUNNING, "goals")
        return self._goal_deg

    def _move(self, move: Callable[[], object]) -> None:
        """A move of our own: what goes wrong in it has no caller to tell."""
        try:
            with self._answers():
                move()
        except SmolkitError as error:
            if error.code in FAULTS_OF_COMMAND:
                self._trip(Trip(FAULTS_OF_COMMAND[error.code], error.found, self.clock.now_s()))
            elif error.code not in COMM_CODES:
                self.log.write(self.clock.now_s(), "warning", self.state, error.code, error.found)

    def _begin_parking(self, why: str) -> None:
        if not self.state.powered or self.state is State.PARKING:
            return
        self.envelope.reset()
        self._asked = False
        self._told.discard("blocked")
        pos_deg = self.arm.latest.pos_deg if self.arm.latest else self.arm.read().pos_deg
        self._parking = Parking(pos_deg, pos_deg if self._goal_deg is None else self._goal_deg, self.clock.now_s())
        self._become(State.PARKING, why)

    def _drive_home(self, now_s: float) -> None:
        parking, strength = self._parking, self._parking.strength(now_s)
        if parking.arrived or strength == 0.0:
            self._let_go()
        elif strength < 1.0:
            self._move(lambda: self.arm.weaken(strength))
        elif self.arm.ready:                       # else the driver refuses goals, and only time will end it
            self._move(lambda: self._go_on(parking.next_goal(self.arm.latest.pos_deg, now_s)))

    def _go_on(self, goal_deg: np.ndarray) -> None:
        self._goal_deg = self.arm.command(goal_deg)            # what the monitor compares the arm with

    def _let_go(self) -> SmolkitError | None:
        """Torque off; what did not confirm it (the error) is told again every second, or it would hold for ever."""
        failed = None
        try:
            self.arm.release()
            self._owed = ""
            self._become(State.OFF if self.stopped_by else State.IDLE, "torque off")
        except SmolkitError as error:
            failed = error
            if not self._owed:
                self.log.write(self.clock.now_s(), "warning", State.LOST, error.code, error.found)
            self._owed = error.found
            self._become(State.LOST, "told to let go; not all servos confirmed it")
        self._mark("state")
        return failed

    # -- judging -------------------------------------------------------------------------------------------

    def _seen(self, state: JointState) -> JointState:
        """Judges a measurement; once per moment is enough."""
        now_s = self.clock.now_s()
        self._mark("answer", "look")
        if not self._arming:
            self._react(self._monitor.look(state, self._goal_deg if self.state.powered else None, now_s))
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
        self.log.write(trip.moment_s, "warning" if reaction is Reaction.WARN else "stop", self.state, trip.stop.code,
                       trip.text())
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
            self._stop(reaction)

    def _latch(self, trip: Trip) -> None:
        self.stopped_by, self.turn = trip, self.turn + 1

    def _stop(self, reaction: Reaction) -> None:
        if reaction is Reaction.LOST:
            self._become(State.LOST, "no connection; torque may still be on")
        elif reaction is Reaction.OFF:
            self._let_go()
        elif self.state is not State.PARKING:
            self._hold_here()

    def _hold_here(self) -> None:
        """The goal comes back to where the arm is; a joint that is there but for its sag keeps its goal."""
        self.envelope.reset()
        if self.arm.latest is not None:
            here = self.arm.latest.pos_deg
            goal = here if self._goal_deg is None else self._goal_deg
            self._goal_deg = np.where(np.abs(goal - here) <= KEPT_DEG, goal, here)
        self._become(State.HOLD, "standing still")
        self._mark("state")                        # the time to look begins anew with each reason

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Judges a bus that does not answer; the error goes on to the caller."""
        try:
            yield
        except SmolkitError as error:
            now_s = self.clock.now_s()
            if error.code == "SK106":
                self._trip(Trip("wire gone", error.found, now_s))
            elif error.code in COMM_CODES:
                self._unanswered += 1
                late = now_s - self._moments["answer"] > self._limits.answer_gap_s
                if late or self._unanswered >= self._limits.unanswered:
                    self._trip(Trip(self._which_silence(), error.found, now_s))
            raise
        self._unanswered = 0

    def _which_silence(self) -> str:
        try:
            missing = self.arm.missing()
        except SmolkitError:
            return "wire gone"
        return {0: "bad answers", len(self.calibration.ids): "wire gone"}.get(len(missing), "chain broken")

    # -- bookkeeping ---------------------------------------------------------------------------------------

    def _mark(self, *what: str) -> None:
        self._moments.update(dict.fromkeys(what, self.clock.now_s()))

    def _become(self, state: State, why: str) -> None:
        if state is not self.state:
            self.state = state
            self._moments["state"] = self.clock.now_s()
            self.log.write(self.clock.now_s(), "state", state, "", why)

    def _note_clip(self) -> None:
        """Limited commands are told when their reason changes, not thirty times a second."""
        clip = self.envelope.clipped
        reasons = clip.reasons if clip else ()
        if reasons != self._clip_reasons:
            self._clip_reasons = reasons
            words = ", ".join(reasons) if reasons else "limits hold nothing back any more"
            self.log.write(self.clock.now_s(), "limited", self.state, "", words)

    def _refusal(self) -> SmolkitError:
        if self.stopped_by is not None:
            stop = self.stopped_by.stop
            return SmolkitError(stop.code, stop.expected, self.stopped_by.found, stop.cause, stop.next_step)
        return SmolkitError("SK131", "an energized arm", f"it is {self.state}", "its torque is off, or it parks",
                            "arm.energize(), and wait until it returns")
