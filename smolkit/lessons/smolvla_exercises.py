"""Checks for the exercises of `notebooks/05_inside_smolvla.ipynb`: one line of text each, never an exception.

    >>> print(check_sees(lambda real, begins: None))
    Exercise 5.1: not attempted yet
    >>> print(check_walk(lambda noise, steps, velocity: noise))
    Exercise 5.2: not yet. In 4 steps `velocity` is asked 4 times; you asked 0 times
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.lessons import grammar
from smolkit.lessons.grammar import Exercise, is_number
from smolkit.lessons.smolvla_desk import Desk, changes
from smolkit.lessons.smolvla_hunt import FAULTS, SIGNS, Patient, healthy, vital_signs

SEES, WALK, EFFECTS, HUNT, PASSPORT = (Exercise(f"5.{n}") for n in (1, 2, 3, 4, 5))
CHANGES = ("one other word", "no words", "front covered", "wrist covered", "cameras exchanged", "joints unknown")

# -- 5.1: who may see whom -------------------------------------------------------------------------------------------

ROWS = ([(1, 1, 0, 1, 1), (0, 0, 0, 1, 1)], [(1, 1, 1, 1, 1, 1), (0, 0, 0, 1, 1, 1)], [(0, 1, 1, 1), (0, 0, 1, 0)],
        [(1, 1, 1, 1, 1, 0), (0, 1, 0, 0, 1, 0)])


def check_sees(sees: Callable[[list[bool], list[bool]], Sequence | None]) -> str:
    """Exercise 5.1: the mask rule, over several small rows of tokens."""
    cases = [tuple([bool(flag) for flag in flags] for flags in row) for row in ROWS]
    return SEES.judge(sees, cases, _wrong_mask, "This is every mask of the policy, at every size")


def right_mask(real: Sequence[bool], begins: Sequence[bool]) -> np.ndarray:
    """(S, S) by the package's own rule."""
    import torch

    from smolkit.smolvla.attention import block_mask
    return block_mask(torch.tensor([real]), torch.tensor([begins]))[0].numpy()


def _wrong_mask(given: Any, real: list[bool], begins: list[bool]) -> str:
    try:
        mask = np.array(given).astype(bool)
    except (TypeError, ValueError):
        return "Rows of True and False, please, all of one length"
    size, right = len(real), right_mask(real, begins)
    if mask.shape != (size, size):
        return f"{size} tokens make {size} rows of {size}; yours has the shape {mask.shape}"
    if (mask == right).all():
        return ""
    stage, both = np.cumsum(begins), np.outer(real, real)
    query, key = np.argwhere(mask != right)[0]
    usual = (((stage[None] >= stage[:, None]) & both, "You have query and key the wrong way round: a row is who looks"),
             ((stage[None] < stage[:, None]) & both, "Tokens of the same stage see each other, and themselves"),
             (both, "All stages see all: later stages must be hidden"),
             (np.tri(size, dtype=bool) & both, "Stages count, not places: pictures and words see each other both ways"),
             ((stage[None] == stage[:, None]) & both, "Earlier stages are seen, too"),
             (stage[None] <= stage[:, None], "Nobody sees padding, and padding sees nobody"),
             ((stage[None] <= stage[:, None]) & np.array(real)[None], "Padding must not look, either"),
             ((stage[None] <= stage[:, None]) & np.array(real)[:, None], "Padding must not be seen, either"))
    hint = next((words for other, words in usual if (mask == other).all()), "")
    told = f"Token {query} {'may' if right[query, key] else 'must not'} see token {key}"
    return f"real {_flags(real)}, begins {_flags(begins)}: {told}. {hint or 'Count stages first, with a running sum'}"


def _flags(flags: Sequence[bool]) -> str:
    return "".join(str(int(flag)) for flag in flags)


# -- 5.2: the walk ---------------------------------------------------------------------------------------------------


def check_walk(walk: Callable) -> str:
    """Exercise 5.2: from noise at t = 1 to an answer at t = 0 in equal steps."""
    cases = [(np.array([[2.0, -1.0], [0.5, 3.0]]), steps) for steps in (4, 1, 10, 3)]
    return WALK.judge(lambda noise, steps: _watched(walk, noise, steps), cases, _wrong_walk,
                      "Ten lines further and you have the whole sampler")


def _bent(x: np.ndarray, t: float) -> np.ndarray:
    """A velocity that depends on both, so that each usual mistake ends elsewhere."""
    return 0.7 * x + np.sin(3 * t + x[..., ::-1]) + t


def _watched(walk: Callable, noise: np.ndarray, steps: int) -> tuple[Any, list[float], bool] | None:
    """The end, the times that `velocity` was asked for, and whether the noise is as it was."""
    asked: list[float] = []
    mine = noise.copy()

    def velocity(x: np.ndarray, t: float) -> np.ndarray:
        asked.append(float(t))
        return _bent(np.asarray(x, float), float(t))

    end = walk(mine, steps, velocity)
    return None if end is None else (end, asked, bool((mine == noise).all()))


def _wrong_walk(given: tuple[Any, list[float], bool], noise: np.ndarray, steps: int) -> str:
    end, asked, untouched = given
    if len(asked) != steps:
        return f"In {_counted(steps, 'step')} `velocity` is asked {_counted(steps, 'time')}; you asked " \
               f"{_counted(len(asked), 'time')}"
    times = 1 - np.arange(steps) / steps
    if not np.allclose(asked, times, atol=1e-6):
        return _wrong_times(asked, times)
    if not untouched:
        return "You changed `noise` itself (x -= ... works in place): whoever called you still needs it"
    if np.shape(end) != noise.shape:
        return f"The end has the noise's shape, {noise.shape}; yours has {np.shape(end)}"
    right = _walk(noise, steps, -1 / steps)
    if np.allclose(np.asarray(end, float), right, atol=1e-6):
        return ""
    usual = ((_walk(noise, steps, 1 / steps), "You walk toward noise: the velocity points there, so subtract it"),
             (_walk(noise, steps, -1.0), "Each step is 1 / steps long"),
             (noise - _bent(noise, 1.0) / steps, "Ask for the velocity where you stand *now*, not where you began"))
    hint = next((words for other, words in usual if np.allclose(end, other, atol=1e-6)), "")
    return f"With {_counted(steps, 'step')} you end elsewhere. {hint or 'x becomes x - velocity(x, t) / steps'}"


def _wrong_times(asked: list[float], times: np.ndarray) -> str:
    told = f"You asked at t = {', '.join(f'{t:.2f}' for t in asked[:4])}; "
    if np.allclose(asked, 1 - times, atol=1e-6) or np.allclose(asked, np.arange(1, len(times) + 1) / len(times)):
        return told + "noise is at t = 1, and the walk begins there"
    if np.allclose(asked, times - 1 / len(times), atol=1e-6):
        return told + "that is each step's end: ask where it begins, the first time at t = 1"
    if np.allclose(asked, np.linspace(1, 0, len(times)), atol=1e-6) and len(times) > 1:
        return told + "the last step begins at 1 / steps, and ends at 0"
    return told + "it should be 1, then one step's length less each time"


def _walk(noise: np.ndarray, steps: int, factor: float) -> np.ndarray:
    x = noise
    for step in range(steps):
        x = x + factor * _bent(x, 1 - step / steps)
    return x


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


# -- 5.3: effect sizes -----------------------------------------------------------------------------------------------


def check_effects(prediction: Any) -> str:
    """Exercise 5.3: a guess for each change, in units of what noise alone does; any honest number passes."""
    return grammar.check_prediction(EFFECTS, prediction, CHANGES, 0, 100)


def compare_effects(prediction: Any, effects: Mapping[str, float]) -> str:
    """The guesses beside what was measured; the worst one first."""
    if "pass" not in check_effects(prediction):
        return "No prediction was made, so nothing can surprise you. Exercise 5.3 is a few cells up."
    worst_first = sorted(CHANGES, key=lambda name: -abs(np.log((prediction[name] + 0.1) / (effects[name] + 0.1))))
    return "\n".join(f"{name}: {effects[name]:.1f}, you said {prediction[name]:g}" for name in worst_first)


# -- 5.4: the hunt ---------------------------------------------------------------------------------------------------


def check_hunt(diagnosis: Any, patient: Patient) -> str:
    """Exercise 5.4: what is wrong with the policy, and the vital sign that shows it."""
    if unfilled := HUNT.unfilled(diagnosis, ("fault", "evidence")):
        return unfilled
    fault, evidence = diagnosis["fault"], diagnosis["evidence"]
    if fault not in list(FAULTS):                  # a list: what a learner wrote may have no hash
        return HUNT.not_yet(f"fault is one of: {', '.join(FAULTS)}")
    signs, well = vital_signs(patient.policy), vital_signs(healthy())
    if fault != patient.fault:
        sign = SIGNS[fault]
        return HUNT.not_yet(f"Of a policy with that fault one would expect another {sign!r}: the patient has "
                            f"{signs[sign]:.2f}, a healthy one {well[sign]:.2f}. Which sign is furthest off?")
    sign = SIGNS[fault]
    if not is_number(evidence) or abs(evidence - signs[sign]) > max(0.1 * abs(signs[sign]), 0.05):
        return HUNT.not_yet("Right. But which sign shows it? evidence is the patient's number in that line, not the "
                            "healthy one's")
    return HUNT.passed(f"{sign}: {signs[sign]:.2f}, and {well[sign]:.2f} in a healthy policy")


# -- 5.5: a passport -------------------------------------------------------------------------------------------------

COUNTED = ("parameters", "prefix_tokens", "chunk_steps", "euler_steps")
NEAR = 0.35                                    # of the word effect: other draws of noise give other medians


def check_passport(make_passport: Callable[[Desk, Path], Path | None], desk: Desk, folder: Path) -> str:
    """Exercise 5.5: a file that says what a checkpoint is, and how far one word moves it."""
    given, wrong = PASSPORT.call(make_passport, desk, folder)
    if wrong or given is None:
        return wrong or PASSPORT.not_attempted
    try:
        passport = json.loads(Path(given).read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError) as error:
        return PASSPORT.not_yet(f"Return the path of a JSON file that can be read ({type(error).__name__})")
    if not isinstance(passport, dict) or (missing := [key for key in (*COUNTED, "word_effect") if key not in passport]):
        return PASSPORT.not_yet("The file should hold one object, with "
                                f"{', '.join(missing if isinstance(passport, dict) else (*COUNTED, 'word_effect'))}")
    hint = _passport_hint(passport, desk)
    return PASSPORT.not_yet(hint) if hint else PASSPORT.passed(_meaning(passport["word_effect"]))


def _passport_hint(passport: Mapping[str, Any], desk: Desk) -> str:
    model = desk.policy.model
    batch = desk.policy.processors.before(desk.policy.batch([desk.moments[0].observation]))
    right = {"parameters": sum(weight.numel() for weight in model.parameters()),
             "prefix_tokens": model.encode(batch).tokens.shape[1], "chunk_steps": model.config.chunk_size,
             "euler_steps": model.config.num_steps}
    for key in COUNTED:
        if not is_number(passport[key]) or passport[key] != right[key]:
            return _count_hint(key, passport[key], right[key], model)
    return _effect_hint(passport["word_effect"], desk)


def _count_hint(key: str, given: Any, right: int, model: Any) -> str:
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    usual = {"parameters": ((trained, "you count those that training changes"),
                            (len(list(model.parameters())), "those are tensors; count their numbers, numel()"),
                            (right / 1e6, "all of them, please, not millions")),
             "prefix_tokens": ((model.backbone.text.width, "that is how long one token is"),
                               (right - 1, "the state is one, too"),
                               (right + model.config.chunk_size, "the chunk is not part of the prefix")),
             "chunk_steps": ((model.config.n_action_steps, "those are executed; how many are predicted?"),),
             "euler_steps": ((model.config.chunk_size, "those are steps of the chunk, not of the walk"),)}[key]
    near = next((words for other, words in usual if is_number(given) and abs(given - other) < 0.006), "count again")
    return f"{key} is {given!r} in your file: {near}"


def _effect_hint(given: Any, desk: Desk) -> str:
    from smolkit.smolvla.ablations import ablate
    if not is_number(given):
        return f"word_effect is a number, not {given!r}"
    one = changes(desk.policy, desk.observations[0])["one other word"]
    effect, = ablate(desk.policy, desk.observations[:3], {"one other word": one})
    if abs(given - effect.size) <= NEAR * effect.size + 0.1:
        return ""
    if abs(given - effect.moved) < 0.1 * effect.moved:
        return "word_effect is `size`, in units of what noise does; yours is `moved`"
    return f"word_effect: you give {given:.2f}, measured on the same three moments it is {effect.size:.2f}"


def _meaning(word_effect: float) -> str:
    if word_effect >= 2:
        return "It listens: a word moves the plan further than the dice do"
    return "Take note: a word moves its plan hardly further than the dice do; it may not listen at all"
