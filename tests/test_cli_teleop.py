"""`smolkit teleop` with a terminal that types, `smolkit mirror` with two emulated arms behind TCP ports."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from smolkit.arm import fake, registers
from smolkit.arm.calibrate import MIDDLE_RAD
from smolkit.arm.serve import serve_tcp
from smolkit.cli import app
from smolkit.cli_teleop import Leading
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.safety.states import State
from smolkit.sim.world import shared_renderer
from smolkit.teleop.keys import KeyPilot
from smolkit.teleop.terminal import HeldKeys


class Typist:
    """Types what a script says, or does it: `{moment_s: text or call}` on the kit's clock."""

    def __init__(self, clock, script):
        self.clock, self.script, self.begin_s = clock, sorted(script.items()), clock.now_s()

    def read(self) -> str:
        due = [text for moment_s, text in self.script if moment_s <= self.clock.now_s() - self.begin_s + 1e-6]
        self.script = self.script[len(due):]
        return "".join(text if isinstance(text, str) else text() or "" for text in due)


def held(letter, begin_s, end_s):
    return {round(begin_s + index / 20, 3): letter for index in range(int((end_s - begin_s) * 20))}


def lead(script, seconds=4.0, recorder=None):
    """(poses before and after, what was said, state at the end)."""
    said = []
    with Kit.sim("tour", 1, image_px=32, renderer=shared_renderer()) as kit:
        keys = HeldKeys(kit.clock)
        begin_deg = kit.arm.read().pos_deg
        Leading(kit, KeyPilot(mode="joint"), keys, Typist(kit.clock, script), recorder(kit) if recorder else None,
                said.append).run(seconds)
        return kit.arm.read().pos_deg - begin_deg, "\n".join(said), kit.arm.state


def test_a_held_letter_moves_one_joint_and_x_ends_it():
    moved_deg, _, state = lead(held("q", 0.5, 1.5) | {2.0: "x"}, seconds=60)
    assert moved_deg[0] > 20 and np.abs(moved_deg[1:5]).max() < 3 and state is State.ARMED


def test_the_space_bar_stops_and_only_n_goes_on():
    script = {1.0: " ", 1.1: "   ", **held("q", 1.2, 2.2), 2.5: "x"}
    moved_deg, said, state = lead(script, seconds=60)
    assert abs(moved_deg[0]) < 3 and state is State.HOLD and "SK310" in said
    assert "let go" not in said, "a space bar that repeats must not drop the arm"
    moved_deg, said, state = lead({1.0: " ", 1.5: "n", **held("q", 3.0, 4.0)}, seconds=6)
    assert moved_deg[0] > 20 and state is State.ARMED


@pytest.mark.slow
def test_the_space_bar_stops_an_arm_that_parks_by_itself():
    """After a minute of standing stopped the arm goes home on its own; a hand may be in its way."""
    said, states = [], []
    with Kit.sim("tour", 1, image_px=32, renderer=shared_renderer()) as kit:
        class Person:
            def read(self):
                states.append(kit.arm.state)
                if State.RUNNING in states and State.HOLD not in states:
                    return " "                                 # a first stop
                if kit.arm.state is State.PARKING:
                    return "n "                                # a stop comes first, whatever was typed with it
                return "x" if State.PARKING in states[:-20] else ""
        Leading(kit, KeyPilot(mode="joint"), HeldKeys(kit.clock), Person(), None, said.append).run(400)
        assert kit.arm.state is State.HOLD and states.count(State.PARKING) == 1, states[-30:]


def test_episodes_are_kept_and_thrown_away(tmp_path):
    def recorder(kit):
        return Recorder(tmp_path / "set", task="turn to the left", cameras=[c.role for c in kit.cameras.values()])
    script = {1.5: "\n", **held("q", 1.6, 2.4), 2.6: "\n", 3.4: "\n", 4.0: "\x7f", 4.4: "\n", 4.8: " ", 5.5: "x"}
    _, said, _ = lead(script, seconds=60, recorder=recorder)
    dataset = Dataset(tmp_path / "set")
    assert [episode.length for episode in dataset.episodes] == [12], said       # 1.5 to 2.6 s, both ends
    assert np.ptp(dataset.episode(0)["action"][:, 0]) > 10 and dataset.tasks == ("turn to the left",)
    assert said.count("thrown away") == 2, "one by a person, one because the arm was stopped"


def lead_and_record(root, script, seconds=60.0, full_until_s=0.0):
    """(lengths of the episodes that are on the disk, what was said); until then the disk takes nothing."""
    def recorder(kit):
        return Recorder(root, task="turn to the left", cameras=[camera.role for camera in kit.cameras.values()])
    if full_until_s:
        script = script | {0.5: (root / "data").touch, full_until_s: (root / "data").unlink}      # no folder: SK407
    _, said, _ = lead(script, seconds, recorder)
    return [episode.length for episode in (Dataset(root).episodes if "kept as" in said else ())], said


def test_a_full_disk_is_said_and_enter_tries_again(tmp_path):
    script = {1.5: "\n", 2.6: "\n", 3.6: "\n", 4.5: "\n", 5.6: "\n", 7.0: "x"}
    kept, said = lead_and_record(tmp_path / "set", script, full_until_s=3.1)
    assert kept == [12, 12], said                              # what came while it waited belongs to neither
    assert "SK407" in said and "12 frames wait: ENTER tries again" in said and "thrown away" not in said


def test_a_stop_does_not_drop_what_waits_for_the_disk(tmp_path):
    kept, said = lead_and_record(tmp_path / "set", {1.5: "\n", 2.6: "\n", 3.6: " ", 4.5: "\n", 5.6: "x"},
                                 full_until_s=4.0)
    assert kept == [12] and "SK310" in said, said
    kept, said = lead_and_record(tmp_path / "other", {1.5: "\n", 2.6: "\n", 3.6: "\x7f", 4.5: "x"},
                                 full_until_s=4.0)
    assert kept == [] and "thrown away: 12 frames" in said


@pytest.mark.parametrize("answer, keeps", [({3.0: "\n"}, True), ({3.0: "\x7f"}, False), ({}, True)])
@pytest.mark.parametrize("end", [{2.6: "x"}, {}])
def test_the_end_asks_about_an_episode_that_is_left(tmp_path, answer, keeps, end):
    kept, said = lead_and_record(tmp_path / "set", {1.5: "\n"} | end | answer, seconds=2.65)
    assert kept == [12] * keeps, said
    assert "frames are neither kept nor thrown away" in said and ("thrown away: 12 frames" in said) is not keeps


@pytest.mark.slow
def test_silence_and_a_full_disk_wait_for_a_person(tmp_path):
    kept, said = lead_and_record(tmp_path / "set", {1.5: "\n", 2.6: "x", 80.0: "\n"}, full_until_s=70.0)
    assert kept == [12] and said.count("SK407") == 1, said


def test_ctrl_c_says_what_it_costs(tmp_path):
    said = []
    with Kit.sim("tour", 1, image_px=32, renderer=shared_renderer()) as kit:
        kit.cameras.clear()
        class Person(Typist):
            def read(self):
                if self.clock.now_s() - self.begin_s > 2:
                    raise KeyboardInterrupt
                return super().read()
        recorder = Recorder(tmp_path / "set", task="turn")
        with pytest.raises(KeyboardInterrupt):
            Leading(kit, KeyPilot(mode="joint"), HeldKeys(kit.clock), Person(kit.clock, {1.0: "\n"}), recorder,
                    said.append).run(60)
    assert "thrown away: 10 frames" in said


@pytest.mark.slow
def test_without_a_terminal_and_without_an_instruction_it_says_so(tmp_path):
    def teleop(*arguments):
        return subprocess.run([sys.executable, "-m", "smolkit", "teleop", *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
    for arguments, code in (((), "SK356"), (("--record", str(tmp_path / "x")), "SK805")):
        done = teleop(*arguments)
        assert done.returncode == 2 and code in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def wait_for(said, words, times=1):
    """Until a program that writes into that file has said those words so often."""
    end_s = time.monotonic() + 60
    while said.read_text().count(words) < times:
        assert time.monotonic() < end_s, said.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo terminal")
def test_a_real_terminal_leads_a_bench_in_wall_time(tmp_path):
    """Three processes and a terminal: the guardian parks the arm at the end."""
    (ours, theirs), said = pty.openpty(), tmp_path / "said"
    running = subprocess.Popen([sys.executable, "-m", "smolkit", "teleop", "--record", str(tmp_path / "set"), "--task",
                                "turn a little", "--seconds", "60"], stdin=theirs, stdout=said.open("w"),
                               stderr=subprocess.STDOUT)
    try:
        wait_for(said, "hold a letter")
        time.sleep(4.0)
        os.write(ours, b"\n")
        for _ in range(20):
            os.write(ours, b"q")
            time.sleep(0.05)
        os.write(ours, b"\n")
        time.sleep(3.0)
        os.write(ours, b"x")
        wait_for(said, "it parks; SPACE stops it")
        os.write(ours, b" ")                       # a hand is in its way home
        wait_for(said, "it stands")
        time.sleep(3.0)                            # longer than a guardian holds an arm that nobody owns
        assert running.poll() is None
        os.write(ours, b"n")
        running.wait(60)
    finally:
        running.kill()
        os.close(ours), os.close(theirs)
    assert running.returncode == 0, said.read_text()
    assert said.read_text().count("it parks; SPACE stops it") == 2
    assert "kept as episode 0" in said.read_text() and len(Dataset(tmp_path / "set").episodes) == 1


@pytest.fixture
def arms(tmp_path):
    """Leader and follower in their middle poses: ports, calibration files, and the follower's servos."""
    with serve_tcp(fake.servos(3)) as one, serve_tcp(fake.servos(5)) as other:
        files = []
        for name, server in (("leader", one), ("follower", other)):
            files.append(fake.calibrated(server.bus).save(tmp_path / f"{name}.json"))
            server.bus.hand_pose(MIDDLE_RAD)
        yield (one.port, other.port), files, other.bus


def mirror(ports, files):
    arguments = ["mirror", *ports, "--leader-calibration", files[0], "--follower-calibration", files[1],
                 "--poses", 1, "--hold-s", 0]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_mirror_tells_an_elbow_that_was_calibrated_wrongly(arms):
    ports, files, follower = arms
    code, said = mirror(ports, files)
    assert code == 0, said
    follower.hand_pose(MIDDLE_RAD + np.deg2rad([0, 0, 17, 0, 0, 0]))
    code, said = mirror(ports, files)
    assert code == 1 and "SK126 elbow_flex: found follower 17." in said


def test_mirror_reads_limp_arms_only(arms):
    ports, files, follower = arms
    follower.memory(2).put(registers.TORQUE_ENABLE, 1)
    code, said = mirror(ports, files)
    assert code == 2 and "SK350" in said
