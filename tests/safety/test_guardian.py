"""The guardian as a process: it owns the port, outlives its client, and nobody else gets in. In wall time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from smolkit.arm import registers
from smolkit.arm.acceptance import with_torque
from smolkit.arm.calibration import Calibration
from smolkit.clock import WallClock
from smolkit.messages import Client
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm, stop_all
from smolkit.safety.guardian import Guardian, _serve_whatever_happens, open_guardian
from smolkit.safety.incidents import read_incidents
from smolkit.safety.states import State
from smolkit.session import Endpoint
from smolkit.sim.bench import Bench
from tests.paths import REPO

HOME_DEG = np.array([0.0, -30.0, 45.0, 50.0, 0.0, 30.0])
posix = pytest.mark.skipif(os.name == "nt", reason="Windows can neither freeze nor kill a process this way")

# A notebook in miniature: owns the arm and moves it for ever, or hangs.
NOTEBOOK = """
import sys, time
from contextlib import suppress
from pathlib import Path
import numpy as np
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
port, calibration, log, policy, then = sys.argv[1:]
arm = GuardedArm.start(port, Path(calibration), profile="standard", log=Path(log))
arm.energize()
print("moving", flush=True)
begin_s = time.monotonic()
while then != "loops" or time.monotonic() < begin_s + 0.5:
    seen_s = time.monotonic() if policy == "policy" else None
    with suppress(SmolkitError):                   # on a busy computer the arm may have been stopped already
        arm.command(np.array([20 * np.sin(time.monotonic()), -30, 45, 50, 0, 30]), observed_s=seen_s)
    time.sleep(0.03)
print("looping", flush=True)
while True: pass
"""


class Desk:
    """An emulated arm behind a pty, whose servos are looked at directly."""

    def __init__(self, folder: Path):
        self.bench = Bench("place", 1, WallClock())
        self.calibration = self.bench.install(None).save(folder / "arm.json")
        self.log = folder / "incidents.jsonl"
        self.port = self.bench.serve()

    def start(self, **options: object) -> GuardedArm:
        return GuardedArm.start(self.port, self.calibration, profile="standard", log=self.log, **options)

    def notebook(self, policy: str = "hand", then: str = "moves") -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", NOTEBOOK, self.port, str(self.calibration), str(self.log),
                                    policy, then], stdout=subprocess.PIPE, text=True, cwd=REPO)
        assert process.stdout.readline() == "moving\n"
        return process

    def powered(self) -> bool:
        return any(self.bench.bus.memory(i).get(registers.TORQUE_ENABLE) for i in range(1, 7))

    def moved_deg(self, seconds: float) -> float:
        before = self.bench.world.state().angle_rad
        time.sleep(seconds)
        return float(np.rad2deg(np.abs(self.bench.world.state().angle_rad - before).max()))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.bench.close()


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)


def raised(desk: Desk) -> GuardedArm:
    """An arm that would fall, or sets out for a long way home."""
    arm = desk.start()
    arm.energize()
    for _ in range(60):
        arm.command(HOME_DEG)
        time.sleep(0.03)
    return arm


def logged(desk: Desk, word: str) -> bool:
    return desk.log.exists() and any(word in entry.line() for entry in read_incidents(desk.log))


def test_an_arm_is_moved_parked_and_let_go_and_the_port_is_free_again(desk: Desk):
    with desk.start() as arm:
        assert arm.state is State.IDLE
        arm.energize()
        start = arm.read().pos_deg
        for k in range(60):
            arm.command(start + np.array([k / 6, 0, 0, 0, 0, 0]), frames={"front": str(k)})
            time.sleep(0.02)
        arm.rest()
        assert abs(arm.read().pos_deg[0] - start[0] - 10) < 3
        with pytest.raises(SmolkitError, match="SK301"):
            arm.command(np.zeros((3, 6)))
    wait_for(lambda: not desk.powered(), 15)
    assert [e.state for e in read_incidents(desk.log) if e.kind == "state"] == [
        "armed", "running", "armed", "parking", "idle", "off"]
    desk.start(parks=False).close()


@posix
@pytest.mark.fault(22)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_frozen_notebook_loses_the_arm(desk: Desk, how: signal.Signals):
    notebook = desk.notebook()
    time.sleep(0.5)
    notebook.send_signal(how)
    wait_for(lambda: logged(desk, "silence"), 1.5)      # 0.6 s, and what a busy computer adds
    time.sleep(0.3)
    assert desk.moved_deg(0.5) < 1.0 and desk.powered()
    wait_for(lambda: logged(desk, "parking"), 5)
    wait_for(lambda: not desk.powered(), 15)
    notebook.kill(), notebook.wait()


@posix
@pytest.mark.fault(22)
def test_a_guardian_that_thaws_takes_old_signs_of_life_for_what_they_are(desk: Desk):
    notebook = desk.notebook()
    guardian = GuardedArm.watch(desk.port)
    time.sleep(0.3)
    os.kill(guardian.pid, signal.SIGSTOP)
    time.sleep(0.3)                                # three beats and a goal wait in its queue
    notebook.kill()
    notebook.wait()
    time.sleep(0.6)
    thawed_s = time.monotonic()
    os.kill(guardian.pid, signal.SIGCONT)
    wait_for(lambda: logged(desk, "silence"), 3)
    tripped_s = next(e.moment_s for e in read_incidents(desk.log) if e.code == "SK311")
    assert tripped_s - thawed_s < 0.4, "0.5 s more, if the beats were taken for new"
    guardian.close()


@posix
@pytest.mark.fault(36)
def test_what_waited_for_a_frozen_guardian_moves_nothing(desk: Desk):
    with desk.start(parks=False) as arm:
        os.kill(arm.pid, signal.SIGSTOP)
        threading.Timer(0.8, os.kill, [arm.pid, signal.SIGCONT]).start()
        with pytest.raises(SmolkitError, match="SK335"):
            arm.energize()
        assert not desk.powered()


@pytest.mark.slow
@posix
@pytest.mark.fault(17)
def test_a_notebook_in_an_endless_loop_holds_parks_and_loses_the_arm(desk: Desk):
    notebook = desk.notebook("policy", "loops")
    assert notebook.stdout.readline() == "looping\n"
    wait_for(lambda: logged(desk, "SK312"), 1.5)
    wait_for(lambda: not desk.powered(), 20)
    notebook.kill()
    notebook.wait()


@pytest.mark.fault(28)
def test_a_second_client_is_refused_with_the_owners_pid_but_may_stop(desk: Desk):
    with desk.start(parks=False) as arm:
        arm.energize()
        with pytest.raises(SmolkitError, match=rf"SK331.*process {os.getpid()}|SK331[\s\S]*{os.getpid()}"):
            GuardedArm(arm._client.endpoint)
        with pytest.raises(SmolkitError, match="SK812"):
            desk.start()
        with GuardedArm.watch(desk.port) as visitor:
            with pytest.raises(SmolkitError, match="SK331"):
                visitor.command(HOME_DEG)
            assert visitor.read().pos_deg.shape == (6,)
            visitor.hold("the teacher")
        assert arm.state is State.HOLD
        with pytest.raises(SmolkitError, match="the teacher"):
            arm.command(HOME_DEG)


@pytest.mark.fault(23)
def test_stop_from_anywhere_also_while_torque_grows(desk: Desk):
    with desk.start(parks=False) as arm:
        arm.energize()
        assert any(line.endswith(": hold") for line in stop_all())
        stop_all()
        wait_for(lambda: not desk.powered(), 2)
        starter = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.4);"
                                    "from smolkit.safety.client import stop_all; stop_all()"], cwd=REPO)
        with pytest.raises(SmolkitError, match="SK136"):
            while True:
                arm.energize(rearm=True)
                arm.release()
        starter.wait()
        assert not desk.powered()


@posix
@pytest.mark.fault(22)
def test_a_killed_guardian_leaves_torque_and_the_next_one_asks(desk: Desk):
    arm = desk.start()
    arm.energize()
    os.kill(arm._client.endpoint.pid, signal.SIGKILL)
    time.sleep(0.5)
    assert desk.powered(), "the servos know no watchdog"
    with pytest.raises(SmolkitError, match="SK332"):
        desk.start()
    assert desk.powered(), "asking lets nothing fall"
    with desk.start(found_on="park") as again:
        wait_for(lambda: again.state is State.IDLE, 15)
    assert not desk.powered()


@pytest.mark.fault(36)
def test_messages_of_another_session_move_nothing(desk: Desk):
    with desk.start(parks=False) as arm:
        endpoint = arm._client.endpoint
        forged = Endpoint(endpoint.name, endpoint.address, "00" * 32, endpoint.pid)
        with Client(forged, timeout_s=0.3) as client, pytest.raises(SmolkitError, match="SK814"):
            client.ask({"do": "release"})
        assert arm.state is State.IDLE


@posix
@pytest.mark.fault(23)
def test_a_guardian_that_hangs_keeps_no_other_arm_from_stopping(tmp_path: Path):
    (tmp_path / "b").mkdir()
    desks = [Desk(tmp_path), Desk(tmp_path / "b")]
    arms = [desk.start(parks=False) for desk in desks]
    for arm in arms:
        arm.energize()
    os.kill(arms[0].pid, signal.SIGSTOP)
    said = stop_all()
    assert any("SK814" in line for line in said) and any(line.endswith(": hold") for line in said)
    os.kill(arms[0].pid, signal.SIGCONT)
    wait_for(lambda: all(arm.state is State.HOLD for arm in arms), 3)
    for arm, desk in zip(arms, desks, strict=True):
        arm.release()
        arm.close()
        desk.bench.close()


@pytest.mark.fault(23)
def test_the_stop_button_of_the_same_notebook_does_not_wait_for_the_torque(desk: Desk):
    with desk.start(parks=False) as arm:
        button = threading.Timer(0.3, arm.hold, ["the button"])
        button.start()
        with pytest.raises(SmolkitError, match=r"SK136|SK310"):
            arm.energize()
        button.join()
        assert not desk.powered()


@posix
@pytest.mark.fault(23)
def test_a_guardian_told_to_end_while_torque_grows_switches_nothing_on(desk: Desk):
    arm = desk.start()
    threading.Timer(0.3, os.kill, [arm.pid, signal.SIGTERM]).start()
    with pytest.raises(SmolkitError, match=r"SK136|SK814"):
        arm.energize()
    wait_for(lambda: not arm._client.endpoint.alive, 10)
    assert not desk.powered()
    with pytest.raises(SmolkitError, match="SK814"):
        arm.close()                                # nobody is there to say how the arm is


@pytest.mark.slow
@posix
@pytest.mark.fault(22)
def test_a_guardian_whose_first_word_nobody_reads_parks_the_arm_all_the_same(desk: Desk):
    """The kernel was killed while it opened the kit."""
    arm = desk.start()
    arm.energize()
    os.kill(arm.pid, signal.SIGKILL)
    arm._process.wait()
    reader, writer = os.pipe()
    again = subprocess.Popen([sys.executable, "-m", "smolkit.safety.guardian", "--port", desk.port, "--calibration",
                              str(desk.calibration), "--log", str(desk.log), "--found-on", "park"], stdout=writer)
    os.close(reader), os.close(writer)
    wait_for(lambda: logged(desk, "parking"), 15)
    assert again.wait(40) == 0 and not desk.powered()
    assert [e.state for e in read_incidents(desk.log) if e.kind == "state"][-3:] == ["parking", "idle", "off"]


@posix
@pytest.mark.fault(23)
def test_a_guardian_told_to_end_moves_no_arm_that_somebody_stopped(desk: Desk):
    arm = raised(desk)
    arm.hold("a hand is caught", lets_go=False)
    os.kill(arm.pid, signal.SIGTERM)
    wait_for(lambda: refusal(arm, "command", goal_deg=HOME_DEG) == "SK334", 3)
    assert refusal(arm, "energize", rearm=True) == "SK334"
    assert arm.state is State.HOLD and desk.moved_deg(0.8) < 1.0 and arm.state is State.HOLD
    arm._client.ask({"do": "bye"})                 # the owner may close its kit all the same
    os.kill(arm.pid, signal.SIGTERM)               # twice: somebody insists
    wait_for(lambda: not arm.endpoint.alive, 10)
    assert not desk.powered()


@posix
@pytest.mark.fault(22)
def test_one_signal_after_goodbye_lets_no_arm_fall_on_its_way_home(desk: Desk):
    arm = raised(desk)
    arm._client.ask({"do": "bye"})
    os.kill(arm.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert arm.state is State.PARKING and desk.powered(), arm.why
    wait_for(lambda: not arm.endpoint.alive, 20)


@pytest.mark.fault(23)
def test_a_fault_of_our_own_lets_go_of_no_arm_that_somebody_stopped(desk: Desk):
    with armed_guardian(desk) as (guardian, _):
        guardian.supervisor.hold("a person")
        guardian.supervisor.tick = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):     # the second one, which ends the process
            _serve_whatever_happens(guardian)
        assert guardian.supervisor.state is State.HOLD and desk.powered()


@pytest.mark.slow
@pytest.mark.fault(23)
def test_an_arm_is_found_and_stopped_after_a_logout_emptied_the_session_folder(desk: Desk, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SMOLKIT_SESSIONS", str(tmp_path / "runtime"))
    with desk.start(parks=False) as arm:
        arm.energize()
        shutil.rmtree(tmp_path / "runtime")
        assert stop_all() == []
        wait_for(lambda: arm.endpoint.alive, 3)    # the very same: address and secret
        assert stop_all() == [f"{arm.endpoint.name}: hold"] and arm.state is State.HOLD


def test_no_message_ends_the_guardian(desk: Desk):
    with desk.start(parks=False) as arm:
        arm.energize()
        for body in ({"do": "log", "last": float("inf")}, {"do": "command", "goal_deg": [0] * 6, "frames": [1]},
                     {"do": "command"}, {"do": None}, {}):
            with pytest.raises(SmolkitError, match="SK330"):
                arm._client.ask(body)
        assert arm.state in (State.ARMED, State.RUNNING)


@pytest.mark.fault(22)
def test_beats_that_waited_in_the_queue_are_no_news(desk: Desk):
    """The same without luck: all beats lie in the guardian's queue when it looks again."""
    with armed_guardian(desk) as (guardian, client):
        for _ in range(3):
            client.tell({"do": "beat"})
        time.sleep(0.7)                            # the guardian is frozen, the client is gone
        guardian.serve_until(guardian.clock.now_s() + 0.05)
        assert guardian.supervisor.stopped_by.name == "silence"


def refusal(arm: GuardedArm, what: str, **body: object) -> str:
    """The code of the error that a wish is answered with."""
    with pytest.raises(SmolkitError) as error:
        arm._client.ask({"do": what, **body})
    return error.value.code


@contextmanager
def armed_guardian(desk: Desk) -> Iterator[tuple[Guardian, Client]]:
    """A guardian without a process, which looks only when told to, and its owner."""
    guardian = open_guardian(desk.port, Calibration.load(desk.calibration), "standard")
    with guardian.server, Client(guardian.server.endpoint) as client:
        asked(guardian, client, {"do": "hello", "pid": os.getpid()}, {"do": "energize"})
        yield guardian, client
        guardian.supervisor.close(park=False)


def asked(guardian: Guardian, client: Client, *bodies: dict) -> None:
    asking = threading.Thread(target=lambda: [client.ask(body, 10) for body in bodies])
    asking.start()
    while asking.is_alive():
        guardian.serve_until(guardian.clock.now_s() + 0.02)


@pytest.mark.fault(23)
def test_a_stop_that_came_together_with_torque_on_does_not_wait_for_it(desk: Desk):
    with armed_guardian(desk) as (guardian, client), Client(guardian.server.endpoint) as visitor:
        guardian.supervisor.release()
        wishing = threading.Thread(target=lambda: pytest.raises(SmolkitError, client.ask, {"do": "energize"}, 10))
        wishing.start()
        time.sleep(0.1)
        visitor.tell({"do": "hold", "reason": "both lie in the queue now"})
        time.sleep(0.1)
        while wishing.is_alive():
            guardian.serve_until(guardian.clock.now_s() + 0.02)
        assert not desk.powered() and guardian.supervisor.state is State.OFF


@pytest.mark.fault(36)
def test_nobody_is_driven_home_by_an_old_wish(desk: Desk):
    with armed_guardian(desk) as (guardian, client), Client(guardian.server.endpoint) as visitor:
        with pytest.raises(SmolkitError, match="SK814"):
            visitor.ask({"do": "park"}, 0.1)
        time.sleep(0.6)
        client.tell({"do": "beat"})
        guardian.serve_until(guardian.clock.now_s() + 0.05)
        assert guardian.supervisor.state is State.ARMED


@pytest.mark.fault(8)
def test_the_guardian_knows_the_labels(desk: Desk):
    with pytest.raises(SmolkitError, match="SK110"):
        desk.start(arm_type="12V")                 # 5 V on 12 V servos
    with pytest.raises(SmolkitError, match="SK118"):
        desk.start(arm_type="9V")
    desk.start(arm_type="7.4V", parks=False).close()


class Hurry(WallClock):
    """A person who needs a fifth of the time."""

    def sleep_until(self, moment_s: float) -> None:
        super().sleep_until(self.now_s() + (moment_s - self.now_s()) / 5)


def test_anybody_may_stop_an_arm_on_its_acceptance_sheet(desk: Desk):
    with desk.start() as arm:
        arm.clock = Hurry()
        checks = with_torque(arm, lambda text: stop_all() if text.startswith("let go") else None)
    assert [check.code for check in checks if not check.ok] == ["SK310"] and checks[-1].code == "SK159"
    assert not desk.powered()
