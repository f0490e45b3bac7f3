"""The quality card of a dataset: one page to print, and the same for programs.

    card = quality_card("datasets/sick")
    Path("card.html").write_text(card.html(), encoding="utf-8")               # one file, under 3 MB, no network
    card.as_dict()["findings"][0]                  # {"code": "SK426", "level": "red", "episodes": [4]}

What is wrong comes first, each with its picture, its likely cause and what to do; then what is worth knowing.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.checks import pictures
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.data.checks.motion import NAMED, lag_ms
from smolkit.data.checks.sense import findings_of
from smolkit.data.checks.structure import structure_checks
from smolkit.data.figures import contact_sheet
from smolkit.data.hub import dataset_folder
from smolkit.data.reader import Dataset
from smolkit.page import Page, picture, table, terms, tiles
from smolkit.plotting import use_style
from smolkit.report import Check, Report, SmolkitError

MOST_BYTES = 2_400_000                             # of pictures; the page stays under 3 MB
MARKS = {"red": "✗", "remark": "•", "green": "✓"}


@dataclass(frozen=True)
class QualityCard(Report):
    """A report that also knows episodes and pictures; `evidence` is None where the rows cannot be read."""

    findings: tuple[Finding, ...] = ()
    evidence: Evidence | None = None

    def of(self, level: str) -> list[Finding]:
        """The findings that are "red", a "remark" or "green"."""
        return [finding for finding in self.findings if finding.level == level]

    def facts(self) -> dict[str, str]:
        """Sizes at a glance: what -> how much."""
        e = self.evidence
        if e is None:
            return {}
        cameras = [e.dataset.info.features[key].hwc() for key in e.cameras.values()]
        sizes = " and ".join(sorted({f"{width} x {height}" for height, width, _ in cameras}))
        minutes, seconds = divmod(round(float(e.duration_s.sum())), 60)
        return {"episodes": str(len(e)), "frames": f"{len(e.dataset):,}",
                "min of recording": f"{minutes}:{seconds:02d}", "frames a second": str(e.fps),
                f"camera{'s' * (len(cameras) != 1)} {sizes}": str(len(cameras)),
                "joints": str(len(e.names)), f"instruction{'s' * (len(set(e.tasks)) > 1)}": str(len(set(e.tasks)))}

    def as_dict(self) -> dict[str, Any]:
        """The report with the facts, and with each check's level and episodes."""
        findings = [{"code": finding.check.code, "name": finding.check.name, "level": finding.level,
                     "episodes": list(finding.episodes)} for finding in self.findings]
        return {**super().as_dict(), "facts": self.facts(), "findings": findings}

    def html(self) -> str:
        """The page; pictures beyond its size are left out, of the least urgent findings first."""
        red, remarks = self.of("red"), self.of("remark")
        verdict = f"{len(red)} of {len(self.findings)} checks red" if red else "nothing wrong found"
        page = Page(Path(self.title).name, _subtitle(self.evidence), not red, verdict)
        rows = [[MARKS[f.level], f.check.name, f.check.found] for f in (*red, *remarks)]
        page.section("At a glance", "", tiles(self.facts()), table(["", "check", "found"], rows) if rows else "")
        room = MOST_BYTES
        for finding in (*red, *remarks):
            drawn = picture(finding.figure(), finding.alt) if finding.draw and room > 0 else ""
            room -= len(drawn)
            page.section(finding.check.name, "", _words(finding), drawn, note=finding.check.code,
                         kind="remark" if finding.remark else "bad")
        for heading, text, draw in _tour(self.evidence) if self.evidence else ():
            with use_style():
                drawn = picture(draw(), text) if room > 0 else ""
            room -= len(drawn)
            page.section(heading, text, drawn)
        page.section("All that was asked", "", table(["", "check", "found"], [
            [f"{MARKS[f.level]} {f.check.code}", f.check.name, f.check.found] for f in self.findings]), kind="long")
        return page.html()


def quality_card(path: str | Path, files: bool = True) -> QualityCard:
    """Asks a dataset, a folder or a name on the Hub, everything; without `files` only what its rows and pictures say.

    Where its rows cannot be read, that is a red finding among those of its files. Raises SmolkitError where
    meta/info.json cannot be read either.
    """
    root, first = dataset_folder(path), []
    if files:
        first = [Finding(check) for check in structure_checks(root)]
    try:
        with closing(Dataset(root)) as dataset:
            evidence = Evidence(dataset)
            return _card(path, [*first, *findings_of(evidence)], evidence)
    except SmolkitError as error:
        if not files:
            raise
        lost = Check(error.code, "sense", False, error.expected, f"not asked: {error.found}", error.cause,
                     error.next_step)
        return _card(path, [*first, Finding(lost)])


def _card(path: str | Path, findings: list[Finding], evidence: Evidence | None = None) -> QualityCard:
    return QualityCard(f"dataset {path}", tuple(finding.check for finding in findings), tuple(findings), evidence)


def _subtitle(e: Evidence | None) -> str:
    if e is None:
        return "Its rows cannot be read: only its files were looked at."
    tasks = Counter(e.tasks).most_common(3)
    said = ", ".join(f"“{task}” ({count})" for task, count in tasks) + ", ..." * (len(set(e.tasks)) > 3)
    return f"{e.dataset.info.robot_type or 'An arm'}: {said}. Joints in {e.unit.name}: {e.unit.why}."


def _words(finding: Finding) -> str:
    check, pairs = finding.check, {"found": finding.check.found, "expected": finding.check.expected}
    if len(finding.episodes) > NAMED:              # the check's own line names those before
        pairs["episodes"] = ", ".join(map(str, finding.episodes[:40])) + ", ..." * (len(finding.episodes) > 40)
    return terms({**pairs, "likely cause": check.cause, "what to do": check.next_step})


def _tour(e: Evidence) -> list[tuple[str, str, Any]]:
    """What a healthy dataset looks like, too."""
    found = []
    if e.cameras:
        camera, chosen = next(iter(e.cameras)), np.linspace(0, len(e.looked) - 1, min(18, len(e.looked))).round()
        firsts = [e.pictures[camera][e.looked[int(rank)]][0] for rank in chosen]
        found += [("First pictures", f"How {len(firsts)} of the episodes begin, as {camera} sees it.",
                   partial(contact_sheet, firsts)),
                  ("Where things lie", "Bright is where first pictures differ: there the things lay.",
                   partial(pictures.coverage, e))]
    if e.state:
        way = np.array([np.abs(np.diff(part, axis=0)).sum() for part in e.state])
        usual = int(np.abs(e.duration_s - np.median(e.duration_s)).argmin())
        found += [("A usual episode", "Its joints over time: where the arm was (solid), what it was told (dashed).",
                   partial(pictures.joints, e, usual)),
                  ("Where it sets out", "Each dot is an episode's first pose; the number says how far they spread.",
                   partial(pictures.starts, e, np.array([part[0] for part in e.state]))),
                  ("All episodes", "Each dot is an episode: how long it took, and how far all joints went together.",
                   partial(pictures.scatter, e, way, np.zeros(len(e), bool)))]
    if e.action and np.isfinite(lag_ms(e.action[usual], e.state[usual], 1000 / e.fps)):
        found.append(("How the arm follows", "The correlation of action and state, when the state is shifted back: its "
                      "top is the lag. Grey: other episodes.", partial(pictures.lag, e, usual)))
    return found
