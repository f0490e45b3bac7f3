"""The whole spine, small: interrupted in three stages, taken up again, and its reports read."""

import json
import os
import re
import signal
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from smolkit.data.reader import Dataset
from smolkit.evaluation.controls import CONTROLS
from smolkit.evaluation.trials import Trial
from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.tour.run import Tour, run_tour
from smolkit.tour.settings import quick

SMALL = replace(quick(), workers=1, demonstrations=2, trials=2, train_steps=6)


class Impatient:
    """Listens to a tour and presses Ctrl-C once in each of the given moments."""

    def __init__(self, *moments: tuple[str, int]):
        self.moments, self.heard = set(moments), []

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        self.heard.append((stage, done, text))
        if text not in ("begins", "done", "red") and (stage, done) in self.moments:
            self.moments.discard((stage, done))
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, hand = tmp_path_factory.mktemp("tours") / "tour", Impatient(("record", 1), ("train", 3), ("evaluate", 1))
    interruptions = 0
    while True:
        try:
            return run_tour(folder, SMALL, hand), interruptions, hand
        except KeyboardInterrupt:
            interruptions += 1
            with closing(Dataset(folder / "dataset")) as dataset:      # consistent, whenever it happens
                assert len(dataset) > 0 and len(dataset.frames("observation.images.wrist", [len(dataset) - 1])) == 1


def test_ctrl_c_in_three_stages_costs_nothing_that_was_done(finished):
    tour, interruptions, hand = finished
    assert interruptions == 3 and not hand.moments
    with closing(Dataset(tour.dataset_dir)) as dataset:
        seeds = [int(dataset.columns["scene_seed"][start]) for start in dataset.starts[:-1]]
    assert len(seeds) == SMALL.demonstrations == len(set(seeds))
    steps = [done for stage, done, text in hand.heard if stage == "train" and text not in ("begins", "done")]
    assert steps[-1] == SMALL.train_steps and len(steps) <= SMALL.train_steps + 1
    assert len(tour.trials()) == SMALL.trials and len({trial.seed for trial in tour.trials()}) == SMALL.trials


def test_the_report_for_programs_has_what_it_promises(finished):
    content = json.loads((finished[0].folder / "report.json").read_text())
    promised = {"success_rate", "trials", "wilson_low", "wilson_high", "controls", "stages", "total_seconds"}
    assert promised <= set(content)
    assert [stage["name"] for stage in content["stages"]] == [
        "check", "calibrate", "record", "look", "train", "evaluate", "controls", "report"]
    assert all(stage["ok"] is True and stage["seconds"] >= 0 for stage in content["stages"])
    assert set(content["controls"]) == set(CONTROLS)
    assert all({"success_rate", "trials"} <= set(row) for row in content["controls"].values())
    assert content["wilson_low"] <= content["success_rate"] <= content["wilson_high"]


def test_the_page_is_self_contained_and_has_words_for_every_picture(finished):
    page = (finished[0].folder / "report.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", page)
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) >= 7 and all(re.search(r"alt='[^']{20,}'", picture) for picture in pictures)
    assert "<video" in page and str(finished[0].folder) not in page


def test_demonstrations_are_in_the_drivers_units_with_their_moments(finished):
    with closing(Dataset(finished[0].dataset_dir)) as dataset:
        state, moments = dataset.columns["observation.state"], dataset.columns["captured_s"]
        assert dataset.extra()["units"]["gripper.pos"] == "percent"
        assert dataset.extra()["calibration"]["shoulder_pan"]["homing_offset"] == 313
    assert np.abs(state[:, :5]).max() > 20 and state[:, 5].min() >= 0 and state[:, 5].max() <= 100
    assert moments.shape[1] == 3 and (np.diff(moments[:20, 0]) > 0.09).all()


def test_a_policy_and_its_controls_differ_as_they_should(finished):
    policy = load_checkpoint(finished[0].policy_dir)
    broken = {name: make(load_checkpoint(finished[0].policy_dir)) for name, make in CONTROLS.items()}
    own, other = policy.model.state_proj.weight, broken["untrained"].model.state_proj.weight
    assert not own.equal(other) and own.shape == other.shape
    stats = broken["dead_normaliser"].processors.normalizer.stats
    assert all(float(values["std"].min()) == float(values["std"].max()) == 1 for values in stats.values())


def test_a_finished_tour_is_shown_again_and_not_run_again(finished):
    tour = Tour(finished[0].folder, SMALL, keep_finished=True)
    assert tour.evaluate() == finished[0].journal.result("evaluate")
    assert all(isinstance(trial, Trial) for trial in tour.attempts())


def test_trial_scenes_must_not_be_demonstrated_ones(finished, tmp_path):
    tour = Tour(tmp_path / "tour", replace(SMALL, first_trial_seed=0))
    (tour.folder / "trials").mkdir()
    (tour.folder / "trials" / "demonstrations.jsonl").write_text(
        (finished[0].folder / "trials" / "demonstrations.jsonl").read_text())
    with pytest.raises(SmolkitError, match="SK804"):
        tour.evaluate()
