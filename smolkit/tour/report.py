"""Puts a tour's findings on one page (report.html) and into one file for programs (report.json)."""

from __future__ import annotations

import base64
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from smolkit.data.reader import Dataset
from smolkit.evaluation.trials import summarize
from smolkit.plotting import figure_to_png_base64
from smolkit.tour import figures
from smolkit.tour.demos import SEED_COLUMN
from smolkit.tour.journal import write_json
from smolkit.tour.page import Page, duration, listing, picture, table, timeline, video
from smolkit.tour.samples import contact_frames, cube_places

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smolkit.tour.run import Tour

NEXT_STEPS = [
    "Look inside the run: `outputs/tour/dataset` is a LeRobot dataset, `outputs/tour/training/policy` a SmolVLA checkpoint.",
    "Read it as a story, cell by cell: `make lab`, then open `notebooks/00_tour.ipynb`.",
    "Break something on purpose: cover a camera, double the speed, take a third of the demonstrations; predict the rate first.",
    "With an arm on the desk: `smolkit find-port`, then `smolkit doctor`. Policies trained in this simulation teach; "
    "they will not drive a real arm.",
]


def write_report(tour: Tour) -> dict:
    """Writes both reports and returns the one for programs."""
    found = {name: tour.journal.result(name) for name in
             ("check", "calibrate", "record", "look", "train", "evaluate", "controls")}
    stages = tour.journal.stages()
    summary = found["evaluate"]
    content = {key: summary[key] for key in ("success_rate", "trials", "wilson_low", "wilson_high")}
    content |= {"controls": found["controls"]["rows"], "stages": stages, "ok": all(s["ok"] for s in stages),
                "total_seconds": round(sum(s["seconds"] for s in stages), 1)}
    page = _page(tour, found, content)
    (tour.folder / "report.html").write_text(page.html(), encoding="utf-8")
    write_json(tour.folder / "report.json", content)
    return content


def _page(tour: Tour, found: dict, content: dict) -> Page:
    worked, trials = found["evaluate"]["successes"], content["trials"]
    page = Page(f"{worked} of {trials} unseen scenes",
                f"A small SmolVLA, trained from nothing on {found['look']['episodes']} demonstrations, hears "
                f"“{found['look']['tasks'][0]}” and moves an emulated SO-101 through its real driver and safety "
                f"envelope. Everything below happened on this computer in {duration(content['total_seconds'])}.",
                content["ok"])
    _evaluation(page, tour, found, content)
    page.section("How the time was spent", "One stage after the other; the report itself is not counted.",
                 timeline(content["stages"]))
    _arm(page, tour, found)
    _data(page, tour, found)
    _training(page, tour, found)
    page.section("What to do next", "", listing(NEXT_STEPS))
    return page


def _evaluation(page: Page, tour: Tour, found: dict, content: dict) -> None:
    low, high = content["wilson_low"], content["wilson_high"]
    films = [video(tour.film(name), f"Film of the arm: {name}", caption) for name, caption in
             (("successes", "Four successes: front camera left, wrist camera right."),
              ("failures", "Failures. What went wrong? The wrist camera usually knows.")) if tour.film(name).exists()]
    page.section("Does it work?",
                 f"In {content['success_rate']:.0%} of scenes that training never saw; with {content['trials']} trials the true "
                 f"rate lies between {low:.0%} and {high:.0%} (95 % Wilson interval). The envelope changed "
                 f"{found['evaluate']['limited']:.1%} of the policy's commands.", *films)
    rows = [{"name": "trained policy", **{k: content[k] for k in ("success_rate", "trials", "wilson_low", "wilson_high")}},
            *({"name": name, **row} for name, row in content["controls"].items())]
    page.section("Is it the learning?",
                 "The same scenes with one vital part missing. Each of these faults loads, runs and raises no error; "
                 "only a trial shows it.",
                 _figure(figures.success_bars(rows), _bars_in_words(rows)))


def _arm(page: Page, tour: Tour, found: dict) -> None:
    checks = found["check"]["report"]["checks"]
    page.section("The arm is found and checked",
                 f"Six servos answer the real driver over a {found['check']['wire']}, packet by packet.",
                 table(["", "check", "found"], [["✓" if c["ok"] else "✗", c["name"], c["found"]] for c in checks]))
    page.section("The arm is calibrated",
                 "Each servo's horn was screwed on at an angle that nobody wrote down. The routine puts the arm into its "
                 "middle pose, sweeps each joint, and stores offsets and ranges in the servos and in a file. Worst error "
                 f"against the drawing: {found['calibrate']['worst_error_deg']:.2f} deg.",
                 _figure(figures.calibration_ranges(found["calibrate"]["joints"]),
                         "Bars of the six joints' swept ranges, all inside one turn of 4096 ticks"))


def _data(page: Page, tour: Tour, found: dict) -> None:
    with closing(Dataset(tour.dataset_dir)) as dataset:
        episode = dataset.episode(0)
        seeds = [int(dataset.columns[SEED_COLUMN][start]) for start in dataset.starts[:-1]]
        sheet = contact_frames(dataset)
    trials = tour.trials()
    places = cube_places(tour.settings.task, seeds)
    look = found["look"]
    rows = [["✓" if c["ok"] else "✗", c["name"], c["found"]] for c in look["checks"]["checks"]]
    page.section("The demonstrations",
                 f"{look['episodes']} episodes, {look['frames']} frames at 10 Hz, recorded under the profile "
                 f"“{found['record']['profile']}” that the policy runs under, too. A scripted expert stumbles on purpose now "
                 "and then: what it should have done is recorded, so the policy learns the way back.",
                 _figure(figures.contact_sheet(sheet), "The first front-camera picture of twelve episodes: cube, box and light vary"),
                 table(["", "check", "found"], rows),
                 _figure(figures.joint_traces(np.arange(len(episode["action"])) / 10, episode["observation.state"], episode["action"]),
                         "Six joint angles of one episode over time, measured and commanded"),
                 _figure(figures.coverage(places, np.array([t.cube_xy_m for t in trials]), np.array([t.success for t in trials])),
                         "Map of the cube's start positions in demonstrations and in successful and failed trials"))


def _training(page: Page, tour: Tour, found: dict) -> None:
    train = found["train"]
    step, loss = np.loadtxt(tour.folder / train["curve"], delimiter=",", skiprows=1, usecols=(0, 1), unpack=True, ndmin=2)
    page.section("The policy learns",
                 f"{train['parameters'] / 1e6:.1f} million parameters, {train['steps']} steps, {duration(train['seconds'])}. "
                 "A low loss is necessary, not sufficient: the trials above are what counts.",
                 _figure(figures.loss_curve(step, loss), "Training loss falling over the steps, on a logarithmic scale"))


def _figure(figure: Figure, alt: str) -> str:
    return picture(base64.b64decode(figure_to_png_base64(figure)), alt)


def _bars_in_words(rows: list[dict]) -> str:
    return "Bars of success rates: " + ", ".join(f"{row['name']} {row['success_rate']:.0%}" for row in rows)


def summary_line(tour: Tour) -> str:
    """One line for a terminal."""
    summary = summarize(tour.trials())
    return (f"{summary.successes} of {summary.trials} unseen scenes ({summary.success_rate:.0%}, 95 % interval "
            f"{summary.wilson_low:.0%} to {summary.wilson_high:.0%})")
