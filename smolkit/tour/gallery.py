"""A finished stage as a figure: what the report and the notebook show.

    from smolkit.tour import gallery
    gallery.learning(tour)              # the loss curve of the tour's training
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from smolkit.data.figures import contact_sheet, joint_traces
from smolkit.data.reader import Dataset
from smolkit.tour import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smolkit.tour.run import Tour


def calibration(tour: Tour) -> Figure:
    """The range of every joint, in ticks."""
    return figures.calibration_ranges(tour.journal.result("calibrate")["joints"])


def first_pictures(tour: Tour, most: int = 12) -> Figure:
    """The first front-camera picture of up to `most` episodes, spread over the recording."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        starts = np.asarray(dataset.starts[:-1])
        chosen = starts[np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int)]
        return contact_sheet(list(dataset.frames("observation.images.front", chosen)))


def strip(tour: Tour, episode: int = 0, most: int = 6) -> Figure:
    """One episode as a row of moments: front camera above, wrist camera below."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        rows = dataset.positions(episode)
        chosen = np.linspace(rows.start, rows.stop - 1, most).astype(int)
        pictures = [*dataset.frames("observation.images.front", chosen),
                    *dataset.frames("observation.images.wrist", chosen)]
        return contact_sheet(pictures, columns=most)


def traces(tour: Tour, episode: int = 0) -> Figure:
    """Measured and commanded joint positions of one episode."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        rows = dataset.episode(episode)
        time_s = np.arange(len(rows["action"])) / dataset.fps
        return joint_traces(time_s, rows["observation.state"], rows["action"])


def learning(tour: Tour) -> Figure:
    """The loss over the training steps."""
    curve = np.genfromtxt(tour.folder / tour.journal.result("train")["curve"], delimiter=",", names=True)
    return figures.loss_curve(np.atleast_1d(curve["step"]), np.atleast_1d(curve["loss"]))


def coverage(tour: Tour) -> Figure:
    """Where the cube lay in demonstrations and in trials."""
    trials = tour.trials()
    shown = [trial.cube_xy_m for trial in tour.attempts() if trial.success]
    return figures.coverage(np.array(shown), np.array([trial.cube_xy_m for trial in trials]),
                            np.array([trial.success for trial in trials]))


def controls(tour: Tour) -> Figure:
    """Success of the policy and of its controls, with intervals."""
    return figures.success_bars(rates(tour))


def rates(tour: Tour) -> list[dict]:
    """The policy's summary and its controls', each with its name."""
    rows = tour.journal.result("controls")["rows"]
    return [{"name": "trained policy", **tour.journal.result("evaluate")},
            *({"name": name, **row} for name, row in rows.items())]
