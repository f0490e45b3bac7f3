"""The plant's process: an arm on a wire and cameras, whoever lives or dies beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from smolkit.arm.bus import Bus
from smolkit.arm.joints import to_radians
from smolkit.arm.registers import HOMING_OFFSET, PRESENT_POSITION, TORQUE_ENABLE
from smolkit.cameras.camera import CameraRole
from smolkit.messages import Client
from smolkit.report import SmolkitError
from smolkit.session import Endpoint
from smolkit.sim.bench import measured_calibration
from smolkit.sim.plant import Plant
from tests.arm.wires import NEEDS_PTY, PATIENT
from tests.paths import REPO

IDS = (1, 2, 3, 4, 5, 6)
FRONT = CameraRole("front", 48, 64, fps=10)
# Another notebook: starts a plant and holds its wire, until it is killed.
NOTEBOOK = """
import time
from smolkit.arm.bus import Bus
from smolkit.sim.plant import Plant
plant = Plant.start("tour", 1, name="left")
bus = Bus(plant.port)
print(plant.pid, flush=True)
while True:
    bus.ping(1)
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A runtime folder of our own: other tests, and the user, may have plants."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "LOCALAPPDATA"):
            patch.setenv(name, str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="module")
def plant(private: None) -> Iterator[Plant]:
    with Plant.start("place", 3, name="shared") as started:
        yield started


def ended(plant: Plant) -> bool:
    """Waits until the process has freed its name."""
    end_s = time.monotonic() + 20
    while plant._client.endpoint.alive and time.monotonic() < end_s:
        time.sleep(0.05)
    return not plant._client.endpoint.alive


def after_s(plant: Plant, moment_s: float) -> dict:
    """The truth as soon as the plant's own time has come so far."""
    end_s = time.monotonic() + 20
    while (truth := plant.truth())["time_s"] < moment_s:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return truth


def test_the_servos_answer_on_its_port_as_the_calibration_says(plant):
    assert plant.instruction == "put the blue cube in the green box" and plant.calibration == measured_calibration()
    with Bus(plant.port, **PATIENT) as bus:
        offsets = bus.sync_read(HOMING_OFFSET, IDS)
        apart_rad, end_s = np.full(6, np.inf), time.monotonic() + 20
        while apart_rad.max() > 0.02 and time.monotonic() < end_s:       # until the limp arm has come to lie
            ticks = bus.sync_read(PRESENT_POSITION, IDS)
            shown_rad = to_radians(plant.calibration.to_pos(np.array(list(ticks.values()))))
            truth = plant.truth()
            apart_rad = np.abs(shown_rad - truth["angle_rad"])
    assert offsets == {motor.id: motor.homing_offset for motor in plant.calibration.motors}
    assert apart_rad.max() < 0.02 and truth["torque_on"] == [False] * 6 and abs(truth["lowest_solid_m"]) < 0.3


def test_pictures_know_when_their_light_was_caught(plant):
    camera = plant.camera(FRONT)
    begin_s = time.monotonic()
    first, second = camera.read(), camera.read()
    assert first.image.shape == (48, 64, 3) and first.image.dtype == np.uint8 and first.image.std() > 5
    assert begin_s <= first.captured_s < second.captured_s <= time.monotonic()
    assert second.index == first.index + 1 and first.digest != second.digest


def test_the_truth_tells_which_motors_may_push(plant):
    with Bus(plant.port, **PATIENT) as bus:
        for wanted in ([True, False, True, False, False, True], [False] * 6):
            bus.sync_write(TORQUE_ENABLE, {servo_id: int(on) for servo_id, on in zip(IDS, wanted, strict=True)})
            bus.ping(1)                            # so that the write has arrived
            assert plant.truth()["torque_on"] == wanted


def test_time_goes_on_by_itself_and_a_hand_may_move_the_limp_arm(plant):
    plant.hand_pose(np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.2]))
    later = after_s(plant, plant.truth()["time_s"] + 0.1)
    assert abs(later["angle_rad"][0] - 0.3) < 0.05


def test_a_reset_lays_another_scene_and_leaves_arm_and_time(plant):
    before = after_s(plant, 0.2)
    plant.reset(8)
    after = plant.truth()
    assert after["cubes_m"].keys() != before["cubes_m"].keys() and not plant.success()
    assert before["time_s"] <= after["time_s"] < before["time_s"] + 20        # a new world begins at 0
    assert abs(after["angle_rad"][0] - before["angle_rad"][0]) < 0.2
    plant.reset(3)
    assert plant.instruction == "put the blue cube in the green box"


@pytest.mark.parametrize("body", [
    {}, {"do": "fly"}, {"do": "picture"}, {"do": "picture", "role": "front", "height_px": 10**6, "width_px": 1},
    {"do": "picture", "role": "front", "height_px": "a", "width_px": 1}, {"do": "reset", "seed": "x"},
    {"do": "hand", "angle_rad": [1, 2]}, {"do": "hand", "angle_rad": [float("nan")] * 6}, {"do": ["where"]}])
def test_what_makes_no_sense_is_answered_so(plant, body):
    with Client(Endpoint.load("plant shared"), timeout_s=20) as client, pytest.raises(SmolkitError, match="SK236"):
        client.ask(body)
    with pytest.raises(SmolkitError, match="SK212"):
        plant.camera(CameraRole("nose", 48, 64, fps=10)).read()
    assert plant.truth()["time_s"] > 0


def test_a_second_of_the_name_is_refused_with_the_firsts_process_id(plant):
    with pytest.raises(SmolkitError, match="SK235") as error:
        Plant.start("tour", 0, name="shared")
    assert "SK812" in error.value.found and str(plant.pid) in error.value.found
    with pytest.raises(SmolkitError, match="SK230"):
        Plant.start("juggle", 0, name="another")


def test_none_of_that_name_is_said_so(private):
    with pytest.raises(SmolkitError, match="SK811"):
        Plant.attach("nobody")


@NEEDS_PTY
def test_it_outlives_the_notebook_that_started_it(private):
    notebook = subprocess.Popen([sys.executable, "-c", NOTEBOOK], cwd=REPO, stdout=subprocess.PIPE)
    with notebook:
        pid = int(notebook.stdout.readline())
        notebook.kill()
    with Plant.attach("left") as plant:
        assert plant.pid == pid and plant.camera(FRONT).read().image.any()
        with Bus(plant.port, **PATIENT) as bus:
            assert bus.ping(6) == 0
    assert ended(plant)
    plant.close()                                  # twice is fine


@NEEDS_PTY
def test_a_signal_ends_it(private):
    plant = Plant.start("tour", 1, name="stopped")
    os.kill(plant.pid, signal.SIGTERM)
    assert ended(plant)
    plant.close()


def test_left_alone_it_ends_but_not_while_something_comes_over_the_wire(private):
    plant = Plant.start("tour", 1, name="idle", calibrated=False, tcp=True, idle_s=1.0)
    assert plant.calibration is None and plant.port.startswith("socket://127.0.0.1:")
    with Bus(plant.port, **PATIENT) as bus:
        end_s = time.monotonic() + 2.5
        while time.monotonic() < end_s:
            bus.ping(1)
            time.sleep(0.05)
    assert plant._client.endpoint.alive
    assert ended(plant)
    plant.close()
