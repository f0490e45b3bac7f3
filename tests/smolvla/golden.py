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

from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.smolvla.policy import SmolVLAPolicy

LOOSE = ("train.loss", "grad.", "after_step.")     # sums of squares: up to 1e-4, says the reference's README


@dataclass(frozen=True)
class Golden:
    """One reference: a checkpoint, a fixed batch and what LeRobot computed from it."""

    folder: Path
    style: str = "checkpoint"

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

    def policy(self) -> SmolVLAPolicy:
        return self.load(None if self.half else torch.float32)

    def load(self, dtype: torch.dtype | None) -> SmolVLAPolicy:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")        # unknown keys are warned of; tested elsewhere
            return load_checkpoint(self.folder / self.style, dtype=dtype)

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

    def agree(self, name: str, ours: Tensor, rows: Tensor | None = None) -> None:
        """Compares with LeRobot's tensor of that name, if it is there. rows: a mask of what counts."""
        if name not in self.expected:
            return
        wanted = self.expected[name]
        assert ours.shape == wanted.shape, f"{name}: {tuple(ours.shape)}, expected {tuple(wanted.shape)}"
        if wanted.dtype in (torch.bool, torch.int64):
            assert torch.equal(ours.to(wanted.dtype), wanted), f"{name} differs"
            return
        ours, wanted = ours.detach().float(), wanted.float()
        if rows is not None:
            ours, wanted = ours[rows], wanted[rows]
        atol, rtol = (1e-4 if name.startswith(LOOSE) else 2e-5), 1e-5
        if self.half:
            atol, rtol = 0.04 * wanted.abs().max().item() + 1e-4, 0.05
        torch.testing.assert_close(ours, wanted, atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
