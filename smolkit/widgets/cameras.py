"""What the cameras see, in pictures and numbers: alive, lit, sharp, in their places, and not swapped?

    >>> from smolkit.kit import Kit
    >>> with Kit.sim("place", seed=3) as kit, CameraPanel(kit.cameras, clock=kit.clock) as panel:
    ...     _ = panel.refresh()                        # the last line of a cell shows it, and keeps it up to date
    ...     print(panel.text().splitlines()[0].partition(";")[0])
    front 96 x 96 px

With passports it lays the ghost of each over its picture, says which way to turn the camera, and runs the
checks of `smolkit.cameras.checks` every two seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from html import escape

import ipywidgets as widgets
import numpy as np

from smolkit.cameras.camera import Camera, Frame
from smolkit.cameras.checks import check_cameras
from smolkit.cameras.ghost import Ghost, ghost
from smolkit.cameras.health import CameraHealth, health_of
from smolkit.cameras.passport import Look, Passport, look_at
from smolkit.clock import Clock, WallClock
from smolkit.report import Report, SmolkitError

from .panel import RED, Panel, Ticker, img_html, report_html

KEPT = 30                                          # frames a role: the last three seconds at 10 fps
FEWEST = 12                                        # to be judged: ten equal ones are a frozen camera
CHECK_S, NUMBERS_S = 2.0, 0.5
SHOWN_PX = 300                                     # wide
FASTEST_HZ = 15.0                                  # of looking; a camera's own count tells what came in between


def camera_html(role: str, image: np.ndarray, width_px: int = SHOWN_PX) -> str:
    """What the camera of that role sees."""
    return img_html(image, f"what the {role} camera sees", width_px)


class Picture:
    """A live picture with its name above and words below."""

    def __init__(self, role: str, width_px: int = SHOWN_PX):
        self._role, self._width_px = role, width_px
        self.image = widgets.HTML()                # ipywidgets' own Image has no alt text
        self.image.add_class(f"smolkit-camera-{role}")
        self.words = widgets.HTML(layout=widgets.Layout(max_width=f"{width_px}px"))
        self.view = widgets.VBox([widgets.HTML(f"<b>{escape(role)}</b>"), self.image, self.words],
                                 layout=widgets.Layout(margin="0 16px 0 0"))

    def show(self, image: np.ndarray) -> None:
        self.image.value = camera_html(self._role, image, self._width_px)


class CameraPanel(Panel):
    """Live pictures of `cameras`, role -> camera, against `passports`, role -> passport, if there are any.

    clock: the cameras' own. `report` holds the last checks, None before the first.
    """

    def __init__(self, cameras: Mapping[str, Camera], passports: Mapping[str, Passport] | None = None,
                 clock: Clock | None = None):
        super().__init__()
        self.cameras, self.passports = dict(cameras), dict(passports or {})
        self.clock = clock if clock is not None else WallClock()
        self.frames: dict[str, tuple[Frame, ...]] = {role: () for role in self.cameras}     # at the last look
        self.ghosts: dict[str, Ghost] = {}
        self.report: Report | None = None
        self.haunted = False                       # is the ghost on?
        # The reader has a lock of its own: a comparison takes 30 ms and more, and no frame may be missed for it.
        self._reading = threading.Lock()
        self._kept: dict[str, deque[Frame]] = {role: deque(maxlen=KEPT) for role in self.cameras}
        self._failed: dict[str, str] = {}
        self._numbers: dict[str, tuple[CameraHealth, Look]] = {}
        self._checked_s = self._numbered_s = self._looked_s = -np.inf
        self._reader: Ticker | None = None

    def start(self) -> CameraPanel:
        """Reads the cameras at their own rate from now on, and refreshes the picture as fast as it can be drawn."""
        with self.lock:
            if self._reader is None:
                fastest = max((camera.role.fps for camera in self.cameras.values()), default=0)
                self._reader = Ticker(self._read, min(FASTEST_HZ, fastest or FASTEST_HZ)).start()
        return super().start()

    def close(self) -> None:
        """Ends the looks; the cameras stay open."""
        super().close()
        if self._reader is not None:
            self._reader.stop()

    def haunt(self, on: bool = True) -> None:
        """Lays the passports over the pictures, or takes them away."""
        with self.lock:
            self.haunted = on
            self._haunt()

    def check(self) -> Report:
        """Runs the checks on the frames of the last seconds."""
        with self.lock:
            self._take()
            live = {role: frames for role, frames in self.frames.items() if role not in self._failed}
            self.report = check_cameras(live, self.passports, self._looked_s)
            self._checked_s = time.monotonic()
            return self.report

    # --- the panel --------------------------------------------------------------------------------------

    @property
    def alt(self) -> str:
        return "Pictures of the cameras. " + self.text()

    def build(self) -> widgets.Widget:
        self._pictures = {role: Picture(role) for role in self.cameras}
        self._toggle = widgets.ToggleButton(description="ghost", tooltip="Lay the passport over the picture",
                                            disabled=not self.passports, layout=widgets.Layout(width="120px"))
        self._toggle.add_class("smolkit-ghost-toggle")
        self._toggle.observe(lambda change: self.attempt(self.haunt, change["new"]), "value")
        self._checks = widgets.HTML()
        row = widgets.HBox([picture.view for picture in self._pictures.values()],
                           layout=widgets.Layout(flex_flow="row wrap"))
        return widgets.VBox([row, self._toggle, self._checks]).add_class("smolkit-cameras")

    def sample(self) -> None:
        if self._reader is None:
            self._read()
        self._take()
        self._haunt()
        self._count()
        enough = self.passports and all(len(frames) >= FEWEST for frames in self.frames.values())
        if enough and time.monotonic() - self._checked_s > CHECK_S:
            self.check()

    def paint(self) -> None:
        for role, picture in self._pictures.items():
            if self.frames[role]:
                picture.show(self._shown(role))
            picture.words.value = self._words_html(role)
        self._checks.value = "" if self.report is None else report_html(self._red_first())

    def picture(self) -> str:
        cells = "".join(f"<td><b>{escape(role)}</b><br>"
                        f"{camera_html(role, self._shown(role)) if self.frames[role] else ''}"
                        f"<br>{self._words_html(role)}</td>" for role in self.cameras)
        return f"<table><tr>{cells}</tr></table>" + ("" if self.report is None else report_html(self._red_first()))

    def text(self) -> str:
        lines = [self._line(role) for role in self.cameras]
        if self.report is not None:
            red = self.report.red()
            lines += [check.line() for check in red] or [f"{len(self.report.checks)} checks, all green"]
        return "\n".join(lines)

    # --- how --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """One frame of each camera; one that fails takes no other with it."""
        for role, camera in self.cameras.items():
            failed, frame = "", None
            try:
                frame = camera.read()
            except SmolkitError as error:
                failed = f"{error.code}: {error.found}; {error.next_step}"
            with self._reading:
                kept = self._kept[role]
                if frame is not None and (not kept or kept[-1].captured_s < frame.captured_s):
                    kept.append(frame)
                if failed:
                    self._failed[role] = failed
                else:
                    self._failed.pop(role, None)

    def _take(self) -> None:
        with self._reading:
            self._looked_s = self.clock.now_s()
            self.frames = {role: tuple(kept) for role, kept in self._kept.items()}

    def _haunt(self) -> None:
        self.ghosts = {role: ghost(self.passports[role], frames[-1].image) for role, frames in self.frames.items()
                       if self.haunted and frames and role in self.passports}

    def _count(self) -> None:
        if self._looked_s - self._numbered_s > NUMBERS_S:
            self._numbered_s = self._looked_s
            self._numbers = {role: (health_of(frames, self.cameras[role].role.fps), look_at(frames[-1].image))
                             for role, frames in self.frames.items() if frames}

    def _shown(self, role: str) -> np.ndarray:
        return self.ghosts[role].image if role in self.ghosts else self.frames[role][-1].image

    def _line(self, role: str) -> str:
        if role in self._failed or role not in self._numbers:
            return f"{role}: no picture. {self._failed.get(role, '')}"
        (health, look), frame = self._numbers[role], self.frames[role][-1]
        width_px, age_ms = frame.image.shape[1], 1000 * (self._looked_s - frame.captured_s)
        advice = f"; ghost: {self.ghosts[role].text}" if role in self.ghosts else ""
        rate = f"{health.fps:.1f} fps, " if health.frames > 1 else ""          # one picture has none
        return (f"{role} {width_px} x {frame.image.shape[0]} px; {rate}{age_ms:.0f} ms old; "
                f"brightness {look.brightness:.0f} of 255, sharpness {look.sharpness:.2f}; "
                f"{health.dropped} dropped, {health.repeated} repeated{advice}")

    def _words_html(self, role: str) -> str:
        first, *rest = self._line(role).split("; ")
        if role in self._failed:
            return f'<b style="color: {RED}">✗ no picture</b><br>{escape(self._failed[role])}'
        return "<br>".join([f'<span class="smolkit-faint">{escape(first.removeprefix(role))}</span>',
                            *(f"<b>{escape(line)}</b>" if line.startswith("ghost") else escape(line) for line in rest)])

    def _red_first(self) -> Report:
        return replace(self.report, checks=tuple(sorted(self.report.checks, key=lambda check: check.ok)))
