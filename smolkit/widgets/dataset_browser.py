"""A dataset, looked through: its episodes, their pictures beside their joints, and a scrubber that leads through both.

    >>> from pathlib import Path
    >>> demos = Path(__file__).parents[2] / "datasets/teleop_recording/demos"
    >>> with DatasetBrowser(demos) as browser:             # as a cell's last line it is a widget
    ...     browser.show(episode=4, row=20)
    ...     print(browser.text().splitlines()[0])
    episode 4 of 5, 2.0 s of 6.3 s: put the red cube into the blue box

Frames are decoded here, one by one, and travel as JPEG: it works with every codec and in every browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from smolkit.data.checks.evidence import Evidence
from smolkit.data.reader import Dataset
from smolkit.plotting import JOINT_COLORS
from smolkit.widgets.cameras import Picture, camera_html
from smolkit.widgets.panel import Panel

SHOWN_PX = 360                                     # wide; larger pictures shrink while they are decoded
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 700, 250, 46, 8, 34
MOST_POINTS = 240                                  # of a curve: more than one a pixel or two cannot be seen


class DatasetBrowser(Panel):
    """Looks through `dataset`, a folder or an open `Dataset`, which stays open then.

    `episode` and `row` say where it stands. Errors as those of `Dataset`; SK409 for an episode that is not there.
    """

    rate_hz = 0.0

    def __init__(self, dataset: Dataset | Path | str, episode: int | None = None):
        super().__init__()
        self._own = not isinstance(dataset, Dataset)
        self.dataset = Dataset(dataset) if self._own else dataset
        self.evidence = Evidence(self.dataset)
        self.episode, self.row = self.evidence.episodes[0], 0
        self.show(self.episode if episode is None else episode)

    @property
    def place(self) -> int:
        """Where the episode stands among those that were loaded."""
        return self.evidence.episodes.index(self.episode)

    @property
    def length(self) -> int:
        """Rows of the episode."""
        return len(self.dataset.positions(self.episode))

    def show(self, episode: int, row: int = 0) -> None:
        """This row of this episode; a row beyond its end is its last."""
        with self.lock:
            rows = self.dataset.positions(episode)
            self.episode, self.row = episode, int(np.clip(row, 0, len(rows) - 1))
            self.images = {name: self._frame(key, rows[self.row]) for name, key in self.evidence.cameras.items()}
            self._paint()

    def close(self) -> None:
        super().close()
        if self._own:
            self.dataset.close()

    # --- the panel --------------------------------------------------------------------------------------

    @property
    def alt(self) -> str:
        return "Pictures of the cameras beside the joints over time. " + self.text()

    def build(self) -> widgets.Widget:
        self.list = widgets.Select(options=self._titles(), rows=7, layout=widgets.Layout(width="100%"))
        self.list.add_class("smolkit-episodes")
        self.slider = widgets.IntSlider(layout=widgets.Layout(width="100%")).add_class("smolkit-scrubber")
        self.play = widgets.Play(interval=round(1000 / self.dataset.fps), show_repeat=False)
        widgets.jslink((self.play, "value"), (self.slider, "value"))
        self._pictures = {name: Picture(name, 300) for name in self.images}
        self.list.observe(lambda change: self.attempt(self._jump, change["new"], 0), "value")
        self.slider.observe(lambda change: self.attempt(self._jump, self.episode, change["new"]), "value")
        pictures = widgets.HBox([picture.view for picture in self._pictures.values()],
                                layout=widgets.Layout(flex_flow="row wrap"))
        return widgets.VBox([self.list, pictures, widgets.HBox([self.play, self.slider]), self._html])

    def paint(self) -> None:
        self._painting = True                      # what is set here is no wish of the person's
        try:
            self.list.value = self.episode
            self.slider.max = self.play.max = self.length - 1
            self.slider.value = self.play.value = self.row
        finally:
            self._painting = False
        for name, image in self.images.items():
            self._pictures[name].show(image)
        self._html.value = self._plot()

    def picture(self) -> str:
        cells = "".join(f"<td><b>{escape(name)}</b><br>{camera_html(name, image)}</td>"
                        for name, image in self.images.items())
        return f"<table><tr>{cells}</tr></table>{self._plot()}"

    def text(self) -> str:
        e, place, fps = self.evidence, self.place, self.dataset.fps
        lines = [f"episode {self.episode} of {len(e)}, {self.row / fps:.1f} s of {self.length / fps:.1f} s: "
                 f"{e.tasks[place]}"]
        for name, values in (("state", e.state), ("action", e.action)):
            if values:
                pose = ", ".join(f"{joint} {value:.1f}" for joint, value in zip(e.names, values[place][self.row],
                                                                                strict=True))
                lines.append(f"{name} (deg): {pose}")
        return "\n".join(lines)

    # --- how --------------------------------------------------------------------------------------------

    _painting = False

    def _jump(self, episode: int, row: int) -> None:
        if not self._painting and (episode, row) != (self.episode, self.row):
            self.show(episode, row)

    def _titles(self) -> list[tuple[str, int]]:
        e = self.evidence
        return [(f"{number:4d}   {seconds:5.1f} s   {task}", number)
                for number, seconds, task in zip(e.episodes, e.duration_s, e.tasks, strict=True)]

    def _frame(self, key: str, position: int) -> np.ndarray:
        height, width, _ = self.dataset.info.features[key].hwc()
        size = (round(height * SHOWN_PX / width), SHOWN_PX) if width > SHOWN_PX else None
        return self.dataset.frames(key, [position], size)[0]

    def _plot(self) -> str:
        e = self.evidence
        return joints_svg(e.names, e.state[self.place], e.action[self.place] if e.action else None, self.dataset.fps,
                          self.row) if e.state else ""


def joints_svg(names: Sequence[str], state: np.ndarray, action: np.ndarray | None, fps: float, row: int) -> str:
    """State (solid) and action (dashed), (T, D) deg, over time, with a line at `row` and the values there.

        >>> svg = joints_svg(["pan"], np.zeros((30, 1)), None, 30, row=15)
        >>> "at 0.5 s: pan 0.0" in svg
        True
    """
    low, high = _bounds([state] if action is None else [state, action])
    last_s = max(len(state) - 1, 1) / fps
    now_s, chosen = row / fps, np.unique(np.linspace(0, len(state) - 1, MOST_POINTS).round().astype(int))

    def x(seconds: float | np.ndarray) -> float | np.ndarray:
        return LEFT + (WIDTH - LEFT - 10) * seconds / last_s

    def y(deg: float | np.ndarray) -> float | np.ndarray:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - deg) / (high - low)

    def curve(values: np.ndarray, color: str, style: str) -> str:
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x(chosen / fps), y(values[chosen]), strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{color}" {style}/>'

    colors = [JOINT_COLORS[joint % len(JOINT_COLORS)] for joint in range(len(names))]
    parts = [_axes(x, y, low, high, last_s)]
    for joint, color in enumerate(colors):
        if action is not None:
            parts.append(curve(action[:, joint], color, 'stroke-width="1" stroke-dasharray="3 2"'))
        parts.append(curve(state[:, joint], color, 'stroke-width="1.8"'))
        parts.append(f'<circle cx="{x(now_s):.1f}" cy="{y(state[row, joint]):.1f}" r="3" fill="{color}"/>')
    parts.append(f'<path d="M{x(now_s):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="currentColor"/>')
    words = ", ".join(f"{name} {value:.1f}" for name, value in zip(names, state[row], strict=True))
    legend = " ".join(f'<span style="white-space: nowrap; margin-right: 14px"><b style="color: {color}">●</b> '
                     f"{escape(name)} {value:.1f}</span>" for name, value, color in zip(names, state[row], colors,
                                                                                       strict=True))
    return (f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="11" '
            f'fill="currentColor" aria-label="{escape(f"joints over time; at {now_s:.1f} s: {words}")}">'
            f'{"".join(parts)}</svg><div>{legend}</div>')


def _axes(x, y, low: float, high: float, last_s: float) -> str:
    """Lines and numbers of both axes."""
    step_deg, step_s = _step(high - low), _step(last_s)
    parts = [f'<path d="M{LEFT} {y(deg):.1f}H{WIDTH - 10}" stroke="currentColor" opacity=".18"/>'
             f'<text x="{LEFT - 5}" y="{y(deg) + 4:.1f}" text-anchor="end">{deg + 0.0:g}</text>'
             for deg in np.arange(np.ceil(low / step_deg), np.ceil(high / step_deg)) * step_deg]
    parts += [f'<text x="{x(s):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{s:g}</text>'
              for s in np.arange(0, last_s + 1e-9, step_s).round(3)]
    return "".join(parts) + (f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">time (s); state '
                             'solid, action dashed, body joints in deg</text>')


def _bounds(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    pad = max(0.05 * (high - low), 0.5)
    return low - pad, high + pad


def _step(span: float) -> float:
    """A round distance between five ticks or so."""
    power = 10.0 ** np.floor(np.log10(max(span / 5, 1e-6)))
    return float(next(power * n for n in (1, 2, 5, 10, 20) if power * n * 6 >= span))
