"""What only a policy's answers tell: does noise become motion, do cameras, state and sentence matter?

    >>> from smolkit.smolvla.fake import tiny_policy
    >>> from smolkit.smolvla.moments import simulated
    >>> policy = tiny_policy()                                   # untrained
    >>> moments = simulated(policy.model.config.cameras, 48, 64)
    >>> [check.ok for check in check_behaviour(policy, moments, "rendered scenes")]
    [False, False, False, False]

The yardstick is the policy's own sampling noise (`smolkit.smolvla.probes`), so that no threshold knows a robot's
units. Eighteen policies, trained on simulated demonstrations for 150 to 2400 steps in eight shapes, and the
untrained ones of three stand behind the thresholds; what was measured is told beside each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from smolkit.report import Check
from smolkit.smolvla.moments import Moment
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.probes import Probe, moved, roughness, shown, spread, swapped, unlike

# Plans of untrained networks lie 1.5 apart (noise of size 1 against noise of size 1); trained ones measured 0.2 to 0.6.
MOST_SPREAD, MOST_ROUGHNESS = 0.9, 0.8
# `moved`: untrained networks measured up to 0.21; of trained ones the change that counts most 0.4 to 12, a camera
# that a policy hardly needs 0.01. Exactly 0 where nothing of a picture arrives.
LEAST_LOOK, NOTHING = 0.3, 0.001
# With each joint one spread further: untrained networks moved by 0.02 to 0.05, trained ones by 0.41 to 6.2.
LEAST_STATE = 0.1
# `unlike`: 1.00 to 1.02 of untrained networks. Below 1.2 nobody could tell from the motion which sentence was said.
DEAF, LISTENS = 1.2, 2.0
SWAP_FITS = 0.8                    # of the error: the cameras' cables exchanged explain the recording better


def check_behaviour(policy: SmolVLAPolicy, moments: tuple[Moment, ...], source: str) -> Iterator[Check]:
    """Asks the policy about every moment; `source` says in what was found where the pictures come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # an instruction that is cut has its own check
        probe = Probe(policy)
        plans = [probe.plans(moment.observation) for moment in moments]
        yield check_motion(plans, source)
        yield check_cameras(probe, moments, plans, source)
        if moments[0].actions is not None and len(probe.cameras) > 1:
            yield check_places(probe, moments, plans)
        yield check_state(probe, moments[0], plans[0], source)
        yield check_language(probe, moments, source)


def check_motion(plans: list[Tensor], source: str) -> Check:
    """Does the expert turn noise into motion? Plans must be smooth, and closer together than the noise was."""
    apart = float(np.median([spread(one) / one[0].numel() ** 0.5 for one in plans]))
    rough = float(np.median([roughness(one) for one in plans]))
    return Check("SK581", "noise becomes motion", apart < MOST_SPREAD and rough < MOST_ROUGHNESS,
                 f"plans less than {MOST_SPREAD:g} spreads apart, in steps below {MOST_ROUGHNESS:g} of the plan",
                 f"{apart:.2f} apart, steps of {rough:.2f}; noise alone: 1.41 and 1.41 ({source})",
                 "the expert is untrained, or training stopped after a few steps",
                 "look at the loss curve: it should have fallen below a third of where it began")


def check_cameras(probe: Probe, moments: tuple[Moment, ...], plans: list[Tensor], source: str) -> Check:
    """Do the pictures matter? Each camera behind a cap, with another moment's picture, and exchanged with another."""
    effects = {name: 0.0 for name in probe.cameras}
    for i, (moment, plan) in enumerate(zip(moments, plans, strict=True)):
        other = moments[(i + 1) % len(moments)].observation.images
        for name in probe.cameras:
            changed = (shown(moment.observation, name), shown(moment.observation, name, other[name]))
            effects[name] = max(effects[name], *(moved(plan, probe.plans(one)) for one in changed))
    swap = [moved(plan, probe.plans(swapped(moment.observation, *pair)))
            for pair in combinations(probe.cameras, 2) for moment, plan in zip(moments, plans, strict=True)]
    strongest, unseen = max([*effects.values(), *swap]), [name for name, effect in effects.items() if effect < NOTHING]
    listed = ", ".join(f"{_role(name)} {effect:.2f}" for name, effect in effects.items())
    return Check("SK577", "cameras matter", strongest >= LEAST_LOOK and not unseen,
                 f"other pictures move the plan by {LEAST_LOOK:g} of what noise does; each camera's by {NOTHING:g}",
                 f"{listed}{f', exchanged {max(swap):.2f}' if swap else ''} ({source})",
                 "the eyes are random or frozen untrained, a camera was missing or black in the training data, or the "
                 "state alone told what to do next", "look at the data's pictures; train where the scene differs")


def check_places(probe: Probe, moments: tuple[Moment, ...], plans: list[Tensor]) -> Check:
    """Would the recording be understood better if two cameras were exchanged?"""
    normalizer = probe.policy.processors.normalizer
    done = [normalizer.apply("action", torch.tensor(m.actions).float())[:probe.horizon] for m in moments]

    def error(answers: list[Tensor]) -> float:
        return float(np.mean([(one.mean(0)[:len(true)] - true).square().mean() for one, true in zip(answers, done,
                                                                                                strict=True)]))
    straight = error(plans)
    crossed = {pair: error([probe.plans(swapped(m.observation, *pair)) for m in moments])
               for pair in combinations(probe.cameras, 2)}
    best = min(crossed, key=crossed.__getitem__)
    return Check("SK584", "cameras in their places", crossed[best] > SWAP_FITS * straight,
                 "recorded actions are predicted best with the cameras as they are",
                 f"error {straight:.2f}; with {_role(best[0])} and {_role(best[1])} exchanged {crossed[best]:.2f}",
                 "the cameras' names were exchanged between this recording and the training data",
                 "give a rename map, or exchange the names in the kit file")


def check_state(probe: Probe, moment: Moment, plan: Tensor, source: str) -> Check:
    """Does the arm's state matter? The same moment with every joint one spread of the statistics further."""
    effect = moved(plan, probe.plans(moment.observation, shift=1.0))
    return Check("SK587", "state matters", effect >= LEAST_STATE,
                 f"a state one spread further moves the plan by {LEAST_STATE:g} of what noise does",
                 f"{effect:.2f} ({source})",
                 "the state's matrix is zero or was never trained, or the state was constant in the training data",
                 "look at observation.state in the data; train with train_state_proj: true")


def check_language(probe: Probe, moments: tuple[Moment, ...], source: str) -> Check:
    """Does the sentence matter? Plans for several sentences, over plans for one of them.

    1: another sentence does no more than another roll of the dice. 2 and more: one sees which sentence was said.
    Between: weak, the words tilt the plan. The strongest moment and kind of sentence counts: with the cube in the
    gripper little is left to decide, and a policy that learned to pick up need not know of boxes. Nobody noted what
    this one learned? Then common sentences are said; a small model may answer words it never heard, at random.
    """
    groups = [(moment, group) for moment in moments for group in moment.sentences if len(group) > 1]
    ratios = [_sentence_ratio(probe, moment, group) for moment, group in groups]
    if not ratios:
        return Check("SK578", "language matters", True, "two instructions", "one instruction: nothing to tell apart")
    ratio, count = max(ratios), len({sentence for _, group in groups for sentence in group})
    weight = "clear" if ratio >= LISTENS else "weak" if ratio >= DEAF else "deaf"
    return Check("SK578", "language matters", ratio >= DEAF,
                 f"plans for other instructions {DEAF:g} times as far apart as noise makes them, better {LISTENS:g}",
                 f"{ratio:.2f} times with {count} instructions: {weight} ({source})",
                 "the data had one instruction, or the pictures told what to do: it learned to ignore words",
                 "record scenes where only the instruction decides: two things on the table, each asked for as often")


def _sentence_ratio(probe: Probe, moment: Moment, sentences: tuple[str, ...]) -> float:
    plans = [probe.plans(replace(moment.observation, task=sentence)) for sentence in sentences]
    return float(np.median([unlike(one, other) for one, other in combinations(plans, 2)]))


def _role(camera: str) -> str:
    return camera.rpartition(".")[2]
