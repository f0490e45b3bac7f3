"""Pictures of the world, with whatever this machine can draw with: EGL, OSMesa, GLFW or plain numpy.

    >>> candidates({"SMOLKIT_RENDERER": "egl"}, system="Linux")
    ('egl',)
    >>> candidates({}, system="Linux")                       # no screen: off-screen libraries, then numpy
    ('egl', 'osmesa', 'software')
    >>> candidates({"DISPLAY": ":0"}, system="Linux")
    ('egl', 'glfw', 'osmesa', 'software')

`SMOLKIT_RENDERER` = auto | egl | osmesa | glfw | software. "auto" tries what stands above, each by truly
creating a context, and ends with the software renderer and a warning that names the missing package.
A renderer named by hand that does not work is an error, never a silent second choice: pictures of two
renderers differ in shading, and a policy should see one kind.
Making a context takes about 0.4 s: make one `Renderer` and share it among worlds. It may be used from any
thread, one at a time (a lock sees to it), and draws every size. Pictures under 200 px, which policies
learn from by the ten thousand, are drawn without shadows and multisampling: on a CPU those cost ten times
the rest.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import importlib
import os
import platform
import threading
import warnings
from collections.abc import Mapping
from typing import Protocol

import mujoco
import numpy as np

from smolkit.report import SmolkitError
from smolkit.sim.software import draw_software

RENDERERS = ("egl", "osmesa", "glfw", "software")
INSTALL = "sudo apt-get install libegl1 libgl1-mesa-dri   (or: sudo apt-get install libosmesa6)"
MAX_GEOMS = 400
FINE_FROM_PX = 200                 # smaller pictures are drawn without shadows and multisampling


class GLContext(Protocol):
    """What mujoco's three context classes have in common."""

    def make_current(self) -> None: ...

    def free(self) -> None: ...


def candidates(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """Names of the renderers to try, best first, from the environment and `platform.system()`."""
    choice = environment.get("SMOLKIT_RENDERER", "auto").lower() or "auto"
    if choice in RENDERERS:
        return (choice,)
    if choice != "auto":
        raise SmolkitError("SK220", f"SMOLKIT_RENDERER to be one of auto, {', '.join(RENDERERS)}",
                           repr(choice), "a typing error in the environment variable",
                           "unset SMOLKIT_RENDERER")
    if system != "Linux":
        return ("glfw", "software")
    # EGL first even with a screen: it needs no window and no permission of the desktop.
    screen = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    return ("egl", "glfw", "osmesa", "software") if screen else ("egl", "osmesa", "software")


def open_context(name: str, width_px: int, height_px: int) -> GLContext:
    """A GL context of that kind; raises whatever the missing library raises.

    mujoco reads MUJOCO_GL once, when it is imported, and that may be long past: so its context classes are
    imported here by name, and the variable is set only while nobody has set it.
    """
    _load_triton_first()
    if name != "glfw":
        os.environ.setdefault("MUJOCO_GL", name)
    if name == "egl":
        from mujoco.egl import GLContext as Context
    elif name == "osmesa":
        from mujoco.osmesa import GLContext as Context
    else:
        from mujoco.glfw import GLContext as Context
    context = Context(width_px, height_px)
    context.make_current()
    return context


def _load_triton_first() -> None:
    """PyTorch's CUDA build brings triton, and both triton and Mesa's drivers bring an LLVM.

    With Mesa's loaded first, the first `import torch._dynamo` after it ends the process (segmentation fault,
    torch 2.13 with Mesa 22.3); the other way round both work. 0.1 s, and nothing where triton is absent.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


class SoftwareRenderer:
    """The last resort: flat shading in numpy, no shadows, no textures."""

    name = "software"

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, height_px: int, width_px: int,
             fine: bool | None = None) -> np.ndarray:
        """The picture of that camera: (H, W, 3) uint8 RGB; it knows one quality only."""
        return draw_software(model, data, camera, height_px, width_px)

    def close(self) -> None:
        """Nothing was opened."""


class Canvas:
    """One GL context with an off-screen buffer: fine (shadows, smooth edges) or plain (neither)."""

    def __init__(self, name: str, model: mujoco.MjModel, fine: bool):
        self._name, self._fine = name, fine
        settings = copy.copy(model)
        if not fine:
            settings.vis.quality.offsamples, settings.vis.quality.shadowsize = 0, 0
            settings.vis.global_.offheight = settings.vis.global_.offwidth = FINE_FROM_PX
        self._size_px = (settings.vis.global_.offheight, settings.vis.global_.offwidth)
        self._context = open_context(name, self._size_px[1], self._size_px[0])
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = fine
        self._camera, self._option = mujoco.MjvCamera(), mujoco.MjvOption()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._gl = mujoco.MjrContext(settings, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gl)
        if self._gl.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN:
            raise RuntimeError(f"{name} has no off-screen buffer")
        self._let_go()

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, height_px: int,
             width_px: int) -> np.ndarray:
        """The picture of that camera: (H, W, 3) uint8 RGB."""
        self._context.make_current()
        try:
            self._fit(height_px, width_px)
            self._camera.fixedcamid = model.camera(camera).id
            mujoco.mjv_updateScene(model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL,
                                   self._scene)
            rect = mujoco.MjrRect(0, 0, width_px, height_px)
            mujoco.mjr_render(rect, self._scene, self._gl)
            image = np.empty((height_px, width_px, 3), np.uint8)
            mujoco.mjr_readPixels(image, None, rect, self._gl)
        finally:
            self._let_go()
        return image[::-1].copy()                            # GL counts rows from below

    def _fit(self, height_px: int, width_px: int) -> None:
        height, width = max(height_px, self._size_px[0]), max(width_px, self._size_px[1])
        if (height, width) != self._size_px:
            mujoco.mjr_resizeOffscreen(width, height, self._gl)
            self._size_px = (height, width)

    def _let_go(self) -> None:
        """Unbinds the context, so that another thread may draw next (10 us)."""
        if self._name == "egl":
            from OpenGL import EGL
            EGL.eglMakeCurrent(EGL.eglGetCurrentDisplay(), EGL.EGL_NO_SURFACE, EGL.EGL_NO_SURFACE,
                               EGL.EGL_NO_CONTEXT)
        elif self._name == "glfw":
            import glfw
            glfw.make_context_current(None)

    def free(self) -> None:
        self._context.make_current()
        self._gl.free()
        self._context.free()


class GLRenderer:
    """MuJoCo's own renderer, for all worlds and all sizes; it opens a canvas when it first needs one."""

    def __init__(self, name: str, model: mujoco.MjModel):
        self.name, self._model = name, model
        self._lock, self._closed = threading.Lock(), False
        self._canvases = {False: Canvas(name, model, fine=False)}
        atexit.register(self.close)      # after mujoco's own hook, so run before: that one ends the display

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, height_px: int, width_px: int,
             fine: bool | None = None) -> np.ndarray:
        """The picture of that camera: (H, W, 3) uint8 RGB; `fine` None: by size."""
        fine = max(height_px, width_px) >= FINE_FROM_PX if fine is None else bool(fine)
        with self._lock:
            if self._closed:
                raise SmolkitError("SK221", "an open renderer", "a closed one",
                                   "render() was called after close()", "make a new World")
            if fine not in self._canvases:
                self._canvases[fine] = Canvas(self.name, self._model, fine)
            return self._canvases[fine].draw(model, data, camera, height_px, width_px)

    def close(self) -> None:
        """Frees the contexts; a second call does nothing."""
        with self._lock:
            self._closed = True
            while self._canvases:
                self._canvases.popitem()[1].free()
        atexit.unregister(self.close)


Renderer = GLRenderer | SoftwareRenderer


def open_renderer(model: mujoco.MjModel, environment: Mapping[str, str] | None = None) -> Renderer:
    """The first renderer that works here; see the module's text for the order and `SMOLKIT_RENDERER`."""
    names = candidates(os.environ if environment is None else environment, platform.system())
    failures = []
    for name in names:
        if name == "software":
            _warn_if_fallback(failures)
            return SoftwareRenderer()
        try:
            return GLRenderer(name, model)
        except Exception as error:        # each library fails in its own way; all reasons are reported
            failures.append(f"{name}: {type(error).__name__}: {error}")
    raise SmolkitError("SK222", f"the renderer {names[0]!r} to work", "; ".join(failures),
                       "its library or driver is not installed", INSTALL + ", or unset SMOLKIT_RENDERER")


def _warn_if_fallback(failures: list[str]) -> None:
    if failures:
        warnings.warn("no OpenGL found, drawing in plain numpy: flat, without shadows, and slower. Install "
                      f"libegl1 and libgl1-mesa-dri, or libosmesa6: {INSTALL}. "
                      f"Tried {'; '.join(failures)}", RuntimeWarning, stacklevel=4)
