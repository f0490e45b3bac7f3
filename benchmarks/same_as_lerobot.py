"""Does the real LeRobot compute what we compute, and load what we save, across the space of configurations?

    python -m benchmarks.same_as_lerobot /path/to/lerobot-venv/bin/python --random 40

Each case is a small policy of random weights, saved by us and loaded by LeRobot 0.4.4 (its SigLIP positions put
right). Both get the same recording in robot units: what the preprocessors make of it, the actions, every squared
error, both generations of the loss and every gradient are compared in float32. Then LeRobot saves, and we load.
Some cases also run in the published mixture of bfloat16 and float32: there the last column says how far we are from
LeRobot, measured by how far LeRobot is from its own float32. `--full` adds both published sizes (6 GB, minutes).
Where LeRobot crashes, ours must run or refuse with a code: those cases are listed with LeRobot's complaint. Exit
code 0: all equal.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.lerobot_cases import Case, full_cases, named_cases, random_cases
from benchmarks.lerobot_policy import LeRobot
from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.freezing import freeze
from smolkit.smolvla.names import theirs
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.presets import as_published
from smolkit.smolvla.rtc import RealTimeChunking

CLOSE, LOOSE, RELATIVE = 2e-5, 1e-4, 1e-5      # activations and actions; losses and gradients


@dataclass
class Result:
    """What came out of one case: the largest difference of each kind, and who could not do what."""

    case: Case
    differences: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lerobot_fails: list[str] = field(default_factory=list)
    ours_refuses: str = ""

    def compare(self, kind: str, name: str, ours: Tensor, wanted: Tensor, atol: float) -> None:
        """Notes the largest difference of this kind, and a complaint where it is too large."""
        if ours.shape != wanted.shape:
            self.wrong.append(f"{name}: {tuple(ours.shape)}, LeRobot {tuple(wanted.shape)}")
            return
        ours, wanted = ours.detach().double(), wanted.double()
        difference = (ours - wanted).abs()
        self.differences[kind] = max(self.differences.get(kind, 0.0), difference.max().item())
        if not (difference <= atol + RELATIVE * wanted.abs()).all():                        # a NaN is wrong too
            self.wrong.append(f"{name}: {difference.max():.1e} of {wanted.abs().max():.1e}")

    def text(self) -> str:
        columns = [f"{self.differences[kind]:9.1e}" if kind in self.differences else "        -"
                   for kind in ("batch", "actions", "loss", "gradient", "way back", "mixed")]
        notes = [*self.wrong, *(f"LeRobot fails: {line}" for line in self.lerobot_fails)]
        notes += [f"ours refuses: {self.ours_refuses}"] if self.ours_refuses else []
        return f"{self.case.name:34}{' '.join(columns)}  {'; '.join(notes) or 'equal'}"


def examine(case: Case, lerobot: LeRobot, scratch: Path) -> Result:
    """One case, all questions."""
    result, folder = Result(case), scratch / "ours"
    try:
        save_checkpoint(folder, case.policy())
        policy = load_checkpoint(folder)
        if not actions(policy, before(policy, case), case).isfinite().all():
            result.wrong.append("our actions are not finite")
    except SmolkitError as error:
        result.ours_refuses = str(error).splitlines()[0]
        _does_lerobot(result, lerobot, scratch)
        return result
    save_file(case.recording, scratch / "raw.safetensors")
    if not _failed(result, "to load", lerobot.ask("load", folder=folder, pipelines=True)):
        _act(result, policy, lerobot, scratch)
        for generation in ("main", "0.4.4"):
            _learn(result, policy, lerobot, scratch, generation)
        if case.config.get("rtc_config"):
            _continue_chunk(result, policy, lerobot, scratch)
        _way_back(result, policy, lerobot, scratch)
        if case.mixed:
            _mixed(result, policy, lerobot, scratch)
    return result


def _does_lerobot(result: Result, lerobot: LeRobot, scratch: Path) -> None:
    """What ours refuses to build: can LeRobot build it, and act? On random weights, nothing is compared."""
    case = result.case
    folder = save_checkpoint(scratch / "plain", replace(case, config={}).policy())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **case.config}))
    save_file(case.recording, scratch / "raw.safetensors")
    if not _failed(result, "to load", lerobot.ask("load", folder=folder, pipelines=True, weights=False)):
        _failed(result, "to act", lerobot.ask("act", inputs=scratch / "raw.safetensors", tasks=case.tasks,
                                              out=scratch / "act.safetensors"))


def _act(result: Result, policy: SmolVLAPolicy, lerobot: LeRobot, scratch: Path) -> None:
    """From robot units to robot units, each through its own processors."""
    case, out = result.case, scratch / "act.safetensors"
    batch = before(policy, case)
    if _failed(result, "to act", lerobot.ask("act", inputs=scratch / "raw.safetensors", tasks=case.tasks, out=out)):
        return
    wanted = load_file(out)
    for name in ("observation.state", "action", "observation.language.tokens", "observation.language.attention_mask"):
        result.compare("batch", name, batch[name], wanted[name], CLOSE)
    result.compare("actions", "actions", actions(policy, batch, case), wanted["actions"], CLOSE * case.action_scale)


def _learn(result: Result, policy: SmolVLAPolicy, lerobot: LeRobot, scratch: Path, generation: str) -> None:
    """One forward and backward on the same batch, noise and moments."""
    case, inputs, out = result.case, scratch / "batch.safetensors", scratch / "loss.safetensors"
    batch = {name: value for name, value in before(policy, case).items() if isinstance(value, Tensor)}
    save_file({**batch, **case.draws}, inputs)
    if _failed(result, "to learn", lerobot.ask("loss", inputs=inputs, out=out, generation=generation)):
        return
    wanted = load_file(out)
    freeze(policy.model, "0.4.4")                  # LeRobot's freezing is of this generation whatever the loss
    policy.model.zero_grad()
    ours = policy.model(batch, noise=case.draws["noise"], time=case.draws["time"], generation=generation)
    ours["loss"].backward()
    for name in ("loss", "loss_per_element"):
        result.compare("loss", f"{name} {generation}", ours[name], wanted[name], LOOSE)
    found = {f"grad.{theirs(name)}": weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    for name in found.keys() | {name for name in wanted if name.startswith("grad.")}:
        _compare_gradient(result, name, found.get(name), wanted.get(name))


def _compare_gradient(result: Result, name: str, weight: Tensor | None, wanted: Tensor | None) -> None:
    """A weight that had no part in the loss may have no gradient, or one of zeros."""
    if weight is None:
        result.wrong.append(f"{name}: frozen here, LeRobot trains it")
        return
    none = torch.zeros_like(weight)
    result.compare("gradient", name, none if weight.grad is None else weight.grad,
                   none if wanted is None else wanted, LOOSE)


def _continue_chunk(result: Result, policy: SmolVLAPolicy, lerobot: LeRobot, scratch: Path) -> None:
    """Real-time chunking: three steps pass while we compute, and an old chunk has a say."""
    case, out, delay = result.case, scratch / "rtc.safetensors", 3
    batch = {name: value for name, value in before(policy, case).items() if isinstance(value, Tensor)}
    previous, noise = case.draws["previous"], case.recording["noise_sampling"]
    save_file({**batch, "previous": previous, "noise_sampling": noise}, scratch / "rtc_inputs.safetensors")
    asked = lerobot.ask("sample", inputs=scratch / "rtc_inputs.safetensors", delay=delay, out=out)
    if not _failed(result, "to continue a chunk", asked):
        rtc = RealTimeChunking.from_config(case.config["rtc_config"], previous, delay)
        ours = policy.model.sample_actions(batch, noise=noise, rtc=rtc)
        result.compare("actions", "real-time chunking", ours, load_file(out)["actions"], CLOSE)


def _way_back(result: Result, policy: SmolVLAPolicy, lerobot: LeRobot, scratch: Path) -> None:
    """LeRobot saves, we load: the same actions to the last bit."""
    folder = scratch / "theirs"
    if _failed(result, "to save", lerobot.ask("save", folder=folder)):
        return
    again = load_checkpoint(folder, backbone=scratch / "ours" / "vlm")
    ours, returned = (actions(each, before(each, result.case), result.case) for each in (policy, again))
    result.compare("way back", "actions of LeRobot's copy", returned, ours, 0.0)
    if not again.weights.report().ok:
        result.wrong.append(again.weights.report().text())


def _mixed(result: Result, policy: SmolVLAPolicy, lerobot: LeRobot, scratch: Path) -> None:
    """The same weights, rounded, in the dtypes of lerobot/smolvla_base."""
    case, out = result.case, scratch / "mixed.safetensors"
    batch = before(policy, case)
    save_file({**{name: value for name, value in batch.items() if isinstance(value, Tensor)},
               "noise_sampling": case.recording["noise_sampling"]}, scratch / "batch.safetensors")
    as_published(policy.model)
    save_checkpoint(scratch / "mixed", policy)
    found = {}
    for dtype in ("float32", "published"):
        lerobot.ask("load", folder=scratch / "mixed", dtype=dtype)
        if _failed(result, dtype, lerobot.ask("sample", inputs=scratch / "batch.safetensors", out=out)):
            return
        found[dtype] = load_file(out)["actions"]
    ours = load_checkpoint(scratch / "mixed", dtype=None).model.sample_actions(
        batch, noise=case.recording["noise_sampling"])
    rounding = (found["published"] - found["float32"]).abs()
    result.differences["mixed"] = ((ours - found["published"]).abs().mean() / rounding.mean()).item()
    if not result.differences["mixed"] < 1.5:
        result.wrong.append("mixed: further from LeRobot than LeRobot's rounding is wide")


def before(policy: SmolVLAPolicy, case: Case) -> dict[str, Any]:
    """The recording as our preprocessor hands it to the network, without the noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")            # some tasks are too long on purpose
        raw = {name: value for name, value in case.recording.items() if name != "noise_sampling"}
        return policy.processors.before({**raw, "task": case.tasks})


def actions(policy: SmolVLAPolicy, batch: dict[str, Any], case: Case) -> Tensor:
    """(B, T, a) in robot units."""
    return policy.processors.after(policy.model.sample_actions(batch, noise=case.recording["noise_sampling"]))


def _failed(result: Result, doing: str, answer: dict[str, Any]) -> bool:
    if "error" in answer and (line := f"{doing}: {answer['error'][:100]}") not in result.lerobot_fails:
        result.lerobot_fails.append(line)
    return "error" in answer


def verdict(result: Result) -> bool:
    """True where nothing differs, and ours refuses nothing that LeRobot runs."""
    return not result.wrong and (not result.ours_refuses or bool(result.lerobot_fails))


def main(python: str, count: int, seed: int, only: str, full: bool) -> int:
    """One line per case; 1 where anything differs."""
    walk = (*named_cases(), *random_cases(count, seed), *(full_cases() if full else ()))
    cases = [case for case in walk if only in case.name]
    bad = 0
    sys.stdout.write(f"{'largest difference in':34}    batch   actions      loss  gradient  way back     mixed\n")
    with LeRobot(python) as lerobot, tempfile.TemporaryDirectory() as scratch:
        for case in cases:
            folder = Path(scratch, case.name.replace(" ", "_"))
            folder.mkdir()
            result = examine(case, lerobot, folder)
            shutil.rmtree(folder)
            sys.stdout.write(f"{result.text()}\n")
            sys.stdout.flush()
            bad += not verdict(result)
    sys.stdout.write(f"{len(cases)} cases, {bad} differ\n")
    return 1 if bad or not cases else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python of an environment with LeRobot 0.4.4")
    parser.add_argument("--random", type=int, default=40, help="random cases beside the named ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--full", action="store_true", help="the published sizes too")
    given = parser.parse_args()
    sys.exit(main(given.python, given.random, given.seed, given.only, given.full))
