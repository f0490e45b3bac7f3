"""Pictures: something to see in them, the same bits twice, and a clear word where GL is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smolkit.cameras.camera import CameraRole
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from smolkit.sim.cameras import SimCamera
from smolkit.sim.render import candidates, open_renderer
from smolkit.sim.scene import CameraShift, Light
from smolkit.sim.software import draw_software
from smolkit.sim.world import World
from tests.sim.benches import CANON, red_pixels


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(CANON)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").reset(CANON)


@pytest.mark.parametrize("camera", ("front", "wrist"))
@pytest.mark.parametrize("size", ((64, 64), (96, 96), (480, 640)))
def test_the_red_cube_is_seen(world: World, camera: str, size: tuple[int, int]) -> None:
    image = world.render(camera, *size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert red_pixels(image).sum() > 0.001 * size[0] * size[1]
    assert image.std() > 20 and 60 < image.mean() < 200      # neither empty, dark nor burnt out


def test_the_fingers_frame_the_lower_part_of_the_wrist_picture(world: World) -> None:
    before = world.render("wrist", 96, 96).astype(int)
    pose = world.state().angle_rad
    pose[5] += 0.5                                           # open the jaw: only the gripper's part changes
    world.place(pose)
    moved = np.abs(world.render("wrist", 96, 96).astype(int) - before).sum(-1) > 60
    rows, columns = np.nonzero(moved)
    assert 0.03 < moved.mean() < 0.4
    assert rows.mean() > 48 and rows.min() > 30


@pytest.mark.parametrize("camera", ("front", "wrist"))
def test_pictures_repeat_bit_for_bit(world: World, camera: str) -> None:
    images = []
    for _ in range(2):
        world.reset(CANON)
        world.advance_to(0.2)
        images += [world.render(camera, 96, 96), world.render(camera, 240, 320)]
    assert (images[0] == images[2]).all() and (images[1] == images[3]).all()


def test_another_size_between_two_pictures_changes_nothing(world: World) -> None:
    first = world.render("front", 64, 64)
    world.render("front", 480, 640)
    world.render("wrist", 150, 100)
    assert (world.render("front", 64, 64) == first).all()


def test_light_tint_and_camera_shift_change_the_picture(world: World) -> None:
    plain = world.render("front", 96, 96).astype(int)
    for change in ({"light": Light(intensity=0.5)}, {"table_tint": (0.6, 0.8, 1.0)},
                   {"front_shift": CameraShift((10.0, 0, 0), (0, 0, 2.0))}):
        world.reset(replace(CANON, **change))
        assert np.abs(world.render("front", 96, 96).astype(int) - plain).mean() > 2
    world.reset(CANON)
    assert (world.render("front", 96, 96) == plain).all()


def test_a_shared_renderer_draws_each_world(world: World) -> None:
    other = World(replace(CANON, cubes=()), renderer=world.renderer)
    assert red_pixels(other.render("front", 96, 96)).sum() == 0
    assert red_pixels(world.render("front", 96, 96)).sum() > 0
    other.close()                                            # not its renderer: the first goes on
    assert red_pixels(world.render("front", 96, 96)).sum() > 0


def test_pictures_can_be_taken_from_another_thread(world: World) -> None:
    expected, found = world.render("wrist", 64, 64), []
    thread = threading.Thread(target=lambda: found.append(world.render("wrist", 64, 64)))
    thread.start()
    thread.join()
    assert (found[0] == expected).all()


@pytest.mark.parametrize("camera", ("front", "wrist"))
def test_the_software_renderer_agrees_on_where_things_are(world: World, camera: str) -> None:
    gl, soft = world.render(camera, 96, 96), draw_software(world.model, world.data, camera, 96, 96)
    places = [np.mean(np.nonzero(red_pixels(image)), axis=1) for image in (gl, soft)]
    assert np.abs(places[0] - places[1]).max() < 1.5         # px
    assert np.abs(gl.astype(int) - soft).mean() < 25


def test_a_closed_renderer_says_so() -> None:
    world = World()
    renderer = world.renderer
    world.close()
    if renderer.name != "software":
        with pytest.raises(SmolkitError, match="SK221"):
            renderer.draw(world.model, world.data, "front", 32, 32)
    assert world.render("front", 32, 32).shape == (32, 32, 3)   # the world opens another one
    world.close()


def test_a_sim_camera_stamps_the_clock() -> None:
    clock, world = SteppedClock(2.5), World(CANON)
    camera = SimCamera(lambda: world, CameraRole("wrist", 48, 64, fps=10), clock)
    frame = camera.read()
    assert frame.image.shape == (48, 64, 3) and frame.captured_s == 2.5
    world.close()


@pytest.mark.parametrize("system, environment, expected", [
    ("Linux", {}, ("egl", "osmesa", "software")),
    ("Linux", {"DISPLAY": ":0"}, ("egl", "glfw", "osmesa", "software")),
    ("Darwin", {}, ("glfw", "software")),
    ("Windows", {"SMOLKIT_RENDERER": "auto"}, ("glfw", "software")),
    ("Linux", {"SMOLKIT_RENDERER": "Software"}, ("software",)),
])
def test_the_order_of_renderers(system: str, environment: dict, expected: tuple[str, ...]) -> None:
    assert candidates(environment, system) == expected


def test_a_misspelt_renderer_and_a_missing_one_are_errors() -> None:
    with pytest.raises(SmolkitError, match="SK220"):
        candidates({"SMOLKIT_RENDERER": "elg"}, "Linux")
    assert open_renderer(World().model, {"SMOLKIT_RENDERER": "software"}).name == "software"


NO_GL = """
import sys, warnings
for name in ("mujoco.egl", "mujoco.osmesa", "mujoco.glfw"):
    sys.modules[name] = None                                 # what a machine without the libraries looks like
from smolkit.report import SmolkitError
from smolkit.sim.world import World
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        image = World().render("front", 48, 64)
        print(image.shape, [str(w.message) for w in caught if w.category is RuntimeWarning])
    except SmolkitError as error:
        print(error)
"""


@pytest.mark.parametrize("choice, words", [("auto", ("(48, 64, 3)", "libegl1", "apt-get install")),
                                           ("egl", ("SK222", "apt-get install"))])
def test_without_gl_there_is_a_picture_and_a_warning_or_an_error_if_gl_was_asked_for(
        choice: str, words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", NO_GL], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "SMOLKIT_RENDERER": choice})
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout


def test_triton_is_loaded_before_any_gl_library(tmp_path: Path) -> None:
    """Both bring an LLVM; Mesa's first means a crash at a later import of torch's compiler."""
    (tmp_path / "triton.py").write_text("import sys\nassert not any('OpenGL' in name for name in sys.modules)\n")
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    done = subprocess.run([sys.executable, "-c", "import sys\nfrom smolkit.sim.world import World\n"
                           "World().render('front', 8, 8); assert 'triton' in sys.modules"],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "MUJOCO_GL": "", "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
