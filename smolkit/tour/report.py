"""Puts a tour's findings on one page (report.html) and into one file for programs (report.json)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smolkit.page import Page, duration, listing, picture, table, timeline, video
from smolkit.tour import gallery
from smolkit.tour.journal import write_json

if TYPE_CHECKING:
    from smolkit.tour.run import Tour

STAGES = ("check", "calibrate", "record", "look", "train", "evaluate", "controls")
FILMS = {"successes": "Some successes. Front camera left, wrist camera right.",
         "failures": "Failures. What went wrong? The wrist camera usually knows."}
NEXT_STEPS = [
    "Look into the folder: `dataset` is a LeRobot dataset, `training/policy` a SmolVLA checkpoint.",
    "Read the tour as a story, cell by cell: `make lab`, then open `notebooks/00_tour.ipynb`.",
    "Break something on purpose: cover a camera, halve the demonstrations. Predict the rate first.",
    "With an arm on the desk: `smolkit find-port`, then `smolkit doctor PORT`. A policy trained in this "
    "simulation teaches; it will not drive a real arm.",
]


def summarize_tour(tour: Tour) -> dict:
    """The content of report.json: the rate with its interval, the controls, every stage, and whether all is well."""
    stages, found = tour.journal.stages(), tour.journal.result("evaluate")
    rates = {key: found[key] for key in ("success_rate", "trials", "wilson_low", "wilson_high")}
    return {**rates, "controls": tour.journal.result("controls")["rows"], "stages": stages,
            "total_seconds": round(sum(stage["seconds"] for stage in stages), 1),
            "ok": all(stage["ok"] for stage in stages)}


def write_page(tour: Tour) -> dict:
    """Writes report.html, from the stages before this one."""
    found = {name: tour.journal.result(name) for name in STAGES}
    page = _page(tour, found, summarize_tour(tour))
    (tour.folder / "report.html").write_text(page.html(), encoding="utf-8")
    return {}


def write_summary(tour: Tour) -> dict:
    """Writes report.json."""
    content = summarize_tour(tour)
    write_json(tour.folder / "report.json", content)
    return content


def _page(tour: Tour, found: dict, content: dict) -> Page:
    look, worked = found["look"], found["evaluate"]["successes"]
    page = Page(f"It worked in {worked} of {content['trials']} unseen scenes",
                f"A small SmolVLA learned from {look['episodes']} demonstrations, hears “{look['tasks'][0]}” and "
                "moves an emulated SO-101 through its real driver and safety envelope. Everything below happened "
                f"on this computer, in {duration(content['total_seconds'])}.", content["ok"],
                "it works" if content["ok"] else "not good enough yet")
    _verdict(page, tour, found, content)
    page.section("How the time was spent", "One stage after the other.", timeline(content["stages"]))
    _arm(page, tour, found)
    _data(page, tour, found)
    _training(page, tour, found)
    page.section("What to do next", "", listing(NEXT_STEPS))
    return page


def _verdict(page: Page, tour: Tour, found: dict, content: dict) -> None:
    films = [video(tour.film(name), f"Film of the arm: {name}", caption)
             for name, caption in FILMS.items() if tour.film(name).exists()]
    page.section("Does it work?",
                 f"In {content['success_rate']:.0%} of scenes that training never saw. With {content['trials']} trials "
                 f"the true rate lies between {content['wilson_low']:.0%} and {content['wilson_high']:.0%} (95 % "
                 f"Wilson interval); the tour asks for {tour.settings.min_success:.0%}. None of these scenes was "
                 f"demonstrated. The safety envelope changed {found['evaluate']['limited']:.1%} of the commands.",
                 *films,
                 picture(gallery.coverage(tour),
                         "Map of the cube's places in demonstrations and in trials that worked or failed"))
    rates = ", ".join(f"{row['name'].replace('_', ' ')} {row['success_rate']:.0%}" for row in gallery.rates(tour))
    page.section("Is it the learning?",
                 "The same scenes with one vital part missing. Each of these faults loads, runs and raises no error; "
                 f"only trials show it. Each must do at least {100 * tour.settings.min_gap:.0f} points worse.",
                 picture(gallery.controls(tour), f"Bars of success rates: {rates}"))


def _arm(page: Page, tour: Tour, found: dict) -> None:
    page.section("The arm is found and checked",
                 "Six emulated servos answer the driver that a real arm uses, byte by byte, on a port of the operating "
                 "system.",
                 _checks(found["check"]["report"]))
    page.section("The arm is calibrated",
                 "Each servo's horn was screwed on at an angle that nobody wrote down. The routine holds the arm in "
                 "its middle pose, sweeps every joint, and stores offsets and ranges in servos and file. Worst "
                 f"error against the drawing: {found['calibrate']['worst_error_deg']:.2f} deg.",
                 picture(gallery.calibration(tour),
                         "Bars of the six joints' ranges within one turn of 4096 ticks; wrist_roll has the whole turn"))


def _data(page: Page, tour: Tour, found: dict) -> None:
    look, recording = found["look"], found["record"]
    page.section("The demonstrations",
                 f"{look['episodes']} episodes with {look['frames']} frames at 10 Hz, recorded under the profile "
                 f"“{recording['profile']}”, as the policy will run. A scripted expert stumbles on purpose now and "
                 "then; what it should have done is recorded, so that the policy learns the way back. The envelope "
                 f"changed {recording['limited']:.1%} of the commands; {recording['failed']} failed attempts were "
                 "thrown away.",
                 picture(gallery.first_pictures(tour),
                         "First front-camera pictures of twelve episodes: cube, box and light vary"),
                 picture(gallery.strip(tour),
                         "Six moments of one episode, seen by the front camera and by the wrist camera"),
                 picture(gallery.traces(tour),
                         "Six joint positions of one episode over time, measured and as they should be next"),
                 _checks(look["checks"]))


def _training(page: Page, tour: Tour, found: dict) -> None:
    train = found["train"]
    page.section("The policy learns",
                 f"{train['parameters'] / 1e6:.1f} million numbers, {train['steps']} steps, "
                 f"{duration(train['seconds'])}. A low loss is necessary, not sufficient: trials are what counts.",
                 picture(gallery.learning(tour), "Training loss falling over the steps, on a logarithmic scale"))


def _checks(report: dict) -> str:
    rows = [["✓" if c["ok"] else "✗", c["name"], c["found"]] for c in report["checks"]]
    red = [f"{c['code']} {c['name']}: expected {c['expected']}. Likely cause: {c['cause']}. Next: {c['next_step']}"
           for c in report["checks"] if not c["ok"]]
    return table(["", "check", "found"], rows) + (listing(red) if red else "")
