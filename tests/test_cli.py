"""The commands of the bring-up, against emulated servos behind a TCP port; exit codes mean what they say."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from smolkit.arm import fake, registers
from smolkit.arm.calibrate import MIDDLE_RAD
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import IDS, LOWER_RAD, UPPER_RAD
from smolkit.arm.serve import serve_tcp
from smolkit.cli import app


def smolkit(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "smolkit", *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("arguments", "status", "text"), [
    (("doctor", "/dev/no-such-port"), 1, "SK102"),
    (("tuor",), 2, "No such command"),
    (("doctor", "/dev/x", "--calibration", "nowhere.json"), 2, "SK120"),
    (("--help",), 0, "tour"),
])
def test_exit_codes_mean_what_they_say(arguments, status, text):
    done = smolkit(*arguments)
    assert done.returncode == status and text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_tour_does_not_move_into_somebody_elses_folder(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = smolkit("tour", "--out", str(tmp_path))
    assert done.returncode == 2 and "SK803" in done.stderr


# -- bring-up -------------------------------------------------------------------------------------------


def run(*arguments):
    """The command in this process: its exit code and all that it said."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def servo_bus():
    return fake.servos(3)


@pytest.fixture
def port(servo_bus):
    with serve_tcp(servo_bus) as server:
        yield server.port


def test_the_doctor_draws_the_chain_and_its_break(servo_bus, port):
    code, said = run("doctor", port)
    assert code == 0 and "board ─ 1 shoulder_pan ✓ ─ 2" in said and "SK110 servo voltage: found 5.0" in said
    servo_bus.dead.update((4, 5, 6))
    code, said = run("doctor", port)
    assert code == 1 and "3 elbow_flex ✓ ─✂─ 4 wrist_flex ?" in said and "next:" in said


@pytest.mark.fault(8)
def test_the_doctor_believes_the_label_more_than_the_registers(port):
    code, said = run("doctor", port, "--type", "12V")
    assert code == 1 and "✗ SK110" in said
    assert run("doctor", port, "--type", "24V")[0] == 2


@pytest.mark.fault(8)
def test_a_wrong_type_is_written_into_no_servo(servo_bus, port):
    before = [servo_bus.memory(i).get(registers.MAX_VOLTAGE_LIMIT) for i in range(1, 7)]
    code, said = run("doctor", port, "--type", "12V", "--repair")
    assert code == 2 and "SK110" in said
    assert [servo_bus.memory(i).get(registers.MAX_VOLTAGE_LIMIT) for i in range(1, 7)] == before


@pytest.mark.fault(30)
def test_the_doctor_repairs_only_when_asked(servo_bus, port):
    servo_bus.set_register(5, registers.OVERLOAD_TORQUE, 0)
    assert run("doctor", port)[0] == 1 and servo_bus.memory(5).get(registers.OVERLOAD_TORQUE) == 0
    code, said = run("doctor", port, "--repair")
    assert code == 0 and servo_bus.memory(5).get(registers.OVERLOAD_TORQUE) == 80
    assert "servo 5 (wrist_roll): Overload_Torque" in said
    assert "nothing to write" in run("doctor", port, "--repair")[1]


def test_the_sheet_comes_after_a_calibration(port, tmp_path):
    code, said = run("doctor", port, "--arm", "--sheet", tmp_path / "sheet.json")
    assert code == 2 and "SK149" in said and not (tmp_path / "sheet.json").exists()


class Hand:
    """Sweeps all joints, a step each time that positions are asked for, once the middle pose was measured."""

    def __init__(self, servo_bus, looks_before=2):
        self.servo_bus, self.looks_before, self.looks = servo_bus, looks_before, 0
        servo_bus.hand_pose(MIDDLE_RAD)
        servo_bus.filters.append(self)

    def __call__(self, answer, request):
        if request[4:7] == bytes((0x82, 56, 2)):
            self.looks += 1
            if self.looks > self.looks_before:
                part = 0.5 + 0.5 * np.sin((self.looks - self.looks_before) * np.pi / 6)
                self.servo_bus.hand_pose(LOWER_RAD + part * (UPPER_RAD - LOWER_RAD))
        return answer(request)


@pytest.mark.slow
def test_calibrating_twice_tells_what_changed_and_the_doctor_compares(servo_bus, port, tmp_path):
    out = tmp_path / "blue.json"
    for expected in ("saved in", "no joint changed"):
        Hand(servo_bus)
        code, said = run("calibrate", port, "--out", out, "--hold-s", 0, "--sweep-s", 0.4)
        assert code == 0 and expected in said, said
        servo_bus.filters.clear()
    assert len(list((tmp_path / "blue.history").iterdir())) == 2
    code, said = run("doctor", port, "--calibration", out)
    assert code == 0 and f"fingerprint {Calibration.load(out).fingerprint}" in said
    servo_bus.set_register(2, registers.HOMING_OFFSET, 7)
    code, said = run("doctor", port, "--calibration", out)
    assert code == 1 and "✗ SK109" in said


@pytest.mark.fault(24)
def test_calibrating_looks_whether_the_arm_holds_before_it_touches_the_torque(servo_bus, port, tmp_path):
    servo_bus.memory(2).put(registers.TORQUE_ENABLE, 1)
    code, said = run("calibrate", port, "--out", tmp_path / "blue.json")
    assert code == 2 and "SK112" in said and "--release" in said
    assert servo_bus.memory(2).get(registers.TORQUE_ENABLE) == 1 and not (tmp_path / "blue.json").exists()


@pytest.mark.slow
def test_a_calibration_can_go_to_lerobots_folders(servo_bus, port, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    Hand(servo_bus)
    code, said = run("calibrate", port, "--name", "blue", "--hold-s", 0, "--sweep-s", 0.4)
    assert code == 0, said
    files = [tmp_path / "robots" / folder / "blue.json" for folder in ("so_follower", "so101_follower")]
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())
    for wrong in ((), ("--name", "blue", "--out", "x"), ("--name", "blue", "--role", "boss"), ("--name", "../blue")):
        assert run("calibrate", port, *wrong)[0] == 2


def test_setup_motors_refuses_a_whole_chain_and_gives_up_in_the_end(servo_bus, port):
    before = [servo.eeprom_writes for servo in servo_bus.servos]
    code, said = run("setup-motors", port, "--type", "7.4V", "--patience-s", 0.1)
    assert code == 2 and "SK140" in said and "SK142" in said
    assert [servo.eeprom_writes for servo in servo_bus.servos] == before


def test_setup_motors_gives_one_id(servo_bus, port):
    servo_bus.dead.update(set(IDS) - {3})
    code, said = run("setup-motors", port, "--type", "7.4V", "--only", 6)
    assert code == 0 and "servo 6 (gripper) is ready: it was id 3" in said
    assert servo_bus.memory(3).id == 6


def test_find_port_says_when_nothing_looks_like_an_arm(monkeypatch):
    monkeypatch.setattr("smolkit.arm.find.list_ports.comports", lambda: [])
    code, said = run("find-port")
    assert code == 1 and "no serial port" in said
    assert run("doctor", "usb:5A46")[0] == 2
