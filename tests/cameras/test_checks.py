from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2", reason="OpenCV needs libGL and GLib: apt-get install libgl1 libglib2.0-0",
                    exc_type=ImportError)

from benchmarks.cameras import PICTURES, ROLES, SCENES, alarms, draw_bench, passports, photograph, trial
from smolkit.cameras.camera import CameraRole, Frame, digest_of
from smolkit.cameras.checks import check_cameras
from smolkit.cameras.ghost import ghost
from smolkit.cameras.passport import Passport, take_passport
from smolkit.cameras.registration import register
from smolkit.report import Report
from smolkit.sim.scene import CameraShift
from smolkit.sim.world import World
from tests.cameras.films import mosaic

ROLE = CameraRole("front", 240, 320, fps=10)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture(scope="module")
def known(world: World) -> dict[str, Passport]:
    return passports(world, seed=0)


def filmed(count: int = 5, fps: float = 10.0, size_px: tuple[int, int] = (240, 320)) -> list[Frame]:
    """Frames of one place, each with noise of its own."""
    rng, scene = np.random.default_rng(1), mosaic()[:size_px[0], :size_px[1]]
    images = [(scene + rng.normal(0, 2, scene.shape)).clip(0, 255).astype(np.uint8) for _ in range(count)]
    return [Frame(image, k / fps, k + 1, digest_of(image)) for k, image in enumerate(images)]


def red(report: Report) -> list[str]:
    return [check.code for check in report.red()]


# -- places, on the simulated bench; the whole of it is `benchmarks/cameras.py` ----------------------------


@pytest.mark.fault(16)
@pytest.mark.parametrize("seed", range(2))
def test_other_light_things_and_jitter_are_no_alarm_but_every_wrong_is(world: World, seed: int) -> None:
    assert not trial(world, seed)
    assert {code for code, _ in (SCENES | PICTURES).values()} == {"SK243", "SK244", "SK245", "SK246", "SK248"}


@pytest.mark.fault(16)
def test_swapped_cameras_are_named(world: World, known: dict[str, Passport]) -> None:
    shot = photograph(world, draw_bench(7), np.random.default_rng(7))
    report = check_cameras({"front": [Frame(shot["wrist"], 0.0)], "wrist": [Frame(shot["front"], 0.0)]}, known)
    swapped = [check for check in report.red() if check.code == "SK246"]
    assert len(swapped) == 2 and "that of wrist" in swapped[0].found and "swap the plugs" in swapped[0].next_step


def test_small_square_pictures_do_as_well(world: World) -> None:
    """As the simulated lane's policies see them: 96 x 96 px, drawn without shadows."""
    def shots(seed: int) -> dict[str, np.ndarray]:
        world.reset(draw_bench(seed))
        return {role: world.render(role, 96, 96) for role in ROLES}
    known = {role: take_passport(CameraRole(role, 96, 96, fps=10), [Frame(image, 0.0)])
             for role, image in shots(50).items()}
    for seed in range(51, 53):
        live = shots(seed)
        assert ("SK246", "front") not in alarms(live, known)
        swapped = alarms({"front": live["wrist"], "wrist": live["front"]}, known)
        assert {("SK246", "front"), ("SK246", "wrist")} <= swapped


# MuJoCo's cameras turn about (right, up, back): + about up is to the left, + about right is up.
@pytest.mark.fault(16)
@pytest.mark.parametrize("turn_deg, words", [((0, 3, 0), "turn the camera right by about 3 deg"),
                                             ((0, -3, 0), "turn the camera left by about 3 deg"),
                                             ((3, 0, 0), "tilt it down by about 3 deg"),
                                             ((-3, 0, 0), "tilt it up by about 3 deg"),
                                             ((0, 0, 6), "roll it clockwise by about 6 deg")])
def test_the_ghost_says_which_way_back(world: World, known: dict[str, Passport], turn_deg: tuple[float, ...],
                                       words: str) -> None:
    scene = replace(draw_bench(3), front_shift=CameraShift(turn_deg=turn_deg))
    live = photograph(world, scene, np.random.default_rng(3))["front"]
    found = ghost(known["front"], live, view_deg=55.0)         # the drawn camera's: 43 deg high, 4 : 3
    assert words in found.text and found.match.shift_px > 8
    assert found.image.shape == live.shape and found.image.dtype == np.uint8
    back = ghost(known["front"], photograph(world, draw_bench(3), np.random.default_rng(4))["front"])
    assert back.text.startswith("it stands") and (back.image == (255, 140, 0)).all(-1).mean() > 0.01


def test_a_stranger_is_not_told_to_turn(known: dict[str, Passport]) -> None:
    assert "does not look like" in ghost(known["front"], np.full((240, 320, 3), 90, np.uint8)).text


@settings(max_examples=15)
@given(st.integers(-40, 40), st.integers(-40, 40), st.floats(0.5, 1.3))
def test_any_shift_is_measured_in_any_light(right: int, down: int, light: float) -> None:
    scene = mosaic(3, edge_px=20)
    live = (light * np.roll(scene, (down, right), axis=(0, 1))).clip(0, 255).astype(np.uint8)
    match = register(np.dstack([scene, np.full((240, 320), 255, np.uint8)]), live)
    assert abs(match.right_px - right) < 1.5 and abs(match.down_px - down) < 1.5 and match.roll_deg == 0
    assert abs(match.shift_px - np.hypot(right, down)) < 2


# -- frames, sizes, rates ----------------------------------------------------------------------------------


def test_a_healthy_camera_is_green() -> None:
    frames = filmed(12)
    report = check_cameras({"front": frames}, {"front": take_passport(ROLE, frames)}, now_s=1.2)
    assert report.ok and len(report.checks) == 10


@pytest.mark.fault(15)
@pytest.mark.parametrize("repeats, alarm", [(9, []), (10, ["SK241"])])
def test_a_repeated_picture_is_a_frozen_camera_whatever_its_time_stamps(repeats: int, alarm: list[str]) -> None:
    frames = filmed(3)
    frozen = frames + [replace(frames[-1], captured_s=0.2 + k / 10, index=3 + k) for k in range(1, repeats)]
    assert red(check_cameras({"front": frozen}, {"front": take_passport(ROLE, frames)})) == alarm


@pytest.mark.fault(15)
def test_one_frame_read_often_is_not_frozen_but_in_time_it_is_stale() -> None:
    frames, known = filmed(5), {"front": take_passport(ROLE, filmed(5))}
    often = frames + [frames[-1]] * 20
    assert red(check_cameras({"front": often}, known, now_s=0.8)) == []
    assert red(check_cameras({"front": often}, known, now_s=1.0)) == ["SK204"]


@pytest.mark.fault(15)
def test_a_black_camera_is_dark() -> None:
    black = [Frame(np.zeros((240, 320, 3), np.uint8), 0.0)]
    assert "SK243" in red(check_cameras({"front": black}, {"front": take_passport(ROLE, filmed())}))


@pytest.mark.parametrize("live, code", [(filmed(fps=5.0), "SK242"), (filmed(size_px=(192, 256)), "SK240"),
                                        ([], "SK247")])
def test_another_rate_or_size_or_nothing(live: list[Frame], code: str) -> None:
    assert code in red(check_cameras({"front": live}, {"front": take_passport(ROLE, filmed())}))


def test_a_camera_without_passport_is_no_green_camera() -> None:
    assert red(check_cameras({"front": filmed()}, {})) == ["SK247"]


def test_every_red_check_names_a_cause_and_a_next_step() -> None:
    wrong = [Frame(np.full((10, 10, 3), 255, np.uint8), float(k), k, "same") for k in range(12)]
    known = {"front": take_passport(ROLE, filmed()), "wrist": take_passport(ROLE, filmed())}
    report = check_cameras({"front": wrong}, known, now_s=100.0)
    assert len(report.red()) >= 7 and all(check.cause and check.next_step for check in report.red())
