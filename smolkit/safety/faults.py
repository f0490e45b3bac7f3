"""Everything that can go wrong, by name: into the emulated servos, the world, the cameras, the policy.

    >>> from smolkit.arm import fake
    >>> servos = fake.servos()
    >>> with fault("chain_break", servos, at=3):
    ...     sorted(servos.dead)
    [3, 4, 5, 6]
    >>> servos.dead
    set()
    >>> FAULTS["flip_bits"].parameters
    {'rate': 0.02, 'seed': 0}
    >>> with fault("out_of_range", lambda seen: np.zeros(6), joint=2) as policy:       # wraps whoever decides
    ...     policy(None)
    array([   0., 1000.,    0.,    0.,    0.,    0.])

The target is a rig: a kit of the sim lane, a bench, a `ServoBus`. Faults of a policy or a leader take the
callable instead, and give a spoiled one, which is itself again afterwards. Numbers of servos and joints
count from 1. Rows are those of the failure catalogue in the course.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smolkit.cameras.camera import Camera, CameraRole, Frame, digest_of
from smolkit.report import SmolkitError
from smolkit.safety import line_faults, policy_faults, servo_faults
from smolkit.safety.fault_kinds import Context, FaultKind, fault_kind, index_of, part, patched, unsuited


@contextmanager
def fault(name: str, target: Any, **parameters: Any) -> Iterator[Any]:
    """Injects the fault `name` into `target` while inside; see `FAULTS` for names and parameters.

    Errors: SK390 where name or parameter is unknown, SK391 where the fault does not fit the target.
    """
    if name not in FAULTS:
        raise _unknown(f"a fault: {', '.join(FAULTS)}", repr(name))
    known = FAULTS[name].parameters
    if set(parameters) - set(known):
        raise _unknown(f"parameters of {name}: {dict(known)}", ", ".join(sorted(set(parameters) - set(known))))
    with FAULTS[name].inject(target, **parameters) as spoiled:
        yield spoiled


def _unknown(expected: str, found: str) -> SmolkitError:
    return SmolkitError("SK390", expected, found, "a typing error", "see smolkit.safety.faults.FAULTS")


# -- the world ------------------------------------------------------------------------------------------


@contextmanager
def _world(rig: Any, *changes: tuple[np.ndarray, Any, Any]) -> Iterator[None]:
    """Entries (array, where, value) of the model or its data; what a new scene has set meanwhile stays."""
    lock, before = part(rig, "bus").lock, [np.copy(array[where]) for array, where, _ in changes]
    with lock:                                     # the physics stands still
        for array, where, value in changes:
            array[where] = value
    spoiled = [np.copy(array[where]) for array, where, _ in changes]
    try:
        yield
    finally:
        with lock:
            for (array, where, _), mine, old in zip(changes, spoiled, before, strict=True):
                array[where] = old if np.array_equal(array[where], mine) else array[where]


@fault_kind(1)
def slippery_objects(rig: Any, friction: float = 0.001) -> Context:
    """Cubes slip out of the gripper; priority 2 lets their friction count, not the fingers'."""
    world = part(rig, "world")
    model, cubes = world.model, [world.model.geom(f"cube{i}").id for i in range(len(world.scene.cubes))]
    return _world(rig, (model.geom_friction, cubes, friction), (model.geom_priority, cubes, 2))


@fault_kind(2)
@contextmanager
def table_raised(rig: Any, height_m: float = 0.03) -> Iterator[None]:
    """The table is higher than the arm's model of it."""
    import mujoco
    model = part(rig, "world").model
    parts = [model.geom(name).id for name in ("table", "slab", "mat")]
    raised = model.geom_pos[parts] + [0, 0, height_m]
    everything = model.opt.disableflags | mujoco.mjtDisableBit.mjDSBL_MIDPHASE      # its tree knows the old height
    with _world(rig, (model.geom_pos, parts, raised), (model.geom_sameframe, parts, 0)), \
            patched(model.opt, disableflags=everything):
        yield


@fault_kind(4)
def push(rig: Any, link: str = "gripper", force_n: tuple[float, float, float] = (0.0, 5.0, 0.0),
         ) -> Context:
    """Somebody pushes a link: a steady force in the base's axes (x forward, y left, z up)."""
    world = part(rig, "world")
    return _world(rig, (world.data.xfrc_applied, (world.model.body(link).id, slice(0, 3)), force_n))


@fault_kind(4, 9)
def blocked_joint(rig: Any, servo: int = 1) -> Context:
    """A joint is held where it stands: an obstacle, a caught cable, a hand."""
    world, at = part(rig, "world"), index_of(servo)
    return _world(rig, (world.model.jnt_range, at, world.state().angle_rad[at]))


@fault_kind(16)
def camera_moved(rig: Any, role: str = "front", turn_deg: float = 10.0) -> Context:
    """The simulated camera was knocked: it looks further to the side."""
    from smolkit.sim.room_model import turned
    model = part(rig, "world").model
    camera = model.cam(role).id
    return _world(rig, (model.cam_quat, camera, turned(model.cam_quat[camera], (0.0, turn_deg, 0.0))))


# -- the cameras ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spoiled:
    """A camera whose frames come from elsewhere."""

    role: CameraRole
    read: Callable[[], Frame]
    close: Callable[[], None]


@contextmanager
def _cameras(rig: Any, reads: dict[str, Callable[[Camera], Callable[[], Frame]]]) -> Iterator[None]:
    """Cameras by role with another way to read."""
    cameras = part(rig, "cameras")
    missing = set(reads) - set(cameras)
    if missing:
        raise unsuited(f"cameras {', '.join(sorted(missing))}", ", ".join(cameras), "name one of those")
    before = dict(cameras)
    cameras.update({name: _Spoiled(before[name].role, make(before[name]), before[name].close)
                    for name, make in reads.items()})
    try:
        yield
    finally:
        cameras.update({name: before[name] for name in reads})


@fault_kind(15)
def frozen_camera(rig: Any, role: str = "front") -> Context:
    """The driver repeats one picture under new time stamps."""
    def frozen(camera: Camera) -> Callable[[], Frame]:
        kept = camera.read()
        return lambda: replace(camera.read(), image=kept.image, digest=kept.digest)
    return _cameras(rig, {role: frozen})


@fault_kind(15)
def stalled_camera(rig: Any, role: str = "front") -> Context:
    """No new frame comes: the last one grows old."""
    def stalled(camera: Camera) -> Callable[[], Frame]:
        kept = camera.read()
        return lambda: kept
    return _cameras(rig, {role: stalled})


@fault_kind(15)
def black_camera(rig: Any, role: str = "front") -> Context:
    """The lens is covered."""
    def black(camera: Camera) -> Callable[[], Frame]:
        nothing = np.zeros_like(camera.read().image)
        return lambda: replace(camera.read(), image=nothing, digest=digest_of(nothing))
    return _cameras(rig, {role: black})


@fault_kind(16)
def swapped_cameras(rig: Any, first: str = "front", second: str = "wrist") -> Context:
    """Each of two cameras shows what the other one sees."""
    cameras = dict(part(rig, "cameras"))
    return _cameras(rig, {first: lambda _: cameras[second].read, second: lambda _: cameras[first].read})


# -- the computer -------------------------------------------------------------------------------------------


@fault_kind(34)
def date_changed(_: Any, step_s: float = 3600.0) -> Context:
    """Somebody, or the network, sets the computer's clock."""
    true_s = time.time
    return patched(time, time=lambda: true_s() + step_s)


@fault_kind(35)
def slow_host(rig: Any, late_s: float = 0.2) -> Context:
    """The computer is busy: every wait of the rig's clock ends late."""
    clock = part(rig, "clock")
    wait = clock.sleep_until
    return patched(clock, sleep_until=lambda moment_s: wait(moment_s + late_s))


FAULTS = {kind.name: kind for room in (vars(line_faults), vars(servo_faults), vars(policy_faults), dict(globals()))
          for kind in room.values() if isinstance(kind, FaultKind)}
