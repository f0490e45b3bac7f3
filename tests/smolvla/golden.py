"""What a golden SmolVLA folder holds, and how closely we must agree with it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.tokenizer import ASSETS

LOOSE = ("train.loss_per_element", "grad.", "train.grad_norm")       # 1e-4, says the reference's README


@dataclass(frozen=True)
class Golden:
    """One reference: a checkpoint, a fixed batch and what LeRobot computed from it."""

    folder: Path
    style: str = "checkpoint"

    @cached_property
    def compared(self) -> set[str]:
        """The names of LeRobot's tensors that have been compared so far."""
        return set()

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def tasks(self) -> list[str] | None:
        with safe_open(self.folder / "inputs.safetensors", "pt") as file:
            tasks = (file.metadata() or {}).get("tasks")
        return json.loads(tasks) if tasks else None

    @cached_property
    def half(self) -> bool:
        """True where LeRobot computed in mixed precision: then only bfloat16's digits can agree.

        A file of bfloat16 weights does not tell whether they were made float32 first: see which fits.
        """
        weights = load_file(self.folder / self.style / "model.safetensors")
        if all(value.dtype == torch.float32 for value in weights.values()):
            return False
        wanted, noise = self.expected.get("sampling.actions"), self.inputs.get("noise_sampling")
        if wanted is None or noise is None:
            return True
        exact = self.load(torch.float32)
        ours = exact.model.sample_actions(self.batch(exact), noise=noise)
        return (ours - wanted.float()).abs().max().item() > 1e-3

    @cached_property
    def preprocessed(self) -> list[str]:
        """What the preprocessor makes, as far as its tokenizer and its statistics are given."""
        words = ["observation.language.tokens", "observation.language.attention_mask"]
        self.load(torch.float32)                   # which finds out what is missing
        scaled = [name for name in ("observation.state", "action") if f"raw.{name}" in self.inputs]
        return ([] if "SK508" in self.missing else scaled) + ([] if "SK507" in self.missing else words)

    @cached_property
    def missing(self) -> set[str]:
        """The codes of what the reference leaves out: SK507 the tokenizer, SK508 the statistics."""
        return set()

    def policy(self) -> SmolVLAPolicy:
        return self.load(None if self.half else torch.float32)

    def load(self, dtype: torch.dtype | None) -> SmolVLAPolicy:
        """The checkpoint; a tokenizer or statistics that the reference leaves out are replaced by some of ours."""
        stand_ins = {"SK507": {"tokenizer": ASSETS}, "SK508": {"stats": self._no_statistics}}
        given = {key: value for code in self.missing for key, value in stand_ins[code].items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")    # unknown keys are warned of; tested elsewhere
                return load_checkpoint(self.folder / self.style, dtype=dtype, **given)
        except SmolkitError as error:
            if error.code not in self._left_out - self.missing:
                raise
            self.missing.add(error.code)
        return self.load(dtype)

    @cached_property
    def _left_out(self) -> set[str]:
        """What may be replaced: a file that is there and cannot be read is a failure."""
        style = self.folder / self.style
        tokenizer = any(self.folder.rglob("tokenizer.json"))
        statistics = any(style.glob("policy_*processor*.json")) or any(
            "normalize_" in name for name in load_file(style / "model.safetensors"))
        return (set() if tokenizer else {"SK507"}) | (set() if statistics else {"SK508"})

    @cached_property
    def _no_statistics(self) -> dict[str, dict[str, Tensor]]:
        """Statistics that change nothing."""
        raw = json.loads((self.folder / self.style / "config.json").read_text(encoding="utf-8"))
        features = {**raw["input_features"], **raw["output_features"]}
        return {name: {key: torch.full(tuple(features[name]["shape"]), number) for key, number in
                       (("mean", 0.0), ("std", 1.0), ("min", -1.0), ("max", 1.0))}
                for name in ("observation.state", "action") if name in features}

    def raw(self) -> dict:
        """The batch before the preprocessor, in robot units."""
        raw = {name.removeprefix("raw."): value for name, value in self.inputs.items()
               if name.startswith("raw.")}
        passed = {name: value for name, value in self.inputs.items()
                  if name == "action_is_pad" or name.endswith("_padding_mask")}
        return {**raw, **passed, **({"task": self.tasks} if self.tasks else {})}

    def batch(self, policy: SmolVLAPolicy) -> dict:
        """The batch as the network takes it: our preprocessor's where LeRobot's result is not given."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")        # one task is too long on purpose
            ours = policy.processors.before(self.raw())
        given = {name: value for name, value in self.inputs.items()
                 if not name.startswith(("raw.", "rtc.", "noise"))}
        return {**ours, **given}

    def agree_step(self, name: str, before: Tensor, after: Tensor) -> None:
        """Compares a weight after one optimiser step, and the step itself: it is far smaller than the weight."""
        self.agree(name, after)
        if not self.half:                          # bfloat16 rounds most of such a step away
            torch.testing.assert_close(after.detach() - before, self.expected[name].float() - before, atol=2e-5,
                                       rtol=1e-5, msg=lambda text: f"{name}, the step: {text}")

    def agree(self, name: str, ours: Tensor, rows: Tensor | None = None) -> None:
        """Compares with LeRobot's tensor of that name, if it is there. rows: a mask of what counts."""
        if name not in self.expected:
            return
        self.compared.add(name)
        wanted = self.expected[name]
        assert ours.shape == wanted.shape, f"{name}: {tuple(ours.shape)}, expected {tuple(wanted.shape)}"
        if not wanted.is_floating_point():
            assert torch.equal(ours.to(wanted.dtype), wanted), f"{name} differs"
            return
        ours, wanted = ours.detach().float(), wanted.float()
        if rows is not None:
            ours, wanted = ours[rows], wanted[rows]
        atol, rtol = (1e-4 if name.startswith(LOOSE) else 2e-5), 1e-5
        if self.half:
            atol, rtol = 0.04 * wanted.abs().max().item() + 1e-4, 0.05
        torch.testing.assert_close(ours, wanted, atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
