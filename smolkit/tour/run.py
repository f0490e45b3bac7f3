"""The tour: from an unknown arm to a policy that obeys, with nothing but this computer.

    tour = Tour(Path("outputs/tour"))
    tour.check(); tour.calibrate(); tour.record(); tour.look()
    tour.train(); tour.evaluate(); tour.controls(); tour.report()

Each stage returns what it found and is done once: after an interruption, the same calls go on where
they stopped. `run_tour` is all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import calibrate_with_hand
from smolkit.arm.calibration import Calibration
from smolkit.arm.doctor import check_arm
from smolkit.clock import SteppedClock, WallClock
from smolkit.data.checks.sense import ANY_RECORDING, count, sense_checks
from smolkit.data.reader import Dataset
from smolkit.evaluation.controls import CONTROLS
from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.trials import Trial, append_trial, read_trials, run_trials, summarize
from smolkit.report import Report, SmolkitError
from smolkit.sim.bench import Bench, measured_calibration
from smolkit.tour import demos, learning, trials
from smolkit.tour.journal import Journal
from smolkit.tour.report import write_page, write_summary
from smolkit.tour.settings import TourSettings

POLICY = "policy"
Listener = Callable[[str, int, int, str], None]        # (stage, done, of how many, what happened)


class Tour:
    """One tour in one folder. `tell(stage, done, total, text)` hears of progress."""

    def __init__(self, folder: Path, settings: TourSettings | None = None,
                 tell: Listener = lambda *_: None, keep_finished: bool = True):
        self.settings = settings or TourSettings()
        self.folder, self._tell = Path(folder), tell
        self.journal = Journal.open(self.folder, self.settings, keep_finished)

    # --- the arm -----------------------------------------------------------------------------------------

    def check(self) -> dict:
        """Finds the arm behind a port of the operating system and asks every servo how it is."""
        return self._stage("check", self._check, needed=True)

    def _check(self) -> dict:
        with closing(Bench(self.settings.task, 0, WallClock())) as bench:
            port = bench.serve()                       # as on the desk: a port of the system, in real time
            report = check_arm(port)
        return {"ok": report.ok, "port": port, "report": report.as_dict()}

    def calibrate(self) -> dict:
        """Teaches the driver where this arm's joints stand; nobody told it how the horns were screwed on."""
        return self._stage("calibrate", self._calibrate, needed=True)

    def _calibrate(self) -> dict:
        with closing(Bench(self.settings.task, 0, SteppedClock())) as bench, Bus(bench.port) as bus:
            found = calibrate_with_hand(bus, bench.bus.hand_pose)
        found.save(self._calibration_file)
        off_deg = _worst_difference(found, measured_calibration()) * 360 / 4096
        joints = [{"name": name, **motor} for name, motor in found.as_dict().items()]
        return {"ok": off_deg < 0.5, "joints": joints, "worst_error_deg": round(off_deg, 3)}

    # --- the data ----------------------------------------------------------------------------------------

    def record(self) -> dict:
        """Records the demonstrations through driver and envelope."""
        return self._stage("record", self._record)

    def _record(self) -> dict:
        with closing(demos.record(self.dataset_dir, self.settings, self.calibration)) as recording:
            for attempt in recording:
                append_trial(self._attempts_file, attempt.trial)
                kept = sum(trial.success for trial in self.attempts())
                self._tell("record", kept, self.settings.demonstrations, f"scene {attempt.trial.seed}")
        attempts = self.attempts()
        return {"attempts": len(attempts), "failed": sum(not trial.success for trial in attempts),
                "profile": self.settings.profile, "limited": float(np.mean([trial.limited for trial in attempts]))}

    def look(self) -> dict:
        """Looks at what was recorded before anything learns from it."""
        return self._stage("look", self._look, needed=True)

    def _look(self) -> dict:
        with closing(Dataset(self.dataset_dir)) as dataset:
            episodes, frames, tasks = len(dataset.episodes), len(dataset), list(dataset.tasks)
            checks = sense_checks(dataset, ANY_RECORDING)
        report = Report("the recording", (count(episodes, self.settings.demonstrations), *checks))
        return {"ok": report.ok, "checks": report.as_dict(), "episodes": episodes, "frames": frames, "tasks": tasks}

    # --- the policy --------------------------------------------------------------------------------------

    def train(self) -> dict:
        """Trains the classroom SmolVLA on the demonstrations, from scratch."""
        return self._stage("train", lambda: learning.learn(self.dataset_dir, self.folder / "training",
                                                           self.settings, self._tell))

    def evaluate(self) -> dict:
        """Deploys the policy through bus and envelope in scenes that it never saw."""
        return self._stage("evaluate", self._evaluate)

    def _evaluate(self) -> dict:
        shown = {trial.seed for trial in self.attempts()}
        if shown & set(self._trial_seeds(self.settings.trials)):
            raise SmolkitError("SK804", "trial scenes that no demonstration showed", "some that were shown",
                               "the two ranges of seeds in the tour's settings overlap",
                               "move first_trial_seed away from the demonstrations' seeds")
        found = self._try("evaluate", None, self.settings.trials)
        summary = summarize(found)
        self._film(found)
        return {**asdict(summary), "ok": summary.success_rate >= self.settings.min_success,
                "limited": float(np.mean([trial.limited for trial in found]))}

    def controls(self) -> dict:
        """The same scenes with one vital part missing: each must do far worse."""
        return self._stage("controls", self._controls)

    def _controls(self) -> dict:
        scenes = self.settings.control_trials
        rate = summarize(self.trials(POLICY)).success_rate
        found = {name: asdict(summarize(self._try("controls", name, scenes))) for name in CONTROLS}
        worse = {name: rate - row["success_rate"] >= self.settings.min_gap for name, row in found.items()}
        return {"ok": all(worse.values()), "rows": found, "much_worse": worse}

    def report(self) -> dict:
        """Writes report.html and report.json; returns what the latter holds."""
        self._stage("report", lambda: write_page(self))
        return write_summary(self)

    # --- what lies in the folder ---------------------------------------------------------------------------

    @property
    def dataset_dir(self) -> Path:
        return self.folder / "dataset"

    @property
    def policy_dir(self) -> Path:
        return self.folder / "training" / "policy"

    @property
    def _calibration_file(self) -> Path:
        return self.folder / "calibration.json"

    @property
    def calibration(self) -> Calibration:
        return Calibration.load(self._calibration_file)

    def attempts(self) -> list[Trial]:
        """All attempts at a demonstration; the successful ones are the dataset's episodes, in order."""
        return read_trials(self._attempts_file)

    def trials(self, name: str = POLICY) -> list[Trial]:
        """The finished trials of the policy or of a control."""
        return read_trials(self._trials_file(name))

    def film(self, name: str) -> Path:
        """The film of the "successes" or of the "failures"; it exists only if there were any."""
        return self.folder / f"{name}.mp4"

    @property
    def _attempts_file(self) -> Path:
        return self.folder / "trials" / "demonstrations.jsonl"

    def _trial_seeds(self, scenes: int) -> list[int]:
        return list(range(self.settings.first_trial_seed, self.settings.first_trial_seed + scenes))

    def _trials_file(self, name: str) -> Path:
        return self.folder / "trials" / f"{name}.jsonl"

    def _job(self, control: str | None = None) -> trials.Job:
        return trials.Job(self.policy_dir, self.settings, self.calibration, control)

    def _try(self, stage: str, control: str | None, scenes: int) -> list[Trial]:
        name = control or POLICY
        found: list[Trial] = []
        work = partial(trials.try_scene, job=self._job(control))
        workers = 1 if self.settings.wall_clock and control is None else self.settings.workers
        for trial in run_trials(work, self._trial_seeds(scenes), self._trials_file(name), workers):
            found.append(trial)
            worked = sum(t.success for t in found)
            text = f"{name.replace('_', ' ')}: {worked} of {len(found)} worked"
            self._tell(stage, len(found), scenes, text)
        return found

    def _film(self, found: list[Trial], most: int = 4) -> None:
        for name, verdict in (("successes", True), ("failures", False)):
            seeds = [trial.seed for trial in found if trial.success == verdict][:most]
            if seeds:
                films = ordered_map(partial(trials.film_scene, job=self._job()), seeds, self.settings.workers)
                trials.write_gallery(self.film(name), (film for _, film in films))

    def _stage(self, name: str, work: Callable[[], dict], needed: bool = False) -> dict:
        """Runs a stage once. Nothing is built on a red `needed` stage: it raises, and runs again next time."""
        self._tell(name, 0, 0, "begins")
        result = self.journal.stage(name, (lambda: _green(name, work())) if needed else work)
        self._tell(name, 1, 1, "done" if result.get("ok", True) else "red")
        return result


def _green(name: str, result: dict) -> dict:
    if result["ok"]:
        return result
    checks = (result.get("report") or result.get("checks") or {"checks": []})["checks"]
    red = next((c for c in checks if not c["ok"]), None)
    raise SmolkitError("SK802", f"the stage {name!r} to be green",
                       f"{red['code']} {red['name']}: {red['found']}" if red else str(result),
                       red["cause"] if red else "the arm is not the one that was drawn",
                       red["next_step"] if red else "run the tour again in another folder")


def _worst_difference(a: Calibration, b: Calibration) -> int:
    """The largest difference of offsets and ranges, in ticks."""
    return max(abs(getattr(x, key) - getattr(y, key)) for x, y in zip(a.motors, b.motors, strict=True)
               for key in ("homing_offset", "range_min", "range_max"))


def run_tour(folder: Path, settings: TourSettings | None = None, tell: Listener = lambda *_: None) -> Tour:
    """All stages in order, on from where an unfinished tour stopped; a red policy still gets its report."""
    tour = Tour(folder, settings, tell, keep_finished=False)
    for stage in (tour.check, tour.calibrate, tour.record, tour.look, tour.train, tour.evaluate,
                  tour.controls, tour.report):
        stage()
    return tour
