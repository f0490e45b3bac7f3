"""Is this recording worth learning from? Whatever arm, cameras and recorder: what is there is looked at.

    from smolkit.data.reader import Dataset
    for finding in sense_findings(Dataset("my_recording")):
        print(finding.check.text(), finding.episodes)

A check is red where the data would teach something wrong, and a remark (green) where somebody should know it. What
a dataset does not have (cameras, actions, moments) is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from smolkit.data.checks import motion, scenes, variety
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.data.reader import Dataset
from smolkit.report import Check, Report, SmolkitError

CHECKS: dict[Callable[[Evidence], Iterable[Finding]], tuple[str, ...]] = {
    motion.within_limits: ("SK421",), motion.every_joint_moves: ("SK422", "SK488"), motion.steady_pace: ("SK423",),
    motion.no_pauses: ("SK426",), motion.leads: ("SK427",), motion.no_offset: ("SK475",),
    motion.gripper_closes: ("SK476",), motion.smooth: ("SK484",), motion.no_jumps: ("SK485",),
    variety.known_units: ("SK478", "SK429"), variety.no_copies: ("SK479",), variety.no_outliers: ("SK482", "SK483"),
    variety.starts: ("SK486",), variety.balance: ("SK480", "SK425"), variety.words_matter: ("SK481",),
    scenes.alive: ("SK424",), scenes.lit: ("SK470", "SK471"), scenes.in_place: ("SK472",),
    scenes.not_swapped: ("SK473", "SK474"), scenes.scenes_differ: ("SK428",)}
ANY_RECORDING = ("SK421", "SK422", "SK423", "SK424")
OWN_RECORDING = (*ANY_RECORDING, "SK425", "SK426", "SK427", "SK428", "SK429")


def sense_findings(dataset: Dataset, only: Collection[str] = ()) -> tuple[Finding, ...]:
    """Every sense check's finding; `only` names the codes that are asked."""
    return findings_of(Evidence(dataset), only)


def findings_of(evidence: Evidence, only: Collection[str] = ()) -> tuple[Finding, ...]:
    """The same of evidence that was gathered before. Pictures that cannot be read are one red finding."""
    found, lost = [], {}
    for ask, codes in CHECKS.items():
        try:
            found += ask(evidence) if not only or set(codes) & set(only) else ()
        except SmolkitError as error:
            lost[error.found] = Finding(Check(error.code, "pictures", False, error.expected, error.found, error.cause,
                                              error.next_step))
    return (*(f for f in found if not only or f.check.code in only), *lost.values())


def sense_checks(dataset: Dataset, only: Collection[str] = ()) -> tuple[Check, ...]:
    """The same as plain checks."""
    return tuple(finding.check for finding in sense_findings(dataset, only))


def demonstrations(root: Path | str, least: int = 4) -> Report:
    """What a person's own demonstrations must be before a policy may learn from them: no remark is let pass."""
    with closing(Dataset(root)) as dataset:
        found = sense_findings(dataset, OWN_RECORDING)
        checks = (replace(f.check, ok=f.check.ok and not f.remark) for f in found)
        return Report("the demonstrations", (count(len(dataset.episodes), least), *checks))


def count(episodes: int, wanted: int) -> Check:
    """Are there so many episodes, at least?"""
    return Check("SK420", "demonstrations", episodes >= wanted, f"{wanted} episodes", f"{episodes} episodes",
                 "the recording was interrupted", "run it again: it goes on where it stopped")
