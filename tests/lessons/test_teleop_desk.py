"""Lesson 03's desk: a kernel that is really killed, people who lead, recordings that cannot be moved, a real lane."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from smolkit.arm.joints import JOINT_NAMES
from smolkit.kit import Kit
from smolkit.lessons import teleop_figures as figures
from smolkit.lessons import teleop_ways as ways
from smolkit.lessons.lane import dataset
from smolkit.lessons.teleop_death import Death, kill_on_a_bench
from smolkit.lessons.teleop_desk import RecordedDesk, attempt, load_led, open_desk, recorded_steps
from smolkit.lessons.teleop_hunt import play, session_of
from smolkit.report import SmolkitError
from smolkit.safety.states import State
from smolkit.sim.plant import Plant
from smolkit.teleop.loop import Decision, run_episode
from smolkit.widgets.teleop import TeleopPanel
from tests.paths import REPO

SHIPPED = dataset("teleop_recording")


@pytest.mark.fault(22)
def test_a_killed_kernel_leaves_an_arm_that_stands_and_parks(tmp_path):
    """Wall time on a busy computer: a victim that starves is held before it is killed, and tells nothing."""
    deaths = (kill_on_a_bench() for _ in range(3))
    death = next(death for death in deaths if death.stands_after_s > 0)
    assert 0.3 < death.stands_after_s < 1.5 and death.stands_after_s + 1.5 < death.parks_after_s
    assert death.parks_after_s < death.limp_after_s < 20 and death.drift_deg < 2
    before, after = death.pos_deg[death.time_s < 0], death.pos_deg[death.time_s > 0]
    assert np.ptp(before[:, 0]) > 3, "it moved until then"
    assert np.abs(np.diff(after, axis=0)).max() < 15, "and never fell"
    assert "SK311" in death.text() and [e.state for e in death.entries][-1] == State.OFF
    death.save(tmp_path)
    again = Death.load(tmp_path)
    assert again.limp_after_s == death.limp_after_s and np.allclose(again.pos_deg, death.pos_deg, atol=1e-3)


def test_the_shipped_death_says_what_the_lesson_says():
    death = Death.load(SHIPPED / "death")
    assert death.stands_after_s < 0.6 and 1.9 < death.parks_after_s - death.stands_after_s < 2.2
    assert death.limp_after_s < 6 and death.drift_deg < 0.5


@pytest.mark.parametrize("way", ways.WAYS)
def test_each_way_leads_to_the_ball_and_again_as_it_was_shipped(way):
    led, shipped = ways.lead(way), load_led(SHIPPED / "ways.csv")[way]
    assert led.reached
    assert np.allclose(led.state_deg, shipped.state_deg, atol=0.02)


def test_what_the_lesson_says_of_the_ways_is_so():
    rows = {way: ways.describe(led) for way, led in load_led(SHIPPED / "ways.csv").items()}
    slow, hand = rows["sliders"], rows["leader"]
    assert slow["seconds"] > 2 * hand["seconds"] and slow["idle %"] > 35 > 25 > hand["idle %"]
    assert slow["starts"] >= 4 and hand["starts"] == 1 and slow["jerk"] > rows["keys"]["jerk"] > hand["jerk"]
    assert "sliders" in ways.ways_table(load_led(SHIPPED / "ways.csv"))


def test_the_clutch_tells_its_story():
    said = "\n".join(ways.clutching())
    for words in ("stand too differently", "move the leader's shoulder_pan by -40 deg", "frozen", "SK353"):
        assert words in said
    assert said.endswith("following")


def test_the_recipe_makes_what_is_shipped():
    session, shipped = session_of(1, play(1)), RecordedDesk().hunt(1)
    assert np.allclose(session.state_deg, shipped.state_deg, atol=1e-3)
    assert np.abs(session.front.astype(float) - shipped.front).mean() < 8            # video is compressed
    steps, kept = attempt(2), recorded_steps(SHIPPED / "demos", 2)
    assert np.allclose([s.action_deg for s in steps], [s.action_deg for s in kept], atol=1e-3)


def test_a_recording_plays_and_cannot_be_moved():
    with Kit.recorded(SHIPPED / "demos", episode=1) as kit:
        first = kit.observe()
        assert first.task == "put the red cube into the blue box" and first.images["wrist"].shape == (96, 96, 3)
        kit.clock.sleep_until(kit.clock.now_s() + 0.35)
        assert not np.array_equal(kit.observe().state_deg, first.state_deg)
        assert kit.arm.state is State.IDLE
        for move in (kit.arm.energize, lambda: kit.command(first.state_deg)):
            with pytest.raises(SmolkitError, match="SK432"):
                move()
        with pytest.raises(SmolkitError, match="SK432"):
            list(run_episode(kit, lambda seen: Decision(seen.state_deg), 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["sim", "recorded"])
def test_the_guard_can_be_tried_in_every_lane(lane, capsys):
    with open_desk(lane) as desk:
        desk.tell(desk.arm.energize)
        desk.tell(desk.nudge)
        for _ in range(2):                                     # a cell that is run again must not drop the arm
            desk.stop("somebody came near")
        for what in (desk.nudge, desk.arm.energize):
            desk.tell(what)
        desk.rearm()                                           # it was the lesson's own stop
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith(("done", "stopped", "SK"))] == [
        "done; now ARMED", "done; now RUNNING", *["stopped; now HOLD"] * 2, *["SK310 expected no stop"] * 2,
        "done; now ARMED"]


@pytest.mark.parametrize("pressed_before", ["lesson's stop", "re-arming"])
def test_run_all_does_not_undo_the_stop_of_a_person(capsys, pressed_before):
    """Sections 1 and 2 as Run All does them, while somebody presses stop."""
    with RecordedDesk() as desk:
        def moves():
            desk.tell(desk.arm.energize)
            desk.tell(desk.nudge)

        def stops():
            desk.stop("somebody came near")

        def goes_on():
            desk.rearm()
            desk.tell(desk.nudge)
        for cell in (moves, stops, stops, goes_on):
            if cell is {"lesson's stop": stops, "re-arming": goes_on}[pressed_before]:
                desk.arm.hold("a hand is in the way", lets_go=False)
            cell()
        said = capsys.readouterr().out
        assert desk.arm.state is State.HOLD and "found a hand is in the way" in desk.arm.why
        assert said.count("done;") == 2 and "SK824" in said and 'press "arm again"' in said
        desk.arm.energize(rearm=True)                          # the button that a person presses
        stops()
        goes_on()
        assert desk.arm.state is State.RUNNING


def test_no_cell_of_a_lesson_rearms_without_asking_who_stopped():
    """`desk.rearm` looks first."""
    for path in (REPO / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not [cell["id"] for cell in cells if cell["cell_type"] == "code" and "rearm=" in "".join(cell["source"])]


def test_a_recorder_cell_that_is_run_again_goes_on_with_the_open_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLKIT_OUTPUTS", str(tmp_path))
    with RecordedDesk() as desk:
        steps, mine = desk.demonstrate(0)[:5], desk.recorder("mine", "wave")
        mine.begin()
        for step in steps:
            mine.add(step)
        again = desk.recorder("mine", "wave")
        assert again.frames == 5 and again.save() == 0, "what waited in the old panel is still there"
        mine.close()
        with desk.recorder("mine", "wave") as later:
            assert later.episodes == 1


@pytest.mark.slow
@pytest.mark.parametrize("may_move", [False, True])
def test_a_real_arm_moves_only_when_its_owner_says_so(tmp_path, monkeypatch, capsys, may_move):
    """The real lane against emulated servos behind a port of the operating system."""
    monkeypatch.setenv("SMOLKIT_OUTPUTS", str(tmp_path))
    with Plant.start("tour", 1, name=f"desk {may_move}") as plant:
        plant.calibration.save(tmp_path / "arm.json")
        (tmp_path / "kit.toml").write_text(f'lane = "real"\nport = "{plant.port}"\ncalibration = "arm.json"\n'
                                           "[cameras]\n")
        with open_desk("real", tmp_path / "kit.toml", may_move) as desk:
            desk.tell(desk.kit.arm.energize)
            assert plant.truth()["torque_on"] == [may_move] * 6
            said = capsys.readouterr().out
            assert ("done; now ARMED" in said) is may_move and ("MAY_MOVE" in said) is not may_move
            with TeleopPanel(desk.kit, desk.pilots()) as panel:
                panel.run()
                wait_until(lambda: desk.arm.state is State.RUNNING if may_move else "MAY_MOVE" in str(panel.trouble))
            assert plant.truth()["torque_on"] == [may_move] * 6, "neither does a button of the panel"
            desk.stop("stops are never refused")
            assert f"now {'HOLD' if may_move else 'IDLE'}" in capsys.readouterr().out
            with desk.recorder("lesson", "put it there") as recorder:
                assert recorder.root == tmp_path / "03_teleop_recording" / "real_lesson"


def test_every_figure_has_a_finding_for_a_title():
    with RecordedDesk() as desk:
        demos, led = SHIPPED / "demos", desk.lead("leader")
        drawn = [figures.wire(State.HOLD), figures.states(State.LOST), figures.death(desk.kill_a_kernel()),
                 figures.envelopes(), figures.ways({way: desk.lead(way) for way in ways.WAYS}), figures.lag(led),
                 figures.attempt(desk.demonstrate(0, hesitant=True)), figures.overview(demos), figures.grasps(demos),
                 figures.hunt(desk.hunt(3), desk.healthy)]
    titles = [figure.get_suptitle() for figure in drawn]
    assert all(len(title) > 12 for title in titles) and "HOLD" in titles[0] and "idle 39%" in titles[6]


def test_the_envelope_figure_shows_what_the_profiles_say():
    wish_deg = np.minimum(np.arange(1, 121) * 5.0, 60.0)                         # 150 deg/s at 30 Hz
    fast, slow = (figures.admitted(name, wish_deg, 1 / 30) for name in ("demonstration", "beginner"))
    assert np.diff(slow).max() * 30 <= 30.5 and np.diff(fast).max() * 30 > 100
    assert fast[-1] == pytest.approx(60, abs=0.5)


def test_a_grasp_is_where_the_gripper_closed():
    pose = np.tile([10, -30, 40, 70, 0, 50.0], (40, 1))
    pose[:, JOINT_NAMES.index("gripper")] = np.interp(np.arange(40), [0, 10, 20, 39], [20, 80, 80, 10])
    pose[35:, 0] = 90
    assert figures.grasp_m(pose) == pytest.approx(figures.grasp_m(pose[:34]), abs=1e-6)


@pytest.mark.slow
def test_the_panel_records_into_my_own_dataset_and_lays_the_next_scene(tmp_path, monkeypatch):
    """Wall time: what a person does with the buttons, by their methods."""
    monkeypatch.setenv("SMOLKIT_OUTPUTS", str(tmp_path))
    with open_desk("sim") as desk, desk.recorder("mine", "turn to the left") as mine:
        pilots, cube_m = desk.pilots(), desk.kit.bench.truth()["cubes_m"]
        with TeleopPanel(desk.kit, pilots, mine, after=desk.next_scene) as panel:
            panel.choose("sliders")
            panel.record()
            wait_until(lambda: mine.frames > 3)
            pilots["sliders"].set(shoulder_pan=float(desk.arm.read().pos_deg[0] + 15))
            wait_until(lambda: mine.frames > 20)
            panel.save()
            wait_until(lambda: mine.episodes == 1 and not panel.busy)
            wait_until(lambda: str(desk.kit.bench.truth()["cubes_m"]) != str(cube_m))
        steps = recorded_steps(mine.root, 0)
    assert np.ptp([step.observation.state_deg[0] for step in steps]) > 3, "it moved, and was recorded"


def wait_until(true, patience_s=60.0):
    end_s = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.05)
