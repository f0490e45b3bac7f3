"""Are these still the cameras of the passports, in their places, and do they see? Run before every session.

    >>> import numpy as np
    >>> from smolkit.cameras.passport import take_passport
    >>> noise = np.random.default_rng(0).integers(60, 200, (15, 20, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    >>> frames = [Frame(noise, i / 10, i + 1, str(i)) for i in range(5)]
    >>> passport = take_passport(CameraRole("front", 240, 320, fps=10), frames)
    >>> dark = [Frame(frame.image // 8, frame.captured_s, frame.index, frame.digest) for frame in frames]
    >>> [check.name for check in check_cameras({"front": dark}, {"front": passport}).red()]
    ['front is lit']

Each limit stands beside what was measured for it on 120 simulated benches (240 x 320 px) with random lamps, tints,
things on the table, arm poses and the camera jitter that policies are trained with (front 4 mm and 0.8 deg, wrist 1 mm
and 0.5 deg). `benchmarks/cameras.py` counts the false alarms and what was missed. No real camera was measured yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from smolkit.cameras.camera import CameraRole, Frame
from smolkit.cameras.health import distinct, health_of, print_of
from smolkit.cameras.opencv import STALE_S
from smolkit.cameras.passport import Look, Passport, look_at
from smolkit.cameras.registration import Match, register
from smolkit.report import Check, Report

FROZEN_FRAMES = 10
SLOW = 0.85                        # of the passport's rate
DARK, DARKER = 40.0, 0.4           # grey level, share of the passport's; benches 78 to 163, 35 % of the light 31 to 56
BURNT_SHARE = 0.10                 # of the picture; benches 0, 2.5 times the light 0.24 or more
BLURRED = 0.65                     # of the passport's sharpness; benches 0.77 to 1.22, a blur of 1 px 0.34 to 0.50
# Of a picture 320 px wide. Training's jitter reaches 7.8 px and 1 deg (front), 7.1 px and 3 deg (wrist); 3 deg of turn
# make 15.7 px or more (front), 8.8 or more in 19 of 20 (wrist). The limit of 8.5 px is 1.6 deg, or 1.8 cm on the table,
# for the front camera at 65 cm, and 2.8 deg, or 0.5 cm at 10 cm, for the wrist camera.
MOVED_PX, MOVED_DEG = 8.5, 4.0
ALIKE = 0.25                       # of the match's score; benches 0.34 or more


def check_cameras(live: Mapping[str, Sequence[Frame]], passports: Mapping[str, Passport],
                  now_s: float | None = None) -> Report:
    """Compares each role's newest frames with its passport.

    Args:
        live: role -> frames in the order they came; ten or more, or a frozen camera is not seen as such.
        passports: role -> passport.
        now_s: on the frames' clock, to find a camera that stopped; None for recordings.
    """
    delivered = {role: distinct(frames) for role, frames in live.items() if frames}
    checks = [_roles(sorted(delivered), sorted(passports))]
    for role in sorted(set(delivered) & set(passports)):
        frames, passport = delivered[role], passports[role]
        checks += [_size(passport.role, frames[-1]), _frozen(role, frames)]
        checks += [_stale(role, now_s - frames[-1].captured_s)] if now_s is not None else []
        checks += [_rate(passport, frames)] if len(frames) > 1 else []
        checks += _looks(role, look_at(frames[-1].image), passport.look)
        checks += _place(role, frames[-1], passports)
    return Report("cameras", tuple(checks))


def _roles(delivering: list[str], known: list[str]) -> Check:
    return Check("SK247", "cameras and passports", delivering == known, f"pictures of {', '.join(known)}",
                 f"of {', '.join(delivering) or 'none'}", "a camera is unplugged, or was never given its passport",
                 "plug it in, or take its passport")


def _size(role: CameraRole, frame: Frame) -> Check:
    height, width = frame.image.shape[:2]
    return Check("SK240", f"{role.name} picture size", (height, width) == (role.height_px, role.width_px),
                 f"{role.height_px} x {role.width_px} px", f"{height} x {width} px",
                 "another camera, or another size in the kit file", "set the passport's size, or take a new passport")


def _frozen(role: str, frames: Sequence[Frame]) -> Check:
    run = max(len(list(group)) for _, group in groupby(frames, key=print_of))
    return Check("SK241", f"{role} is alive", run < FROZEN_FRAMES, f"fewer than {FROZEN_FRAMES} equal pictures on end",
                 f"{run} of {len(frames)}", "the camera or its driver hangs and repeats its last picture",
                 "unplug the camera, wait 5 s, plug it in and call camera.reopen()")


def _stale(role: str, age_s: float) -> Check:
    return Check("SK204", f"{role} is up to date", age_s <= STALE_S, f"a picture at most {STALE_S} s old",
                 f"{age_s:.2f} s", "its cable came loose, or its hub has too little power",
                 "plug it in and call camera.reopen(); give it a USB port of its own")


def _rate(passport: Passport, frames: Sequence[Frame]) -> Check:
    health = health_of(frames, passport.role.fps)
    return Check("SK242", f"{passport.role.name} rate", health.fps >= SLOW * passport.fps,
                 f"{SLOW * passport.fps:.1f} fps or more", f"{health.fps:.1f} fps, {health.dropped} dropped",
                 "a long exposure in a dark room, or too many cameras on one hub",
                 "fix the exposure, ask for MJPG, or give each camera a USB port of its own")


def _looks(role: str, now: Look, then: Look) -> Iterator[Check]:
    floor = max(DARK, DARKER * then.brightness)
    yield Check("SK243", f"{role} is lit", now.brightness >= floor, f"brightness {floor:.0f} or more of 255",
                f"{now.brightness:.0f}", "the lamp is off, the lens is covered, or the exposure is too short",
                "switch the lamp on and look at the lens")
    ceiling = max(BURNT_SHARE, 2 * then.burnt)
    yield Check("SK244", f"{role} is not overexposed", now.burnt <= ceiling, f"at most {ceiling:.0%} of it white",
                f"{now.burnt:.0%}", "sun or a lamp shines into the lens, or the exposure is too long",
                "draw the curtain, or shorten the exposure")
    ratio = now.sharpness / max(then.sharpness, 1e-6)
    yield Check("SK245", f"{role} is sharp", ratio >= BLURRED, f"{BLURRED} of the passport's sharpness or more",
                f"{ratio:.2f}", "a finger's print on the lens, a turned focus ring, or the camera shakes",
                "wipe the lens, turn the ring until the table's grain is sharp, tighten the mount")


def _place(role: str, frame: Frame, passports: Mapping[str, Passport]) -> Iterator[Check]:
    matches = {name: register(passport.picture, frame.image) for name, passport in passports.items()}
    best = max(matches, key=lambda name: matches[name].score)
    own, other = matches[role], matches[best]
    yield Check("SK246", f"{role} is no other camera", best == role, f"most like the passport of {role}",
                f"most like that of {best} ({other.score:.2f}, its own {own.score:.2f})",
                "two cameras were swapped, at their sockets or in the kit file",
                f"swap the plugs or the roles of {role} and {best}")
    yield Check("SK248", f"{role} stands where it stood", stands(own),
                f"shift up to {MOVED_PX:.0f} px of 320, under {MOVED_DEG:.0f} deg rolled, likeness {ALIKE} or more",
                f"{own.shift_px:.0f} px, {abs(own.roll_deg):.0f} deg, {own.score:.2f}",
                "the camera or the arm's base was bumped; or it is dark, blurred or covered: mend that first",
                "turn it back with the ghost picture (smolkit.cameras.ghost), or take a new passport and new data")


def stands(match: Match) -> bool:
    """Is this within what a camera's place varies by in training?"""
    return match.shift_px <= MOVED_PX and abs(match.roll_deg) < MOVED_DEG and match.score >= ALIKE
