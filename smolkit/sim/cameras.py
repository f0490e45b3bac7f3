"""A camera that photographs the simulated bench, behind the same protocol as a USB camera.

    >>> from smolkit.cameras.camera import CameraRole
    >>> from smolkit.clock import SteppedClock
    >>> from smolkit.sim.world import World
    >>> camera = SimCamera(World(), CameraRole("front", 48, 64, fps=10), SteppedClock())
    >>> camera.read().image.shape
    (48, 64, 3)
    >>> camera.close()
"""

from __future__ import annotations

from collections.abc import Callable

from smolkit.cameras.camera import CameraRole, Frame, digest_of
from smolkit.clock import Clock
from smolkit.sim.world import World


class SimCamera:
    """Renders the world whenever it is read; `world` may be a function, for owners that swap worlds."""

    def __init__(self, world: World | Callable[[], World], role: CameraRole, clock: Clock):
        self.role, self._clock = role, clock
        self._world = world if callable(world) else lambda: world
        self._index = 0

    def read(self) -> Frame:
        """One picture of this moment.

        A rendering has no sensor noise: of a bench at rest it would repeat bit for bit and look like a frozen
        camera's. So the moment goes into the digest, in the noise's place.
        """
        now_s = self._clock.now_s()                # before: a large picture takes 60 ms to draw
        image = self._world().render(self.role.name, self.role.height_px, self.role.width_px)
        self._index += 1
        return Frame(image, now_s, self._index, f"{digest_of(image)}@{now_s:.6f}")

    def close(self) -> None:
        """Nothing to close: the world owns its renderer."""
